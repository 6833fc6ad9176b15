"""What a device tells its owner: what it runs, since when, how known prompts went, and what last went wrong.

What happens is noted in journal.json; a report is the whole of it with what is so now, signed with the key of
the device. So one that could not be sent is not lost: the next one says it too. It goes into a folder, or by
HTTP PUT to a URL, as <device id>.json; the one before is replaced.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sartor_edge.bundle import MANIFEST, SIGNATURE, read_manifest
from sartor_edge.engine import Check, EngineFailed, check
from sartor_edge.identity import device_id, device_key
from sartor_edge.outcome import Facts, Outcome
from sartor_edge.signing import seal
from sartor_edge.state import write_synced

FORMAT = 1
_EVENTS_KEPT = 30
_MESSAGE_CHARACTERS = 300
_SECONDS = 30.0
TRYING = "TRYING"


class Journal:
    """What happened on a device, the oldest forgotten first. A full disk keeps nothing, but it is sent."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._value: dict[str, Any] = {"check": None, "events": []}
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            read = json.loads((home / "journal.json").read_text(encoding="utf-8"))
            self._value = {"check": read["check"], "events": list(read["events"])}

    def note(self, outcome: Outcome, manifest_sha256: str = "") -> None:
        """Add an event. The same again only counts up."""
        event = {
            "word": outcome.word,
            "reason": outcome.reason,
            "revision": outcome.revision,
            "manifest_sha256": manifest_sha256,
            "message": outcome.message[:_MESSAGE_CHARACTERS],
        }
        now, events = time.time(), self._value["events"]
        last = events[-1] if events else {}
        if all(last.get(name) == value for name, value in event.items()):
            last.update(at=now, times=int(last.get("times", 1)) + 1)
        else:
            events.append({**event, "first": now, "at": now, "times": 1})
        del events[:-_EVENTS_KEPT]
        if outcome.check is not None:
            self._value["check"] = asdict(outcome.check)
        with contextlib.suppress(OSError):
            part = self._home / ".journal.part"
            write_synced(part, json.dumps(self._value).encode())
            os.replace(part, self._home / "journal.json")

    def report(self, facts: Facts, found: Check | None = None, unhealthy: str = "") -> dict[str, Any]:
        """All of it, with what is so now.

        Args:
            found: how what serves answered the known prompts; else it is told how the update's trial went.
            unhealthy: what is wrong with what serves.
        """
        last = self._value["events"][-1] if self._value["events"] else {}
        return {
            "format": FORMAT,
            "kind": "report",
            "device": device_id(self._home),
            "sent": time.time(),
            "ring": facts.asked,
            "edition": facts.edition,
            "runs": asdict(facts.runs) if facts.runs else None,
            "since": facts.since,
            "taken": facts.taken,
            "failed": {sha256: why[:_MESSAGE_CHARACTERS] for sha256, why in facts.failed.items()},
            "word": str(last.get("word", "")),
            "reason": str(last.get("reason", "")),
            "message": str(last.get("message", "")),
            "trying": str(last.get("manifest_sha256", "")) if last.get("word") == TRYING else "",
            "check": asdict(found) if found else self._value["check"],
            "unhealthy": unhealthy,
            "free_bytes": shutil.disk_usage(self._home).free,
            "events": self._value["events"],
        }


def ask_serving(current: Path, port: int, public_key: Path) -> tuple[Check | None, str]:
    """How the engine that serves answers the known prompts, and what is wrong with that, or ""."""
    try:
        data, signature = (current / MANIFEST).read_bytes(), (current / SIGNATURE).read_bytes()
        least = read_manifest(data, signature, public_key).settings.least_agreement
        found = check(current, port)
    except (EngineFailed, OSError, ValueError) as error:
        return None, f"what serves on port {port} does not answer: {error}"
    if found.share >= least:
        return found, ""
    return found, (
        f"what serves on port {port} answers {found.agreed} of {found.probes} known prompts as it should:"
        " restart it, if it is not the current revision yet"
    )


def send(home: Path, target: str, value: dict[str, Any], authorization: str = "") -> str:
    """Send a report. Returns "" or why it waits for the next time.

    Args:
        target: an http(s) URL that takes PUT below it, or a folder.
        authorization: the header that the server asks for, as "Bearer …" or "Basic …".
    """
    data, name = seal(device_key(home), value), f"{value['device']}.json"
    if not target.startswith(("http://", "https://")):
        try:
            Path(target).mkdir(parents=True, exist_ok=True)
            part = Path(target) / f".{name}.part"
            write_synced(part, data)
            os.replace(part, Path(target) / name)
        except OSError as error:
            return f"the report waits: {error}"
        return ""
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": authorization} if authorization else {}
    )
    url = f"{target.rstrip('/')}/{name}"
    try:
        request = urllib.request.Request(url, data, headers, method="PUT")  # noqa: S310 - set by its owner
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
            return ""
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"the report waits: PUT {url}: {error}"
