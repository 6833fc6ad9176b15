"""What must hold whatever was killed, cut, frozen, filled or sent twice: each promise is one function."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from google.protobuf.json_format import Parse
from sartor.common.v1.job_status_pb2 import JobState
from sartor.curation.v1.curation_events_pb2 import CurationSucceeded
from sartor.deployment.v1 import endpoint_pb2
from sartor.deployment.v1.deployment_events_pb2 import RevisionPromoted
from sartor.evaluation.v1.evaluation_events_pb2 import ModelVersionApproved, ModelVersionRejected
from sartor.ingestion.v1.ingestion_events_pb2 import SnapshotCreated
from sartor.training.v1.training_events_pb2 import ModelVersionCreated

from tests.faults.ledger import DatasetLedger
from tests.faults.observer import Seen
from tests.faults.reading import Outside, Reader

Check = Callable[[DatasetLedger, Outside], Iterator[str]]
UNFINISHED = {"JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_PAUSED", "JOB_STATE_CANCELLING"}
SUCCEEDED = JobState.Value("JOB_STATE_SUCCEEDED")


def state(resource: Any) -> str:
    """The name of a resource's job state."""
    return JobState.Name(resource.job.state)


# --- records ---


def every_acknowledged_record_is_kept(page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """The newest snapshot holds exactly what was acknowledged and neither replaced nor withdrawn."""
    wanted = Counter(page.current().items())
    live = outside.snapshots[-1].live if outside.snapshots else Counter()
    for key, version in (wanted - live).elements():
        yield f"LOST: record {key} version {version} was acknowledged, but is not in {page.dataset}"
    for key, version in (live - wanted).elements():
        yield f"TWICE: record {key} version {version} is in {page.dataset}, but must not be, or not so often"


def each_record_is_in_one_segment(page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """No record lies in two segments, and none that nobody sent."""
    segments: dict[str, list[tuple[str, int]]] = {}
    for snapshot in outside.snapshots:
        segments |= snapshot.segments
    sent = {(row.key, row.version) for row in page.sent}
    for (key, version), count in Counter(row for rows in segments.values() for row in rows).items():
        if count > 1:
            yield f"TWICE: record {key} version {version} of {page.dataset} lies in {count} segments"
        if (key, version) not in sent:
            yield f"UNKNOWN: record {key} version {version} of {page.dataset} was never sent"


def records_stay_until_superseded(page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """From one snapshot to the next a record goes only because a later one of its key replaced it."""
    for before, after in zip(outside.snapshots, outside.snapshots[1:], strict=False):
        now = dict(after.live.keys())
        for key, version in before.live:
            history = page.versions_of(key)
            later = history[history.index(version) + 1 :] if version in history else []
            if now.get(key, 0) != version and now.get(key, 0) not in later:
                found = f"version {now[key]}" if key in now else "nothing"
                yield f"WENT BACK: {key} is version {version} in {before.name}, but {found} in {after.name}"


def snapshot_counts_are_right(_page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """The count that is told is the count that is there."""
    for snapshot in outside.snapshots:
        if snapshot.record_count != snapshot.live.total():
            yield f"{snapshot.name} tells of {snapshot.record_count} records, but has {snapshot.live.total()}"


# --- one cause, one effect ---


def each_snapshot_has_one_curation(page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """Exactly one successful curation by the standing order, however often it was tried."""
    policy = f"projects/{page.project}/curationPolicies/{page.dataset.rpartition('/')[2]}"
    for snapshot in outside.snapshots:
        if snapshot.name in page.altered:
            continue
        of_order = [
            each for each in outside.curations if each.snapshot == snapshot.name and each.created_by == policy
        ]
        good = [each for each in of_order if each.job.state == SUCCEEDED]
        if len(of_order) != 1 or len(good) != 1:
            states = [f"{state(each)} {each.job.error.reason}" for each in of_order]
            yield f"{snapshot.name} has {len(good)} successful curations, not one: {states}"


def each_plan_makes_one_version(_page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """One training job and one model version for each curation of the standing order."""
    good = [each for each in outside.curations if each.job.state == SUCCEEDED]
    for each in good:
        jobs = [job for job in outside.jobs if job.curation == each.name]
        versions = [version for version in outside.versions if version.curation == each.name]
        if len(jobs) != 1 or len(versions) != 1:
            states = [f"{state(job)} {job.job.error.reason}" for job in jobs]
            yield f"{each.name} has {len(versions)} model versions, not one; its jobs: {states}"


def versions_are_asked_for_once(page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """With a loop: a version of the first curation, later ones where it asked for them, none twice."""
    if not outside.versions:
        yield f"{page.dataset} has no model version yet"
    for kind, made in (("job", outside.jobs), ("version", outside.versions)):
        for curation, count in Counter(each.curation for each in made).items():
            if count > 1:
                yield f"TWICE: {curation} has {count} {kind}s"


def each_version_has_one_verdict(_page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """The gate evaluated each version once."""
    for version in outside.versions:
        judged = [
            each
            for each in outside.evaluations
            if any(candidate.model_version == version.name for candidate in each.candidates)
        ]
        good = [each for each in judged if each.job.state == SUCCEEDED and each.HasField("verdict")]
        if len(judged) != 1 or len(good) != 1:
            states = [f"{state(each)} {each.job.error.reason}" for each in judged]
            yield f"{version.name} has {len(good)} verdicts, not one: {states}"


def each_endpoint_has_one_live_revision(page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """Every approved version was deployed once, and exactly one revision answers."""
    approved = [each for each in outside.evaluations if each.verdict.passed]
    live = [each for each in outside.revisions if each.state == endpoint_pb2.REVISION_STATE_LIVE]
    if approved and len(live) != 1:
        states = [endpoint_pb2.RevisionState.Name(each.state) for each in outside.revisions]
        yield f"the endpoint of {page.dataset} has {len(live)} live revisions, not one: {states}"
    for version, count in Counter(each.model_version for each in outside.revisions).items():
        if count != 1:
            yield f"{version} was deployed {count} times"


def nothing_is_half_written(_page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """What says that it succeeded names everything that it must."""
    for each in (*outside.curations, *outside.evaluations):
        if each.job.state == SUCCEEDED and not each.report.uri:
            yield f"HALF: {each.name} succeeded, but names no report"
    for each in outside.curations:
        if each.job.state == SUCCEEDED and not (each.manifest.uri and each.dropped.uri):
            yield f"HALF: {each.name} succeeded, but names no manifest"
    for each in outside.jobs:
        if (each.job.state == SUCCEEDED) != bool(each.model_version):
            yield f"HALF: {each.name} is {state(each)}, and its version is {each.model_version!r}"


def no_job_is_orphaned(_page: DatasetLedger, outside: Outside) -> Iterator[str]:
    """At rest nothing runs or waits."""
    for each in (*outside.curations, *outside.jobs, *outside.evaluations):
        if state(each) in UNFINISHED:
            yield f"{each.name} is still {state(each)}: {each.job.progress.message}"


OF_DATASETS = (
    every_acknowledged_record_is_kept,
    each_record_is_in_one_segment,
    records_stay_until_superseded,
    snapshot_counts_are_right,
    each_snapshot_has_one_curation,
    nothing_is_half_written,
    no_job_is_orphaned,
)
_OF_VERSIONS = (each_version_has_one_verdict, each_endpoint_has_one_live_revision)
OF_MODELS = (each_plan_makes_one_version, *_OF_VERSIONS)
OF_LOOPS = (versions_are_asked_for_once, *_OF_VERSIONS)


# --- objects ---


def every_named_object_is_whole(reader: Reader, outsides: Iterable[Outside]) -> Iterator[str]:
    """Every object that the API or a manifest names is there, with the digest that is named."""
    for outside in outsides:
        for each in outside.curations:
            if each.job.state == SUCCEEDED:
                reader.objects.manifest(each.manifest)
                for reference in (each.report, each.report_page, each.dropped):
                    reader.objects.reference(reference)
        for version in outside.versions:
            reader.objects.manifest(version.manifest)
            reader.objects.reference(version.model_card)
        for each in outside.evaluations:
            if each.job.state == SUCCEEDED:
                for reference in (each.report, each.results, each.reference_outputs):
                    if reference.uri:
                        reader.objects.reference(reference)
        for revision in outside.revisions:
            if revision.weights.uri:
                reader.objects.reference(revision.weights)
    yield from reader.objects.faults


def losing_attempts_are_swept(old_keys: Iterable[str]) -> Iterator[str]:
    """Of a job that ended long ago, objects of one attempt are left: the winner's (and checkpoints)."""
    attempts: dict[str, set[str]] = defaultdict(set)
    for key in old_keys:
        parts = key.split("/")
        if len(parts) > 4 and parts[4] != "checkpoints":
            attempts["/".join(parts[:3])].add(parts[3])
    for job, found in attempts.items():
        if len(found) > 1:
            yield f"SWEEP: objects of {len(found)} attempts of {job} are left: {sorted(found)}"


# --- events ---


def no_event_has_two_contents(seen: Sequence[Seen]) -> Iterator[str]:
    """An event may come twice, but then it says the same."""
    contents: dict[tuple[str, str], set[tuple[str, str, bytes]]] = defaultdict(set)
    for each in seen:
        if each.topic.endswith(".v1"):
            contents[each.topic, each.id].add((each.type, each.subject, each.value))
    for (topic, id_), found in contents.items():
        if len(found) > 1:
            yield f"TWICE: event {id_} of {topic} was published with {len(found)} contents"


def each_fact_is_told_once(seen: Sequence[Seen]) -> Iterator[str]:
    """One event, by its id, for each snapshot, curated snapshot, version, verdict and promotion."""
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in seen:
        kind = _FACTS.get(each.type)
        if kind is not None:
            message_type, fact = kind
            told[each.type, fact(Parse(each.value, message_type()))].add(each.id)
    for (type_, fact), ids in told.items():
        if fact and len(ids) > 1:
            yield f"TWICE: {type_} was published for {fact} as {len(ids)} events"


_FACTS: dict[str, tuple[Any, Any]] = {
    SnapshotCreated.DESCRIPTOR.full_name: (SnapshotCreated, lambda event: event.snapshot),
    CurationSucceeded.DESCRIPTOR.full_name: (
        CurationSucceeded,
        lambda event: event.snapshot if event.standing_order else "",
    ),
    ModelVersionCreated.DESCRIPTOR.full_name: (ModelVersionCreated, lambda event: event.training_job),
    ModelVersionApproved.DESCRIPTOR.full_name: (ModelVersionApproved, lambda event: event.model_version),
    ModelVersionRejected.DESCRIPTOR.full_name: (ModelVersionRejected, lambda event: event.model_version),
    RevisionPromoted.DESCRIPTOR.full_name: (RevisionPromoted, lambda event: event.revision),
}


def promotions_are_told_in_order(seen: Sequence[Seen]) -> Iterator[str]:
    """Each promotion names the one that was told before it: events of one key keep their order."""
    last: dict[str, str] = {}
    known: set[str] = set()
    for each in seen:
        if each.type != RevisionPromoted.DESCRIPTOR.full_name or each.id in known:
            continue
        known.add(each.id)
        event = Parse(each.value, RevisionPromoted())
        if event.previous_revision != last.get(event.endpoint, ""):
            before = last.get(event.endpoint, "nothing")
            yield f"ORDER: {event.revision} follows {event.previous_revision!r}, but is told after {before}"
        last[event.endpoint] = event.revision


def every_snapshot_was_told(seen: Sequence[Seen], outsides: Iterable[Outside]) -> Iterator[str]:
    """What the API shows, the topic has told: no event is lost between row and topic."""
    told = {(each.type.rpartition(".")[2], each.subject) for each in seen}
    for outside in outsides:
        wanted = [("SnapshotCreated", each.name) for each in outside.snapshots]
        wanted += [
            ("CurationSucceeded", each.name) for each in outside.curations if each.job.state == SUCCEEDED
        ]
        wanted += [("ModelVersionCreated", each.name) for each in outside.versions]
        for type_, subject in wanted:
            if (type_, subject) not in told:
                yield f"LOST: {type_} of {subject} was never published"


def all_poison_was_put_aside(seen: Sequence[Seen], pages: Iterable[DatasetLedger]) -> Iterator[str]:
    """Poison lies in the dead letters with its bytes and a reason; it may lie there more than once."""
    letters = {
        (each.key, each.value)
        for each in seen
        if each.topic == "sartor.data.dlq" and "sartor_reason" in dict(each.headers)
    }
    for page in pages:
        for event in page.poison:
            if (event.key, event.value) not in letters:
                yield f"LOST: poison {event.id} is not among the dead letters"
