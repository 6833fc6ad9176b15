"""Once round the loop while each service in its turn is away: corrected answers become what is live."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pyarrow.parquet
from sartor.curation.v1.curation_service_pb2 import GetCurationRequest
from sartor.deployment.v1 import deployment_service_pb2 as deployment
from sartor.deployment.v1 import loop_pb2
from sartor_cli.client import Sartor

from tests.faults.ledger import DatasetLedger, Row
from tests.faults.observer import Observer
from tests.faults.reading import Objects
from tests.faults.workload import CORRECTIONS, asked
from tests.faults.world import World

_PATIENCE_SECONDS = 120.0
_UNDER_WAY = {
    loop_pb2.ADAPTATION_STATE_COLLECTING,
    loop_pb2.ADAPTATION_STATE_TRAINING,
    loop_pb2.ADAPTATION_STATE_EVALUATING,
    loop_pb2.ADAPTATION_STATE_DEPLOYING,
}


class Lap:
    """One adaptation of one endpoint. `down`: the services whose work came while they were away."""

    def __init__(
        self, world: World, sartor: Sartor, observer: Observer, objects: Objects, page: DatasetLedger
    ) -> None:
        self.down: list[str] = []
        self._world, self._sartor, self._observer, self._objects = world, sartor, observer, objects
        self._page = page
        self._model = page.dataset.rpartition("/")[2]
        self._endpoint = f"projects/{page.project}/endpoints/{self._model}"
        self._known = {each.id for each in observer.seen()}

    def run(self) -> Iterator[str]:
        """What did not hold. The loop goes on whenever a service is back; users are answered all the time."""
        # A service, and how it is known that its work came while it was away.
        stages: tuple[tuple[str, Callable[[], bool]], ...] = (
            ("ingestion", lambda: self._told("RolloutDecided", b"ADAPTATION_BEGUN")),
            ("curation", lambda: self._told("SnapshotCreated")),
            ("training", lambda: self._told("RetrainingRequested")),
            ("evaluation", lambda: self._told("ModelVersionCreated")),
            ("deployment", lambda: self._told("ModelVersionApproved")),
        )
        before = self._live()
        with ExitStack() as away, Users(self._world.gateway_url, self._model) as users:
            away.enter_context(self._world.down(stages[0][0]))
            corrected = users.correct(CORRECTIONS)
            for (service, came), after in zip(stages, [*stages[1:], None], strict=True):
                if not _within(came):
                    yield f"nothing came for {service}, which is away: the loop stands still"
                    return
                self.down.append(service)
                with ExitStack() as back:
                    back.push(away.pop_all())
                    if after is not None:
                        if after[0] == "deployment":
                            users.stop()  # the gateway is one of its processes
                        away.enter_context(self._world.down(after[0]))
        yield from users.failures
        self._page.sent += [Row(key, 1) for key in corrected]
        yield from self._outcome(before, corrected)

    def _outcome(self, before: str, corrected: list[str]) -> Iterator[str]:
        if not _within(lambda: bool(found := self._adaptations()) and found[0].state not in _UNDER_WAY):
            yield f"LOOP: no adaptation of {self._endpoint} came to its end"
            return
        made = self._adaptations()
        states = [loop_pb2.AdaptationState.Name(each.state) for each in made]
        if states != ["ADAPTATION_STATE_PROMOTED"] or made[0].corrections != len(corrected):
            yield (
                f"LOOP: {len(corrected)} corrected answers led to {states}, the newest with"
                f" {made[0].corrections} of them: {made[0].reason} {made[0].message}"
            )
        elif (live := self._live()) != made[0].revision or live == before:
            yield f"LOOP: {made[0].name} ended with {made[0].revision}, but {live} is live, as {before} was"
        elif missing := set(corrected) - self._trained_on(made[0].curation):
            yield f"LOST: {sorted(missing)} were corrected, but are not in {made[0].curation}"

    def _told(self, kind: str, words: bytes = b"") -> bool:
        return any(
            each.type.endswith(f".{kind}") and self._model.encode() in each.value and words in each.value
            for each in self._observer.seen()
            if each.id not in self._known
        )

    def _live(self) -> str:
        request = deployment.GetEndpointRequest(name=self._endpoint)
        return str(
            asked(lambda: self._sartor.ask(self._sartor.deployment.GetEndpoint, request)).live_revision
        )

    def _adaptations(self) -> list[loop_pb2.Adaptation]:
        request = deployment.ListAdaptationsRequest(parent=self._endpoint)
        return asked(lambda: list(self._sartor.all(self._sartor.deployment.ListAdaptations, request)))

    def _trained_on(self, curation: str) -> set[str]:
        """The keys of all records of a curation, in whichever split."""
        request = GetCurationRequest(name=curation)
        found = asked(lambda: self._sartor.ask(self._sartor.curation.GetCuration, request))
        keys: set[str] = set()
        for file in self._objects.manifest(found.manifest)["files"]:
            data = self._objects.read(file["object"]["uri"], file["object"]["sha256"])
            table = pyarrow.parquet.read_table(io.BytesIO(data), columns=["record_key"])
            keys |= set(table.column("record_key").to_pylist())
        return keys


class Users:
    """Ask an endpoint again and again; every answer that does not come is a failure."""

    def __init__(self, url: str, model: str) -> None:
        self.failures: list[str] = []
        self._url, self._model = url, model
        self._client = httpx.Client(timeout=30)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """Ask nothing more."""
        self._stop.set()
        self._thread.join(60)

    def correct(self, count: int) -> list[str]:
        """Ask so many questions and say what was right; the keys of the records to come."""
        return [f"correction-{self._correct(number)}" for number in range(count)]

    def _correct(self, number: int) -> str:
        answer = self._ask(f"Where does parcel {number} wait today, please?")
        answer.raise_for_status()
        request = str(answer.headers["x-request-id"])
        said = {
            "request_id": request,
            "correction": f"Parcel {number} waits in hall {number}.",
        }
        if not _within(lambda: self._client.post(f"{self._url}/feedback", json=said).status_code == 201):
            raise TimeoutError(f"feedback on {request} was not taken")
        return request

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            try:
                answer = self._ask("Where is it?")
                if answer.status_code != 200:
                    self.failures.append(f"a user was not answered: {answer.status_code} {answer.text[:200]}")
            except httpx.HTTPError as error:
                self.failures.append(f"a user was not answered: {error!r}")

    def _ask(self, text: str) -> httpx.Response:
        body = {"model": self._model, "messages": [{"role": "user", "content": text}], "max_tokens": 4}
        return self._client.post(f"{self._url}/chat/completions", json=body)


def _within(look: Callable[[], bool], seconds: float = _PATIENCE_SECONDS) -> bool:
    until = time.monotonic() + seconds
    while not look():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True
