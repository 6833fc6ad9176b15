"""The middle of the demo: another program publishes data events, and their run is followed to its end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sartor.ingestion.v1.ingestion_service_pb2 import GetDatasetRequest, ListSnapshotsRequest
from sartor_local import control
from sartor_platform.errors import Unavailable

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.output import console, duration, heading
from sartor_cli.project_file import ProjectFile
from sartor_cli.run import Run, read_orders, read_run
from sartor_cli.run_view import follow, patient

STALL_SECONDS = 900.0
"""A run in which nothing has changed for so long is given up."""
UNCHANGED_SECONDS = 30.0
"""After so long without a new snapshot the data was there already, and the last run is shown."""


def publish(sartor: Sartor, folder: Path, project: ProjectFile) -> None:
    """Runs the example's producer, a program that knows Kafka and nothing of Sartor."""
    heading("3 · Data events from another program")
    assert sartor.stack is not None
    source = project.of_kind("sources")[0]
    command = [
        sys.executable, str(folder / "publish.py"),
        "--bootstrap-servers", sartor.stack.environment["SARTOR_KAFKA_BOOTSTRAP_SERVERS"],
        "--project", project.project, "--source", source.name,
    ]  # fmt: skip
    console.print(f"$ python {folder / 'publish.py'} {' '.join(command[2:])}", markup=False, soft_wrap=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            console.print(f"  {line.rstrip()}", markup=False)
        status = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if status != 0:
        raise CommandFailed(
            f"The producer ended with status {status}; its words are above.", "Mend it and repeat."
        )


def snapshots_of(sartor: Sartor, project: ProjectFile) -> list[Any]:
    """The snapshots of the project, newest first."""
    request = ListSnapshotsRequest(parent=f"projects/{project.project}/datasets/-")
    return list(sartor.all(sartor.ingestion.ListSnapshots, request, 50))


class _Progress:
    """Finds the run that the published data starts, and notices when nothing moves any more."""

    def __init__(self, sartor: Sartor, project: ProjectFile, before: list[Any], data_dir: Path) -> None:
        self._sartor, self._project, self._data_dir = sartor, project, data_dir
        self._before = before
        self._known = {snapshot.name for snapshot in before}
        self._orders = read_orders(sartor, f"projects/{project.project}")
        self._run_id = ""
        self._seen: Run | None = None
        self._moved = time.monotonic()
        self.reused = False

    def read(self) -> Run | None:
        if control.status(self._data_dir) is None:
            raise CommandFailed("The stack was stopped while the demo ran.", "See `sartor logs supervisor`.")
        self._run_id = self._run_id or self._find()
        run = read_run(self._sartor, self._orders, self._run_id) if self._run_id else None
        if run != self._seen:
            self._seen, self._moved = run, time.monotonic()
        return run

    def _find(self) -> str:
        now = snapshots_of(self._sartor, self._project)
        new = [snapshot for snapshot in now if snapshot.name not in self._known]
        if new:
            return str(new[-1].run)
        if self._before and self.quiet_seconds > UNCHANGED_SECONDS:
            self.reused = True
            return str(self._before[0].run)
        return ""

    @property
    def quiet_seconds(self) -> float:
        return time.monotonic() - self._moved

    def stalled(self) -> bool:
        return self.quiet_seconds > STALL_SECONDS

    def note(self) -> str:
        """What is shown until the run begins."""
        dataset = str(self._project.of_kind("sources")[0].values["dataset"])
        try:
            found = self._sartor.ask(self._sartor.ingestion.GetDataset, GetDatasetRequest(name=dataset))
        except Unavailable:
            return "Waiting for ingestion…"
        counts = f"{found.pending_count:,} records pending, {found.rejected_count:,} rejected"
        return f"Waiting for the snapshot: {counts}"


def follow_published(sartor: Sartor, project: ProjectFile, before: list[Any], data_dir: Path) -> Run:
    """Follows what the published data starts to its end; `before` are the snapshots there were already."""
    heading("4 · What comes of it")
    progress = _Progress(sartor, project, before, data_dir)
    run = follow(patient(progress.read), progress.note, progress.stalled)
    if progress.reused:
        console.print("The data was all there already, so there is no new run: this is the last one.")
    if run is None or not run.ended:
        stuck = [stage for stage in (run.stages if run else ()) if not stage.state.ended]
        where = f" {stuck[0].title} is {stuck[0].state.value}." if stuck else " No snapshot was sealed."
        raise CommandFailed(
            f"Nothing has moved for {duration(STALL_SECONDS)}.{where}",
            "Start again with --keep, then see `sartor status` and `sartor logs`.",
        )
    return run
