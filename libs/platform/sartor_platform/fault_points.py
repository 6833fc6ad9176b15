"""Named places between two durable steps, where the fault harness may end, freeze or fail this process.

Inert unless the setting `fault_points` names the harness's folder; then `at` costs one comparison. Armed, the
process that reaches a point takes an order for it out of the folder (a rename: one process gets it), writes
down where it is, durably, and only then does what the order says. So a fault is known to have struck inside
its window. `switched_off` lets the harness take a guard away, to prove that it would notice.

An order is a file `orders/<point>~<process>~<id>.json` of `{"action": "kill"|"stop"|"fail"}`, with
"attempt_below" where only early attempts at a job shall meet it; the process `any` fits all. The answer is
`confirmed/<id>.json`. A guard is off while there is a file `off/<guard>`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from sartor_platform.errors import Unavailable

INBOX = "inbox"
LEASE_FENCE = "lease_fence"
RELAY_ORDER = "relay_order"
DIGEST_CHECK = "digest_check"
GUARDS = (INBOX, LEASE_FENCE, RELAY_ORDER, DIGEST_CHECK)

POINTS = (
    "before_commit",
    "after_commit_before_offset",
    "before_publish",
    "after_publish_before_mark",
    "after_claim_before_child",
    "after_child_before_upload",
    "after_upload_before_row",
    "after_lease_check_before_accept",
    "before_accept_commit",
    "after_accept_commit",
    "after_checkpoint_upload_before_row",
    "after_commit_before_answer",
    "after_engine_start_before_row",
)
"""Each is named for what it lies between; docs/reliability.md says where that is."""

_armed: _Armed | None = None


def arm(folder: str, process: str) -> None:
    """Called once at the start of a process; without a folder nothing can ever be reached or switched off."""
    global _armed
    _armed = _Armed(Path(folder), process) if folder else None


def at(point: str, *, attempt: int = 0) -> None:
    """The process is between the two steps that the point is named for.

    Raises:
        Unavailable: FAULT_INJECTED, where the order says to fail here.
    """
    if _armed is not None:
        _armed.reach(point, attempt)


def switched_off(guard: str) -> bool:
    """Whether the harness took this guard away."""
    return _armed is not None and _armed.lacks(guard)


class _Armed:
    """The harness's folder, as this process sees it."""

    def __init__(self, folder: Path, process: str) -> None:
        self._folder = folder
        self._process = process

    def lacks(self, guard: str) -> bool:
        return (self._folder / "off" / guard).exists()

    def reach(self, point: str, attempt: int) -> None:
        for path in sorted((self._folder / "orders").glob(f"{point}~*.json")):
            _, process, name = path.stem.split("~")
            if process not in ("any", self._process):
                continue
            try:
                order = json.loads(path.read_text())
                if attempt >= order.get("attempt_below", attempt + 1):
                    continue
                path.rename(self._folder / "taken" / path.name)
            except FileNotFoundError:
                continue  # another process took it
            self._obey(point, name, str(order["action"]))
            return

    def _obey(self, point: str, name: str, action: str) -> None:
        confirmed = {"point": point, "process": self._process, "pid": os.getpid(), "action": action}
        draft = self._folder / "taken" / f"{name}.part"
        with draft.open("w") as file:
            json.dump({**confirmed, "time": time.time()}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._folder / "confirmed" / f"{name}.json")
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise Unavailable(f"the fault harness asked to fail at {point}", reason="FAULT_INJECTED")
