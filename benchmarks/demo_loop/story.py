"""The parts of the demonstration: a first model, the shift, and three bad models."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor.deployment.v1 import endpoint_pb2, loop_pb2
from sartor_cli.apply import apply_project, validate
from sartor_cli.client import Sartor
from sartor_cli.demo_run import publish
from sartor_cli.project_file import ProjectFileFaults, parse_project_file
from sartor_platform.errors import FailedPrecondition

from benchmarks.demo_loop.users import training_rows

T = TypeVar("T")
ENDPOINT = "projects/support-loop/endpoints/support"
TOPICS = 12
_PATIENCE_SECONDS = 420.0
_ENDED = (
    loop_pb2.ADAPTATION_STATE_PROMOTED,
    loop_pb2.ADAPTATION_STATE_REJECTED,
    loop_pb2.ADAPTATION_STATE_FAILED,
)
_STOPPED = endpoint_pb2.REVISION_STATE_REJECTED


class DidNotHappen(Exception):
    """The demonstration is over, and this is why."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The use case: its files, and the client of the stack."""

    sartor: Sartor
    folder: Path
    work: Path

    def apply(self, *changes: tuple[str, str]) -> None:
        """Apply the project file, with these texts replaced in it."""
        text = (self.folder / "loop.yaml").read_text(encoding="utf-8")
        for old, new in changes:
            if old not in text:
                raise DidNotHappen(f"loop.yaml does not say {old!r} any more")
            text = text.replace(old, new)
        project = parse_project_file(text, self.folder / "loop.yaml")
        faults = list(validate(self.sartor, project))
        if faults:
            raise ProjectFileFaults(project.path, faults)
        apply_project(self.sartor, project)

    def publish_records(self) -> int:
        """The example's producer sends a small desk's records."""
        rows = training_rows(self.folder / "records.jsonl", TOPICS)
        (self.work / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        (self.work / "publish.py").write_text((self.folder / "publish.py").read_text("utf-8"), "utf-8")
        text = (self.folder / "loop.yaml").read_text(encoding="utf-8")
        publish(self.sartor, self.work, parse_project_file(text, self.folder / "loop.yaml"))
        return len(rows)

    # --- what is so ---

    def endpoint(self) -> endpoint_pb2.Endpoint:
        """As it stands."""
        return self.sartor.ask(self.sartor.deployment.GetEndpoint, api.GetEndpointRequest(name=ENDPOINT))

    def revision(self, name: str) -> endpoint_pb2.Revision:
        """As it stands."""
        return self.sartor.ask(self.sartor.deployment.GetRevision, api.GetRevisionRequest(name=name))

    def adaptations(self) -> list[loop_pb2.Adaptation]:
        """Newest first."""
        request = api.ListAdaptationsRequest(parent=ENDPOINT)
        return list(self.sartor.all(self.sartor.deployment.ListAdaptations, request))

    def decisions(self) -> list[endpoint_pb2.Decision]:
        """Oldest first."""
        request = api.ListDecisionsRequest(parent=ENDPOINT)
        return list(self.sartor.all(self.sartor.deployment.ListDecisions, request))[::-1]

    def drift_windows(self) -> list[loop_pb2.DriftWindow]:
        """Newest first."""
        request = api.ListDriftWindowsRequest(parent=ENDPOINT)
        return list(self.sartor.all(self.sartor.deployment.ListDriftWindows, request))

    # --- what is waited for ---

    def first_model(self) -> endpoint_pb2.Endpoint:
        """The endpoint, once something is live."""
        return eventually(
            lambda: found if (found := self.endpoint()).live_revision else None, "a first model"
        )

    def begun(self, but_not: int) -> loop_pb2.Adaptation:
        """The newest adaptation, once there are more than so many."""

        def look() -> loop_pb2.Adaptation | None:
            found = self.adaptations()
            return found[0] if len(found) > but_not else None

        return eventually(look, "an adaptation")

    def in_stage(self, name: str, *states: int) -> loop_pb2.Adaptation:
        """An adaptation, once it is in one of these states or has ended."""

        def look() -> loop_pb2.Adaptation | None:
            found = next(each for each in self.adaptations() if each.name == name)
            return found if found.state in (*states, *_ENDED) else None

        return eventually(look, f"the next stage of {name.rpartition('/')[2]}")

    def tried(self, name: str) -> None:
        """Until a revision is tried by users, or is past that."""
        past = (endpoint_pb2.REVISION_STATE_CANARY, endpoint_pb2.REVISION_STATE_LIVE, _STOPPED)
        eventually(lambda: True if self.revision(name).state in past else None, f"a canary of {name}")

    def stopped(self, name: str) -> endpoint_pb2.Revision:
        """A revision, once it is rejected.

        Raises:
            DidNotHappen: it went live.
        """

        def look() -> endpoint_pb2.Revision | None:
            found = self.revision(name)
            if found.state == endpoint_pb2.REVISION_STATE_LIVE:
                raise DidNotHappen(f"{name} was to be stopped, but went live")
            return found if found.state == _STOPPED else None

        return eventually(look, f"{name} is stopped")

    # --- what is done ---

    def start_adaptation(self) -> loop_pb2.Adaptation:
        """By hand; after the one that is under way, if drift began one just now."""

        def begin() -> loop_pb2.Adaptation | None:
            request = api.StartAdaptationRequest(name=ENDPOINT, request_id=str(uuid.uuid4()))
            try:
                return self.sartor.ask(self.sartor.deployment.StartAdaptation, request)
            except FailedPrecondition as error:
                if error.reason != "ADAPTATION_UNDER_WAY":
                    raise
                return None

        return eventually(begin, "a turn of the loop by hand")

    def deploy(self, version: str) -> str:
        """A revision by hand; its name."""
        request = api.CreateRevisionRequest(
            parent=ENDPOINT, model_version=version, request_id=str(uuid.uuid4())
        )
        return str(self.sartor.ask(self.sartor.deployment.CreateRevision, request).name)


def eventually(look: Callable[[], T | None], what: str) -> T:
    """What `look` returns once it is something.

    Raises:
        DidNotHappen: it stays nothing.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        found = look()
        if found is not None:
            return found
        time.sleep(0.5)
    raise DidNotHappen(f"{what} did not come within {_PATIENCE_SECONDS:.0f} s")


def word(state: Any) -> str:
    """An adaptation's state in words."""
    return loop_pb2.AdaptationState.Name(state).removeprefix("ADAPTATION_STATE_").lower()
