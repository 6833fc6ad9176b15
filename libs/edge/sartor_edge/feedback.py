"""What users say of answers, kept on the device until it can be sent; each with an id, so it counts once."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

_SECONDS = 30.0
_MOST_BYTES = 16 * 2**20


class FeedbackBuffer:
    """Lines of JSON in a file, on the disk before `add` returns. For one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, feedback: dict[str, Any]) -> bool:
        """Keep it; False where the buffer is full and it was not kept."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > _MOST_BYTES:
            return False
        line = json.dumps({"id": f"fb-{uuid.uuid4().hex}", **feedback}, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        return True

    def waiting(self) -> list[dict[str, Any]]:
        """What was not sent yet. A line that broke off when the power went is left out."""
        if not self._path.exists():
            return []
        kept = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                kept.append(json.loads(line))
            except ValueError:
                continue
        return kept

    def send(self, gateway_url: str, api_key: str = "") -> tuple[int, int]:
        """Send what waits, in its order, until it is all sent or the network goes. (sent, still waiting).

        What the gateway refuses for good (4xx other than 408 and 429) is dropped: it would never be taken.
        """
        waiting = self.waiting()
        sent = 0
        for feedback in waiting:
            if not _post(f"{gateway_url.rstrip('/')}/feedback", feedback, api_key):
                break
            sent += 1
        left = waiting[sent:]
        part = self._path.with_name(self._path.name + ".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(
            "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in left), encoding="utf-8"
        )
        os.replace(part, self._path)
        return sent, len(left)


def _post(url: str, feedback: dict[str, Any], api_key: str) -> bool:
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    request = urllib.request.Request(url, json.dumps(feedback).encode(), headers)  # noqa: S310 - set by its owner
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        return 400 <= error.code < 500 and error.code not in (401, 408, 429)
    except OSError:
        return False
