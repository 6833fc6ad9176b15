"""What users say of answers, kept on the device until it can be sent; each with an id, so it counts once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECONDS = 30.0
_MOST_BYTES = 16 * 2**20
_NEVER = (400, 409, 413, 422)
"""What is wrong in itself. A 404 is so only where a gateway says so of the answer, or of the revision."""
_UNKNOWN = ("answer_not_found", "revision_not_found")


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of what waited. `why` is what was last said of what was refused or still waits."""

    sent: int
    refused: int
    waiting: int
    why: str = ""


class FeedbackBuffer:
    """Lines of JSON in a file, on the disk before `add` returns. Several processes may use it at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, feedback: dict[str, Any]) -> bool:
        """Keep it; False where the buffer is full and it was not kept."""
        line = json.dumps({"id": f"fb-{uuid.uuid4().hex}", **feedback}, ensure_ascii=False)
        with self._alone():
            if self._path.exists() and self._path.stat().st_size > _MOST_BYTES:
                return False
            with self._path.open("a+b") as file:
                # After a line that broke off when the power went, a new one begins.
                file.write(f"{'' if _ends_whole(file) else chr(10)}{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        return True

    def waiting(self) -> list[dict[str, Any]]:
        """What was not sent yet. A line that broke off when the power went is left out."""
        if not self._path.exists():
            return []
        kept = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").split("\n"):
            with contextlib.suppress(ValueError):
                kept.append(json.loads(line))
        return [each for each in kept if isinstance(each, dict)]

    def send(self, gateway_url: str, api_key: str = "") -> Sent:
        """Send what waits, in its order, until it is all sent or the network goes.

        What the gateway will never take is written to `refused.jsonl` beside the file, with what it said.
        """
        done: set[str] = set()
        refused = 0
        why = ""
        for feedback in self.waiting():
            status, said = _post(f"{gateway_url.rstrip('/')}/feedback", feedback, api_key)
            if status not in _NEVER and not 200 <= status < 300 and not _is_unknown(status, said):
                why = said if not status else f"{status}: {said}"
                break
            if status >= 400:
                why, refused = f"{status}: {said}", refused + 1
                with self._path.with_name("refused.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**feedback, "refused": why}, ensure_ascii=False) + "\n")
            done.add(str(feedback.get("id")))
        return Sent(len(done) - refused, refused, self._forget(done), why)

    def _forget(self, done: set[str]) -> int:
        """Write again what is left, with what was added meanwhile. Returns how many."""
        if not done:
            return len(self.waiting())
        with self._alone():
            left = [each for each in self.waiting() if str(each.get("id")) not in done]
            part = self._path.with_name(self._path.name + ".part")
            with part.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in left)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._path)
        return len(left)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name(self._path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _ends_whole(file: Any) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _is_unknown(status: int, said: str) -> bool:
    return status == 404 and any(code in said for code in _UNKNOWN)


def _post(url: str, feedback: dict[str, Any], api_key: str) -> tuple[int, str]:
    """(status, what was said); 0 where nobody answered."""
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    try:
        request = urllib.request.Request(url, json.dumps(feedback).encode(), headers)  # noqa: S310 - set by its owner
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return int(answer.status), ""
    except urllib.error.HTTPError as error:
        return error.code, error.read(400).decode("utf-8", "replace")
    except OSError as error:
        return 0, str(error)
    except ValueError as error:
        return 0, f"{url} is no address: {error}; write https://…/v1"
