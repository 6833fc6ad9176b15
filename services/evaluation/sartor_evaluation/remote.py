"""A model behind an OpenAI-compatible URL: asked item by item, several at a time, with every failure counted.

Nothing outside the given URL is asked: redirects are not followed and the environment's proxies are not used.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import urllib3

from sartor_evaluation.asking import LONGEST_ANSWER_TOKENS, Forced
from sartor_evaluation.items import Item, ItemKind, Outcome, Timing, failed
from sartor_evaluation.prompts import ZERO_SHOT, Prompt, dressed

_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_MOST_BYTES = 4_000_000
_LONGEST_PAUSE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """Where a candidate is asked."""

    name: str
    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout_seconds: float = 60.0
    retries: int = 3
    concurrency: int = 8


class _Failed(Exception):
    """One request without a usable answer; `again` says whether another try may help."""

    def __init__(self, why: str, *, again: bool, after_seconds: float = 0.0) -> None:
        super().__init__(why)
        self.again, self.after_seconds = again, after_seconds


class RemoteAnswers:
    """Asks a RemoteModel. `asked` (requests) and `tokens` count what was spent."""

    def __init__(self, model: RemoteModel, pause_seconds: float = 0.5) -> None:
        self.forced: dict[str, Forced] = {}
        self.asked = 0
        self.tokens = 0
        self.finished: Callable[[Outcome], None] | None = None
        self._model, self._pause = model, pause_seconds
        self._lock = threading.Lock()
        self._pool = urllib3.PoolManager(maxsize=model.concurrency, block=True, retries=False)

    def outcomes(
        self,
        items: Sequence[Item],
        prompt: Prompt,
        *,
        generate: bool = True,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> list[Outcome]:
        """As Answers.outcomes: no probabilities, and a failed outcome where no answer came in all tries."""
        done = 0
        found = []
        with ThreadPoolExecutor(self._model.concurrency) as threads:
            for outcome in threads.map(lambda item: self._outcome(item, prompt), items):
                found.append(outcome)
                if self.finished is not None:
                    self.finished(outcome)
                done += 1
                progress(done / len(items))
        return found

    def _outcome(self, item: Item, prompt: Prompt) -> Outcome:
        why = ""
        for attempt in range(self._model.retries + 1):
            try:
                return self._ask(item, prompt)
            except _Failed as fault:
                why = str(fault)
                if not fault.again:
                    break
                if attempt < self._model.retries:
                    pause = max(fault.after_seconds, self._pause * 2**attempt * random.uniform(0.5, 1.5))
                    time.sleep(min(pause, _LONGEST_PAUSE_SECONDS))
        return failed(item, why)

    def _ask(self, item: Item, prompt: Prompt) -> Outcome:
        body = self._post(self._request(item, prompt))
        try:
            value = json.loads(body)
            choice = value["choices"][0]
            text = choice["message"]["content"]
            if not isinstance(text, str):
                raise TypeError(f"content is {type(text).__name__}")
            tokens = int((value.get("usage") or {}).get("completion_tokens") or 0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _Failed(f"the answer is no chat completion: {error!r}"[:300], again=True) from error
        with self._lock:
            self.tokens += tokens
        cut = choice.get("finish_reason") == "length"
        return Outcome(item, text.strip(), 0.0, 0, truncated=cut)

    def _request(self, item: Item, prompt: Prompt = ZERO_SHOT) -> dict[str, Any]:
        shown = dressed(item.messages, prompt)
        messages = [{"role": message.role, "content": message.content} for message in shown]
        if item.kind is not ItemKind.ANSWER and item.choices:
            listed = "\n".join(f"- {choice}" for choice in item.choices)
            messages[-1] = {
                "role": messages[-1]["role"],
                "content": f"{messages[-1]['content']}\n\nAnswer with exactly one of:\n{listed}",
            }
        return {
            "model": self._model.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": item.most_tokens or LONGEST_ANSWER_TOKENS,
        }

    def timed(self, items: Sequence[Item], prompt: Prompt) -> list[Timing]:
        """As cost.Timed: each answer is streamed, so that its first token can be timed."""
        with ThreadPoolExecutor(len(items)) as threads:
            return list(threads.map(lambda item: self._timing(item, prompt, len(items)), items))

    def _timing(self, item: Item, prompt: Prompt, clients: int) -> Timing:
        """The time of a request; no tokens where it failed, so that failing is not fast."""
        request = {**self._request(item, prompt), "stream": True}
        started, marks = time.perf_counter(), list[float]()
        try:
            self._post(request, lambda part: marks.extend([time.perf_counter()] * part.count(b'"content"')))
        except _Failed:
            return Timing(self._model.timeout_seconds, self._model.timeout_seconds, 0, clients)
        ended = time.perf_counter()
        return Timing((marks[0] if marks else ended) - started, ended - started, len(marks), clients)

    def _post(self, request: dict[str, Any], heard: Callable[[bytes], None] = lambda part: None) -> bytes:
        headers = {"content-type": "application/json"}
        if self._model.key:
            headers["authorization"] = f"Bearer {self._model.key}"
        with self._lock:
            self.asked += 1
        until = time.monotonic() + self._model.timeout_seconds
        try:
            response = self._pool.request(
                "POST",
                f"{self._model.url.rstrip('/')}/chat/completions",
                body=json.dumps(request).encode(),
                headers=headers,
                timeout=urllib3.Timeout(total=self._model.timeout_seconds),
                redirect=False,
                preload_content=False,
            )
            try:
                body = _read(response, until, heard)
            finally:
                response.close()
        except urllib3.exceptions.TimeoutError as error:
            raise _Failed(f"no answer within {self._model.timeout_seconds:g} s", again=True) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Failed(f"the connection failed: {type(error).__name__}", again=True) from error
        if response.status != 200:
            again = response.status in _TRANSIENT
            after = _seconds(response.headers.get("retry-after", ""))
            raise _Failed(f"HTTP status {response.status}", again=again, after_seconds=after)
        return body


def _read(response: Any, until: float, heard: Callable[[bytes], None]) -> bytes:
    """The body; a stream that drips on without end, or is cut off, is a failure."""
    parts, size = [], 0
    # What has come so far, not a full buffer: the first token of a stream is timed.
    for part in iter(lambda: response.read1(65_536), b""):
        parts.append(part)
        heard(part)
        size += len(part)
        if size > _MOST_BYTES:
            raise _Failed("the answer is larger than 4 MB", again=False)
        if time.monotonic() > until:
            raise _Failed("the answer did not end in time", again=True)
    return b"".join(parts)


def _seconds(text: str) -> float:
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 0.0
