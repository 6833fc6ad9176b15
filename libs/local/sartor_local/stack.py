"""A whole stack for tests and benchmarks: `with Stack(StackOptions(folder, …)) as state: …`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType

from sartor_local import control
from sartor_local.faults import NotRunning
from sartor_local.state import StackState
from sartor_local.supervisor import StackOptions


class Stack:
    """Base servers and services under a real supervisor, stopped at the end (or when this process dies)."""

    def __init__(self, options: StackOptions, environ: Mapping[str, str] | None = None) -> None:
        self.options = replace(options, die_with_parent=True)
        self._environ = environ

    def start(self) -> StackState:
        """Returns when everything is ready."""
        return control.up(self.options, self._environ)

    def state(self) -> StackState | None:
        """What the stack says of itself now; None if its supervisor is dead."""
        return control.status(self.options.data_dir)

    def stop(self) -> None:
        """Stops everything that still runs."""
        try:
            control.down(self.options.data_dir)
        except NotRunning:
            return

    def __enter__(self) -> StackState:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
