"""Shows a run as it goes: a live table on a terminal, a line at each change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sartor_platform.errors import DeadlineExceeded, Unavailable

from sartor_cli.output import console, duration
from sartor_cli.run import Run
from sartor_cli.stage import Stage, StageState

POLL_SECONDS = 0.7
LINE_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
_MARKS = {
    StageState.WAITING: ("·", "dim"),
    StageState.QUEUED: ("…", "yellow"),
    StageState.RUNNING: ("▶", "cyan"),
    StageState.SUCCEEDED: ("✔", "green"),
    StageState.FAILED: ("✘", "red"),
    StageState.NOT_REACHED: ("–", "dim"),
}
_FIRST = ("loss", "training_loss", "validation_loss", "tokens_per_second", "items_per_second")


def figures_text(figures: Mapping[str, float], most: int = 4) -> str:
    """The figures that matter, the best known first."""
    names = [name for name in _FIRST if name in figures]
    names += [name for name in sorted(figures) if name not in names]
    return ", ".join(f"{name.replace('_', ' ')} {_number(figures[name])}" for name in names[:most])


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def stage_text(stage: Stage) -> str:
    """What a stage does or did, in one line."""
    if stage.error:
        return stage.error
    if stage.outcome:
        return stage.outcome
    if stage.state.ended:
        return figures_text(stage.figures)
    if stage.message:
        return stage.message
    return " · ".join(part for part in (stage.doing, figures_text(stage.figures)) if part)


def stage_time(stage: Stage) -> str:
    """The time a stage took, or has left."""
    if stage.took_seconds is not None:
        return f"took {duration(stage.took_seconds)}"
    if stage.state is StageState.RUNNING and stage.eta_seconds is not None:
        return f"{duration(stage.eta_seconds)} left"
    return ""


def run_table(run: Run | None, note: str = "") -> Group:
    """The run as a live table."""
    if run is None:
        return Group(Text(note))
    made = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(5):
        made.add_column(overflow="fold")
    for stage in run.stages:
        mark, style = _MARKS[stage.state]
        done = 1.0 if stage.state is StageState.SUCCEEDED else stage.fraction
        running = stage.state is StageState.RUNNING
        made.add_row(
            Text(f"{mark} {stage.title}", style=style),
            Text(_bar(done) if running else stage.state.value, style=style),
            Text(f"{done:.0%}" if running else "", style=style),
            Text(stage_time(stage), style="dim"),
            Text(stage_text(stage), style="red" if stage.error else ""),
        )
    return Group(Text(f"Run {run.id}", style="bold"), made)


def _bar(fraction: float, width: int = 16) -> str:
    full = round(max(0.0, min(1.0, fraction)) * width)
    return "█" * full + "░" * (width - full)


class RunLines:
    """Writes a line when a stage comes into a state it was not in before, else at most every few seconds."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._states: dict[str, set[StageState]] = {}
        self._lines: dict[str, str] = {}
        self._written: dict[str, float] = {}
        self._note = ""

    def show(self, run: Run) -> None:
        for stage in run.stages:
            if stage.state in (StageState.WAITING, StageState.NOT_REACHED):
                continue
            line, now = self._line(stage), self._clock()
            states = self._states.setdefault(stage.title, set())
            due = now - self._written.get(stage.title, -LINE_SECONDS) >= LINE_SECONDS
            if stage.state not in states or (due and line != self._lines[stage.title]):
                states.add(stage.state)
                self._write(line)
                self._lines[stage.title], self._written[stage.title] = line, now

    def waiting(self, note: str) -> None:
        """Before the run has begun: the note, when it changes and at most every few seconds."""
        now = self._clock()
        if note != self._note and now - self._written.get("", -LINE_SECONDS) >= LINE_SECONDS:
            self._write(note)
            self._note, self._written[""] = note, now

    def _line(self, stage: Stage) -> str:
        share = f" {stage.fraction:.0%}" if stage.state is StageState.RUNNING else ""
        parts = [f"{stage.title}: {stage.state.value}{share}", stage_time(stage), stage_text(stage)]
        return " · ".join(part for part in parts if part)


def patient(read: Callable[[], Run | None], seconds: float = PATIENCE_SECONDS) -> Callable[[], Run | None]:
    """Reads on while a service is being restarted: the last answer stands in, for so long at most."""
    seen: Run | None = None
    answered = time.monotonic()

    def ask() -> Run | None:
        nonlocal seen, answered
        try:
            seen = read()
        except (Unavailable, DeadlineExceeded):
            if time.monotonic() - answered > seconds:
                raise
        else:
            answered = time.monotonic()
        return seen

    return ask


def follow(
    read: Callable[[], Run | None],
    note: Callable[[], str] = lambda: "Waiting for the run to begin…",
    give_up: Callable[[], bool] = lambda: False,
) -> Run | None:
    """Shows what `read` returns until the run has ended or `give_up` says so; returns the last seen."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            return _poll(read, lambda run: live.update(run_table(run, note())), give_up)
    lines = RunLines(lambda line: console.print(line, markup=False))
    return _poll(read, lambda run: lines.waiting(note()) if run is None else lines.show(run), give_up)


def _poll(
    read: Callable[[], Run | None], show: Callable[[Run | None], None], give_up: Callable[[], bool]
) -> Run | None:
    while True:
        run = read()
        show(run)
        if (run is not None and run.ended) or give_up():
            return run
        time.sleep(POLL_SECONDS)
