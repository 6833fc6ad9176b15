"""States and kinds as people read them."""

from __future__ import annotations

from sartor.common.v1.job_status_pb2 import JobState
from sartor.deployment.v1.endpoint_pb2 import RevisionState

_STYLES = {
    "succeeded": "green",
    "live": "green",
    "passed": "green",
    "ready": "green",
    "failed": "red",
    "rejected": "red",
    "cancelled": "magenta",
    "running": "cyan",
    "building": "cyan",
    "starting": "cyan",
    "checking": "cyan",
    "shadow": "cyan",
    "canary": "cyan",
    "awaiting approval": "yellow",
    "promoted": "green",
    "rolled back": "red",
}


def state_word(state: JobState.ValueType) -> str:
    """A job's state in one lower-case word."""
    return JobState.Name(state).removeprefix("JOB_STATE_").lower().replace("unspecified", "unknown")


def revision_word(state: RevisionState.ValueType) -> str:
    """A revision's state in lower-case words."""
    word = RevisionState.Name(state).removeprefix("REVISION_STATE_").lower()
    return word.replace("_", " ").replace("unspecified", "unknown")


def styled(word: str) -> str:
    """A state's word in its colour."""
    style = _STYLES.get(word)
    return f"[{style}]{word}[/]" if style else word
