"""What an engine's answer tells of itself: its id and its tokens, read from the bytes that pass through."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

_ID = re.compile(rb'"id"\s*:\s*"([^"\\]{1,120})"')
_PROMPT = re.compile(rb'"prompt_n"\s*:\s*(\d+)')
_CACHED = re.compile(rb'"cache_n"\s*:\s*(\d+)')
_PREDICTED = re.compile(rb'"predicted_n"\s*:\s*(\d+)')
_PROMPT_TOKENS = re.compile(rb'"prompt_tokens"\s*:\s*(\d+)')
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens"\s*:\s*(\d+)')
_TAIL_BYTES = 8192
_DATA = b"data: {"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request. `known` is False where the answer broke off: then `completion` is what came."""

    prompt: int
    completion: int
    known: bool


class Passage:
    """Looks at an answer's bytes while they pass; keeps its tail only, and all of it if asked."""

    def __init__(self, *, keep_text: bool = False) -> None:
        self.answer_id = ""
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._events = 0
        self._kept: list[bytes] | None = [] if keep_text else None

    def see(self, chunk: bytes) -> None:
        """The next bytes."""
        if not self.answer_id:
            found = _ID.search(chunk)
            self.answer_id = found.group(1).decode("ascii", "replace") if found else ""
        self._events += chunk.count(_DATA)
        self._tail.append(chunk)
        self._tail_bytes += len(chunk)
        while self._tail_bytes - len(self._tail[0]) >= _TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())
        if self._kept is not None:
            self._kept.append(chunk)

    @property
    def body(self) -> bytes:
        """All of it, where it was to be kept."""
        return b"".join(self._kept or ())

    def usage(self) -> Usage:
        """What the end of the answer says was used."""
        tail = b"".join(self._tail)
        prompt, completion = _last(_PROMPT_TOKENS, tail), _last(_COMPLETION_TOKENS, tail)
        if prompt is not None and completion is not None:
            return Usage(prompt, completion, True)
        predicted = _last(_PREDICTED, tail)
        if predicted is not None:  # llama.cpp's timings, at the end of a stream
            read = (_last(_PROMPT, tail) or 0) + (_last(_CACHED, tail) or 0)
            return Usage(read, predicted, True)
        return Usage(0, self._events, False)


def _last(pattern: re.Pattern[bytes], text: bytes) -> int | None:
    found = pattern.findall(text)
    return int(found[-1]) if found else None
