"""One drill for each guard: a fault that only this guard makes harmless, struck on purpose.

With the guard in place a drill finds nothing; with the guard taken away it must find harm. `proofs.py` tests
both, so that the harness is known to notice what it is there to notice.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from google.protobuf.json_format import Parse
from sartor.ingestion.v1.ingestion_service_pb2 import ListSnapshotsRequest
from sartor.training.v1.base_model_pb2 import BaseModel
from sartor.training.v1.training_events_pb2 import BaseModelReady
from sartor.training.v1.training_service_pb2 import GetBaseModelRequest
from sartor_platform.fault_points import DIGEST_CHECK, INBOX, LEASE_FENCE, RELAY_ORDER

from tests.faults import invariants
from tests.faults.injectors import is_stopped
from tests.faults.ledger import DatasetLedger, Row
from tests.faults.plan import DATA, plan_round
from tests.faults.rounds import PERMANENT, Harness
from tests.faults.stops import wake
from tests.faults.workload import BASE_MODEL, Feed, apply_text, asked, data_orders
from tests.tiny_model import make_tiny_model

_REST_SECONDS = 45.0
_WAIT_SECONDS = 60.0


def drill(harness: Harness, guard: str, name: str) -> list[str]:
    """Strike where only `guard` helps, on the new dataset `name`; returns what does not hold afterwards."""
    drills: dict[str, Callable[[Harness, str], list[str]]] = {
        INBOX: old_data_comes_again,
        LEASE_FENCE: a_worker_wakes_after_its_lease,
        RELAY_ORDER: events_wait_for_the_broker,
        DIGEST_CHECK: an_object_is_altered,
    }
    _first(lambda: _idle(harness))
    return drills[guard](harness, name)


def old_data_comes_again(harness: Harness, name: str) -> list[str]:
    """The first event is delivered once more after its record was corrected: nothing may go back."""
    page, feed = _dataset(harness, name)
    for version in (1, 2, 3):
        feed.send([Row("twice", version), Row(f"beside-{version}", 1)])
    _first(lambda: [each for each in harness.reader.snapshots(page.dataset) if ("twice", 3) in each.live])
    harness.producer.send(page.events[0])
    feed.closing()
    return harness.rest([page], seconds=_REST_SECONDS)


def a_worker_wakes_after_its_lease(harness: Harness, name: str) -> list[str]:
    """A worker sleeps with its result in hand until another has done the job: its result may not count."""
    points = harness.world.points
    order = points.order("after_lease_check_before_accept", "curation-worker", "stop")
    page, feed = _dataset(harness, name)
    feed.send([Row(f"slow-{number}", 1) for number in range(6)])
    sleeper = _first(lambda: [each for each in [points.confirmation(order)] if each])
    try:
        _first(lambda: _curations_if_all_ended(harness, page))
        assert is_stopped(sleeper.pid), "the worker did not sleep until another had done its job"
    finally:
        wake(sleeper.pid)
    if "discarded" in _first(lambda: _outcomes_if_repeated(harness, page)):
        return harness.rest([page], seconds=_REST_SECONDS)
    return _first(lambda: _lasting(harness, page))  # it counted twice: that must come to be told


def events_wait_for_the_broker(harness: Harness, name: str) -> list[str]:
    """Two facts about one base model wait for the broker: the topic tells them in the order they happened."""
    proxy = harness.world.proxies["tansu"]
    proxy.refusing = True
    proxy.cut(plan_round(0, 0, DATA).rng(name), 1.0)
    try:
        digests = [_base_model(harness, name, seed) for seed in (11, 12)]
    finally:
        proxy.refusing = False
    until = time.monotonic() + _WAIT_SECONDS
    while len(told := _told(harness, name)) < len(digests) and time.monotonic() < until:
        time.sleep(0.3)
    return [] if told == digests else [f"ORDER: {name} became {digests}, but the topic tells {told}"]


def an_object_is_altered(harness: Harness, name: str) -> list[str]:
    """A segment is replaced by other, readable data before curation reads it: that must be refused."""
    world = harness.world
    page, feed = _dataset(harness, name)
    world.freeze("curation-server")
    try:
        feed.send([Row(f"altered-{number}", 1) for number in range(6)])
        snapshot = _snapshot(harness, page)
        segment = harness.objects.manifest(snapshot.manifest)["segments"][0]["object"]
        original = harness.objects.read(segment["uri"], segment["sha256"])
        harness.objects.put(segment["uri"], _with_other_answers(original))
    finally:
        world.wake("curation-server")
    curation = _ended_curation(harness, page)
    harness.objects.put(segment["uri"], original)
    if curation.job.error.reason == "DIGEST_MISMATCH":
        page.altered.add(snapshot.name)
        return harness.rest([page], seconds=_REST_SECONDS)
    return [f"ALTERED: {curation.name} is {invariants.state(curation)}, though {segment['uri']} was altered"]


def _dataset(harness: Harness, name: str) -> tuple[DatasetLedger, Feed]:
    page = harness.ledger.open(harness.project, name)
    apply_text(harness.sartor, data_orders(harness.project, harness.world.model, [name], DATA))
    return page, Feed(harness.ledger, page, harness.producer, plan_round(0, 0, DATA).rng(name))


def _snapshot(harness: Harness, page: DatasetLedger) -> Any:
    """The first snapshot of the dataset, once it is there."""
    sartor, request = harness.sartor, ListSnapshotsRequest(parent=page.dataset)
    return _first(lambda: asked(lambda: list(sartor.all(sartor.ingestion.ListSnapshots, request))))


def _curations(harness: Harness, page: DatasetLedger) -> list[Any]:
    return list(harness.reader.read(page.project, page.dataset, models=False).curations)


def _ended_curation(harness: Harness, page: DatasetLedger) -> Any:
    """The first curation of the dataset that ends."""
    return _first(lambda: [each for each in _curations(harness, page) if not _unfinished(each)])


def _curations_if_all_ended(harness: Harness, page: DatasetLedger) -> list[Any]:
    found = _curations(harness, page)
    return [] if any(map(_unfinished, found)) else found


def _lasting(harness: Harness, page: DatasetLedger) -> list[list[str]]:
    found = [each for each in harness.violations([page]) if each.startswith(PERMANENT)]
    return [found] if found else []


def _idle(harness: Harness) -> list[bool]:
    """Whether nothing is left to do for earlier datasets: what is struck must be work on the new one."""
    for page in harness.ledger.datasets.values():
        outside = harness.reader.read(page.project, page.dataset, models=False)
        if outside.pending or any(invariants.each_snapshot_has_one_curation(page, outside)):
            return []
    return [True]


def _unfinished(curation: Any) -> bool:
    return invariants.state(curation) in invariants.UNFINISHED


def _outcomes_if_repeated(harness: Harness, page: DatasetLedger) -> list[set[str]]:
    """How the attempts at a curation of the dataset ended, once two of them at the same one have."""
    outcomes: dict[str, list[str]] = {each.name: [] for each in _curations(harness, page)}
    for each in harness.world.logged("job.attempt_ended"):
        if each["resource"] in outcomes:
            outcomes[each["resource"]].append(each["outcome"])
    return [set(each) for each in outcomes.values() if len(each) > 1]


def _first(read: Callable[[], list[Any]]) -> Any:
    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        found = read()
        if found:
            return found[0]
        time.sleep(0.2)
    raise AssertionError(f"nothing came within {_WAIT_SECONDS:.0f} s")


def _base_model(harness: Harness, name: str, seed: int) -> str:
    """Apply the base model with other weights; returns its digest once it is prepared."""
    folder = make_tiny_model(harness.world.folder / f"{name}-{seed}", seed=seed)
    text = BASE_MODEL.format(project=harness.project, model=folder).replace("name: tiny", f"name: {name}")
    before = _digest(harness, name)
    apply_text(harness.sartor, text)
    return str(_first(lambda: [each] if (each := _digest(harness, name)) not in ("", before) else []))


def _digest(harness: Harness, name: str) -> str:
    from sartor_platform.errors import NotFound

    request = GetBaseModelRequest(name=f"projects/{harness.project}/baseModels/{name}")
    try:
        found: BaseModel = asked(lambda: harness.sartor.ask(harness.sartor.training.GetBaseModel, request))
    except NotFound:
        return ""
    return found.digest


def _told(harness: Harness, name: str) -> list[str]:
    subject = f"projects/{harness.project}/baseModels/{name}"
    first = {each.id: each for each in reversed(harness.observer.seen()) if each.subject == subject}
    told = sorted(first.values(), key=lambda each: each.offset)
    return [Parse(each.value, BaseModelReady()).digest for each in told]


def _with_other_answers(data: bytes) -> bytes:
    """The same Parquet file with every answer turned round."""
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    messages = [
        [{**turn, "content": turn["content"][::-1]} for turn in turns]
        for turns in table.to_pydict()["messages"]
    ]
    index = table.schema.get_field_index("messages")
    changed = table.set_column(
        index, table.schema.field(index), pa.array(messages, table.schema.field(index).type)
    )
    out = io.BytesIO()
    pyarrow.parquet.write_table(changed, out)
    return out.getvalue()
