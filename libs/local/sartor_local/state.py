"""stack.json: what a running stack says of itself to whoever wants to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from sartor_local.folder import DataFolder, write_private
from sartor_local.process import Identity


class StackPhase(StrEnum):
    """Where a stack is in its life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process of the stack."""

    name: str
    phase: str
    identity: Identity | None = None
    restarts: int = 0
    note: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    log: str = ""


@dataclass(frozen=True, slots=True)
class StackState:
    """The whole stack. It holds secrets: the file is readable by its owner only."""

    phase: StackPhase
    supervisor: Identity | None = None
    error: str = ""
    started_at: str = ""
    ready_seconds: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    """SARTOR_… variables that reach the base servers."""
    targets: Mapping[str, str] = field(default_factory=dict)
    """gRPC target of each service."""
    gateway_url: str = ""
    """Base URL of the OpenAI-compatible API, ending in /v1."""
    processes: tuple[ProcessState, ...] = ()

    def identities(self) -> list[Identity]:
        """Every process that was running when this was written, the supervisor aside."""
        return [process.identity for process in self.processes if process.identity is not None]


def write_state(folder: DataFolder, state: StackState) -> None:
    """Replaces the file whole."""
    write_private(folder.state_file, json.dumps({"version": 1, **asdict(state)}, indent=1))


def read_state(folder: DataFolder) -> StackState | None:
    """The last state written, or None if there never was a stack (or its file is torn)."""
    try:
        raw: dict[str, Any] = json.loads(folder.state_file.read_text())
        return StackState(
            phase=StackPhase(raw["phase"]),
            supervisor=_identity(raw["supervisor"]),
            error=raw["error"],
            started_at=raw["started_at"],
            ready_seconds=raw["ready_seconds"],
            environment=raw["environment"],
            targets=raw["targets"],
            gateway_url=raw["gateway_url"],
            processes=tuple(
                ProcessState(**{**each, "identity": _identity(each["identity"])}) for each in raw["processes"]
            ),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _identity(raw: dict[str, Any] | None) -> Identity | None:
    return None if raw is None else Identity(raw["pid"], raw["started"])
