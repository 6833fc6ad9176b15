"""One round: a plan struck against new datasets of a running world, then rest, then every invariant."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sartor.curation.v1.curation_service_pb2 import CreateCurationRequest
from sartor_platform.attempt_sweep import TICK_SECONDS
from sartor_platform.errors import NotFound

from tests.faults import afterwards, invariants
from tests.faults.injectors import Injectors
from tests.faults.lap import Lap
from tests.faults.ledger import DatasetLedger, Ledger
from tests.faults.observer import OURS, Observer
from tests.faults.outcome import Outcome
from tests.faults.plan import DATA, DOWN, LOOP, LOST_LOG, MODEL, Fault, RoundPlan
from tests.faults.producer import OutsideProducer
from tests.faults.reading import Objects, Outside, Reader
from tests.faults.stops import PointFault, Stops
from tests.faults.workload import BASE_MODEL, Feed, apply_text, asked, data_orders
from tests.faults.world import GRACE_SECONDS, World

REST_SECONDS = 180.0
MODEL_REST_SECONDS = 480.0
SWEPT_SECONDS = GRACE_SECONDS + 2 * TICK_SECONDS
PERMANENT = ("WENT BACK", "ORDER", "ALTERED", "HALF", "TWICE: sartor.", "TWICE: event")
"""How violations begin that no waiting will heal."""
_FIRST_SNAPSHOT_SECONDS = 8.0
_OF_MODELS = {MODEL: invariants.OF_MODELS, LOOP: invariants.OF_LOOPS}


@dataclass(slots=True)
class RoundResult:
    """What one round came to."""

    plan: RoundPlan
    confirmed: list[Fault] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


class Harness:
    """The outside of one world: its producers, readers and ledger."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = Ledger()
        self.producer = OutsideProducer(world.kafka_settings())
        self.observer = Observer(world.kafka_settings(), (*OURS, "sartor.data.dlq"))
        self.sartor = world.client()
        self.objects = Objects(world.platform_settings())
        self.reader = Reader(self.sartor, self.objects, world.options.services)
        self.project = f"faults-{uuid.uuid4().hex[:8]}"
        self.kinds: dict[str, str] = {}
        """Dataset → the kind of its round."""
        self.requests: dict[str, set[str]] = {}
        self._events = 0
        apply_text(self.sartor, BASE_MODEL.format(project=self.project, model=world.model))

    def close(self) -> None:
        """Let go of the world."""
        self.observer.stop()
        self.producer.close()
        self.sartor.close()

    # --- a round ---

    def run(self, plan: RoundPlan, outcome: Outcome) -> RoundResult:
        """Strike, come to rest, check."""
        result = RoundResult(plan)
        models = plan.kind in _OF_MODELS
        names = [f"{plan.kind[0]}{plan.number}-{index}" for index in range(1 if models else 2)]
        pages = [self.ledger.open(self.project, name) for name in names]
        points = [self._lay(fault) for fault in plan.faults if fault.point]
        timed = [fault for fault in plan.faults if not fault.point and fault.kind != DOWN]
        stops = Stops(self.world, points)
        apply_text(self.sartor, data_orders(self.project, self.world.model, names, plan.kind))
        self.kinds |= {page.dataset: plan.kind for page in pages}
        feeds = [Feed(self.ledger, page, self.producer, plan.rng(page.dataset)) for page in pages]
        injectors = Injectors(self.world, self.producer, self.observer, pages, plan.rng("strikes"))
        struck: list[Fault] = []
        jobs: list[Callable[[], None]] = [lambda feed=feed: self._feed(feed, plan) for feed in feeds]  # type: ignore[misc]
        jobs += [lambda fault=fault: self._strike(injectors, fault, struck) for fault in timed]  # type: ignore[misc]
        result.violations += _together(jobs)
        for feed in feeds if not models else ():
            feed.closing()
        result.violations += self.rest(pages, stops.done, MODEL_REST_SECONDS if models else REST_SECONDS)
        if plan.kind == MODEL and not result.violations:
            result.violations += self._afterwards(pages)
        if plan.kind == LOOP and not result.violations:
            struck += self._lap(plan, pages[0], result)
        stops.end()
        result.confirmed = struck + self._confirmed(points)
        self._count(plan, result, pages, outcome)
        return result

    def _lay(self, fault: Fault) -> PointFault:
        order = self.world.points.order(fault.point, fault.target, fault.kind, attempt_below=9)
        return PointFault(fault, order)

    def _feed(self, feed: Feed, plan: RoundPlan) -> None:
        feed.first_wave(4, 5)
        if plan.kind == LOST_LOG:
            time.sleep(4)
        elif plan.kind in _OF_MODELS:
            feed.closing()
            return
        else:
            self._await_snapshot(feed.page)
            if feed.page.dataset.endswith("-0"):
                self._by_hand(feed.page)
        feed.second_wave(3)

    def _await_snapshot(self, page: DatasetLedger) -> None:
        until = time.monotonic() + _FIRST_SNAPSHOT_SECONDS
        while time.monotonic() < until and not self.reader.snapshots(page.dataset):
            time.sleep(0.3)

    def _by_hand(self, page: DatasetLedger) -> None:
        """A client asks for a curation and, as after a lost answer, asks again with the same id."""
        if not self.reader.snapshots(page.dataset):
            return
        name = page.dataset.rpartition("/")[2]
        request = CreateCurationRequest(
            parent=f"projects/{page.project}",
            policy=f"projects/{page.project}/curationPolicies/{name}",
            request_id=str(uuid.uuid4()),
        )
        made = self.requests.setdefault(request.request_id, set())
        for _ in range(2):
            with contextlib.suppress(NotFound):
                made.add(asked(lambda: self.sartor.ask(self.sartor.curation.CreateCuration, request)).name)

    def _strike(self, injectors: Injectors, fault: Fault, struck: list[Fault]) -> None:
        time.sleep(fault.at_seconds)
        if injectors.strike(fault):
            struck.append(fault)

    def _confirmed(self, points: list[PointFault]) -> list[Fault]:
        for each in points:
            self.world.points.withdraw(each.order)
        time.sleep(0.05)
        found = [each for each in points if self.world.points.confirmation(each.order) is not None]
        return [each.fault for each in found if each.fault.kind != "stop" or each.slept]

    def _afterwards(self, pages: list[DatasetLedger]) -> list[str]:
        found: list[str] = []
        for page in pages:
            outside = self.reader.read(page.project, page.dataset, models=True)
            endpoint = page.dataset.rpartition("/")[2]
            found += afterwards.the_live_revision_answers(self.world.gateway_url, endpoint)
            found += afterwards.a_twin_has_the_same_weights(self.sartor, self.objects, outside)
        return found

    def _lap(self, plan: RoundPlan, page: DatasetLedger, result: RoundResult) -> list[Fault]:
        """Once round the loop; the outages that were felt."""
        lap = Lap(self.world, self.sartor, self.observer, self.objects, page)
        result.violations += _together([lambda: result.violations.extend(lap.run())])
        if not result.violations:
            result.violations += self.rest([page])
            result.violations += afterwards.the_live_revision_answers(
                self.world.gateway_url, page.dataset.rpartition("/")[2]
            )
        return [fault for fault in plan.faults if fault.target in lap.down]

    def _count(
        self, plan: RoundPlan, result: RoundResult, pages: list[DatasetLedger], outcome: Outcome
    ) -> None:
        outcome.rounds += 1
        for fault in plan.faults:
            outcome.tried[_label(fault)] += 1
        for fault in result.confirmed:
            outcome.confirmed[_label(fault)] += 1
            if fault.point:
                outcome.points[fault.point] += 1
        outcome.records += sum(len(page.sent) for page in pages)
        outcome.redelivered += sum(page.redelivered for page in pages)
        events = len({(each.topic, each.id) for each in self.observer.seen()})
        outcome.events += events - self._events
        self._events = events
        if result.violations:
            outcome.violations += result.violations
            outcome.failed_rounds.append(plan.name)
        else:
            outcome.survived += len(result.confirmed)

    # --- rest ---

    def rest(
        self,
        pages: list[DatasetLedger],
        also: Callable[[], bool] = lambda: True,
        seconds: float = REST_SECONDS,
    ) -> list[str]:
        """Wait until every invariant holds; what still does not is returned."""
        until = time.monotonic() + seconds
        while True:
            found = list(self.violations(pages))
            if not also():
                found.append("the faults themselves have not ended")
            if not found or time.monotonic() > until or any(each.startswith(PERMANENT) for each in found):
                return found
            time.sleep(0.5)

    def look_at_everything(self) -> list[str]:
        """All datasets once more, their objects read anew, and what losing attempts had left is gone."""
        self.objects.forget()
        found = self.rest(list(self.ledger.datasets.values()), seconds=30)
        until = time.monotonic() + SWEPT_SECONDS
        while True:
            old = self.objects.older_than(f"{self.project}/", SWEPT_SECONDS)
            left = list(invariants.losing_attempts_are_swept(old))
            if not left or time.monotonic() > until:
                return found + left
            time.sleep(5)

    def violations(self, pages: list[DatasetLedger]) -> Iterator[str]:
        """Everything that does not hold now for these datasets, and for all events."""
        seen = self.observer.seen()
        outsides: list[Outside] = []
        for page in pages:
            of_models = _OF_MODELS.get(self.kinds.get(page.dataset, DATA), ())
            outside = self.reader.read(page.project, page.dataset, models=bool(of_models))
            outsides.append(outside)
            if outside.pending:
                yield f"{outside.pending} records of {page.dataset} are still pending"
            for check in (*invariants.OF_DATASETS, *of_models):
                yield from check(page, outside)
        self.objects.faults.clear()
        yield from invariants.every_named_object_is_whole(self.reader, outsides)
        yield from invariants.no_event_has_two_contents(seen)
        yield from invariants.each_fact_is_told_once(seen)
        yield from invariants.promotions_are_told_in_order(seen)
        yield from invariants.every_snapshot_was_told(seen, outsides)
        yield from invariants.all_poison_was_put_aside(seen, pages)
        for request, names in self.requests.items():
            if len(names) > 1:
                yield f"TWICE: request {request} made {sorted(names)}"
        if not self.world.all_ready():
            yield "not every process is ready again"
        for name in self.world.names():
            if "worker" in name and self.world.children(name):
                yield f"{name} still has a child that works"


def _label(fault: Fault) -> str:
    if fault.point:
        return f"{fault.kind} at point"
    return (
        f"{fault.kind} {fault.target}"
        if fault.kind in ("kill_server", "cut", "reset", "delay", "half_open", DOWN)
        else fault.kind
    )


def _together(jobs: list[Callable[[], None]]) -> list[str]:
    """Run them side by side; what they raised is a violation: the outside was not served."""
    raised: list[str] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - told as a violation
            raised.append(f"the outside was not served: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=[job], daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
