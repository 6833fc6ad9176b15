"""The resources of ingestion, their names and what makes them valid. Pure."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping as AbstractMapping
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound
from sartor_platform.names import pattern

from sartor_ingestion.adapters import ADAPTERS, DATA_EVENTS
from sartor_ingestion.contract import BreachCount, Contract, FieldRule
from sartor_ingestion.contract_faults import contract_faults
from sartor_ingestion.formats.detection import FORMATS
from sartor_ingestion.mapping import KINDS, Mapping
from sartor_ingestion.reach import object_problem

PROJECT = pattern("projects/{project}")
SOURCE = pattern("projects/{project}/sources/{source}")
DATASET = pattern("projects/{project}/datasets/{dataset}")
SNAPSHOT = pattern("projects/{project}/datasets/{dataset}/snapshots/{snapshot}")
IMPORT = pattern("projects/{project}/imports/{import_id}")

DEFAULT_TOPIC = "sartor.data"
MAX_ATTRIBUTES = 64
MAX_PROJECT_FILE_CHARACTERS = 1_000_000
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")
_OWN_TOPIC = re.compile(r"sartor\..+\.v\d+|.*\.dlq")

CAUSES = ("at_records", "quiet", "max_age", "request")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRule:
    """When pending records are sealed; the first condition that holds decides, 0 switches one off."""

    at_records: int = 0
    quiet_seconds: float = 0.0
    max_age_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """What a source's standing order says."""

    dataset: str
    topic: str = DEFAULT_TOPIC
    format: str = ""
    """Of files that do not tell their own; empty: seen from the content."""
    mapping: Mapping = field(default_factory=Mapping)
    quota_records: int = 0
    snapshot_rule: SnapshotRule = field(default_factory=SnapshotRule)
    adapter: str = DATA_EVENTS
    """How the messages on its topic are written."""
    object_prefixes: tuple[str, ...] = ()
    """Where its objects may lie besides the project's own."""
    tables: tuple[str, ...] = ()
    """Of a database's change events, those it takes; empty takes all."""
    contract: Contract = field(default_factory=Contract)
    keep_lost_rows: bool = False
    """Whether records stay that a new version of their object lacks, or whose object was removed."""

    def to_json(self) -> dict[str, Any]:
        """As it is kept in a revision."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, spec: AbstractMapping[str, Any]) -> SourceSpec:
        """The specification that `to_json` wrote."""
        mapping = {**spec["mapping"], "attributes": tuple(spec["mapping"]["attributes"])}
        rule = SnapshotRule(**spec["snapshot_rule"])
        later = {name: tuple(spec.get(name, ())) for name in ("object_prefixes", "tables")}
        contract = contract_of(spec.get("contract", {}))
        return cls(
            **{**spec, **later, "mapping": Mapping(**mapping), "snapshot_rule": rule, "contract": contract}
        )


def contract_of(spec: AbstractMapping[str, Any]) -> Contract:
    """The contract as a revision or a task holds it."""
    rules = tuple(
        FieldRule(**{**rule, "allowed": tuple(rule.get("allowed", ()))}) for rule in spec.get("fields", ())
    )
    return Contract(**{**spec, "fields": rules, "labels": tuple(spec.get("labels", ()))})


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source holds and how its contract fares."""

    live_count: int = 0
    pending_count: int = 0
    breach_count: int = 0
    stopped: bool = False
    breaches: AbstractMapping[str, BreachCount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The records of a project that belong together."""

    name: str
    record_count: int
    pending_count: int
    rejected_count: int
    latest_snapshot: str
    create_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A sealed, cumulative state of a dataset."""

    name: str
    sequence: int
    parent: str
    manifest: ObjectReference
    record_count: int
    added_count: int
    superseded_count: int
    withdrawn_count: int
    rejected_count: int
    cause: str
    run: str
    generation: int
    create_time: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A file on its way into a dataset. An unknown `sha256` is empty until the file is fetched."""

    name: str
    source: str
    source_revision: int
    uri: str
    sha256: str
    size_bytes: int
    file_name: str
    format: str
    accepted_count: int
    rejected_count: int
    unchanged_count: int
    create_time: datetime
    created_by: str
    validate_only: bool = False
    preview: AbstractMapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTrace:
    """A row that waits, or one in a segment, and what contains it."""

    record_id: str
    source: str
    dataset: str
    position: str
    subject_key: str
    state: str
    segment: str = ""
    segment_object: ObjectReference | None = None
    segment_row: int = 0
    snapshots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRecord:
    """A row that was not accepted, as it is shown."""

    source: str
    position: str
    reason: str
    message: str
    excerpt: str
    create_time: datetime


def project_of(name: str) -> str:
    """The project's id in the name of anything inside it."""
    return name.split("/", 2)[1]


def check_project(name: str, display_name: str, project_file: str) -> None:
    """Raises InvalidArgument with every fault of a project."""
    faults = [FieldViolation("project.name", _form(PROJECT.template))] if not PROJECT.matches(name) else []
    if len(display_name) > 200:
        faults.append(FieldViolation("project.display_name", "must have at most 200 characters"))
    if len(project_file) > MAX_PROJECT_FILE_CHARACTERS:
        limit = f"must have at most {MAX_PROJECT_FILE_CHARACTERS} characters"
        faults.append(FieldViolation("project.project_file", limit))
    _raise(faults, "project", name)


def check_source(name: str, spec: SourceSpec) -> None:
    """Raises InvalidArgument with every fault of a source, not only the first."""
    faults = [] if SOURCE.matches(name) else [FieldViolation("source.name", _form(SOURCE.template))]
    faults += _address_faults(name, spec)
    faults += _mapping_faults(spec.mapping)
    faults += contract_faults(spec.contract)
    if spec.quota_records < 0:
        faults.append(FieldViolation("source.quota_records", "must not be negative; 0 means no limit"))
    for item in dataclasses.fields(spec.snapshot_rule):
        value = getattr(spec.snapshot_rule, item.name)
        if not math.isfinite(value) or value < 0:
            path = f"source.snapshot_rule.{item.name}"
            faults.append(FieldViolation(path, "must be a number that is not negative; 0 switches it off"))
    _raise(faults, "source", name)


def _address_faults(name: str, spec: SourceSpec) -> list[FieldViolation]:
    faults = []
    if not DATASET.matches(spec.dataset):
        faults.append(FieldViolation("source.dataset", _form(DATASET.template)))
    elif SOURCE.matches(name) and project_of(spec.dataset) != project_of(name):
        faults.append(FieldViolation("source.dataset", "must lie in the source's own project"))
    if not _TOPIC.fullmatch(spec.topic):
        faults.append(
            FieldViolation("source.topic", "must be 1 to 200 letters, digits, dots, hyphens, underscores")
        )
    elif _OWN_TOPIC.fullmatch(spec.topic):
        message = "is a topic of Sartor's own events; name another, or leave it empty for sartor.data"
        faults.append(FieldViolation("source.topic", message))
    if spec.adapter not in ADAPTERS:
        faults.append(FieldViolation("source.adapter", f"must be one of {', '.join(ADAPTERS)}"))
    elif spec.adapter != DATA_EVENTS and spec.topic == DEFAULT_TOPIC:
        message = f"must be a topic of its own: {DEFAULT_TOPIC} carries data events only"
        faults.append(FieldViolation("source.topic", message))
    for index, prefix in enumerate(spec.object_prefixes):
        if problem := object_problem(prefix):
            faults.append(FieldViolation(f"source.object_prefixes[{index}]", problem))
    if spec.format and spec.format not in FORMATS:
        faults.append(FieldViolation("source.format", f"must be one of {', '.join(FORMATS)}"))
    return faults


def _mapping_faults(mapping: Mapping) -> list[FieldViolation]:
    faults = []
    if mapping.kind not in KINDS:
        faults.append(FieldViolation("source.mapping.kind", f"must be one of {', '.join(KINDS)}"))
    if len(mapping.attributes) > MAX_ATTRIBUTES:
        faults.append(
            FieldViolation("source.mapping.attributes", f"must name at most {MAX_ATTRIBUTES} fields")
        )
    if len(set(mapping.attributes)) != len(mapping.attributes):
        faults.append(FieldViolation("source.mapping.attributes", "names a field twice"))
    if "" in mapping.attributes:
        faults.append(FieldViolation("source.mapping.attributes", "must not hold an empty name"))
    if mapping.subject and mapping.subject in mapping.attributes:
        message = "holds the subject's field, whose value would then be stored as it is; leave it out"
        faults.append(FieldViolation("source.mapping.attributes", message))
    return faults


def _form(template: str) -> str:
    return f"must have the form {template}; ids are lower-case letters, digits and hyphens"


def _raise(faults: Sequence[FieldViolation], what: str, name: str) -> None:
    if faults:
        lines = "; ".join(f"{fault.field} {fault.description}" for fault in faults)
        raise InvalidArgument(
            f"the {what} is not usable: {lines}",
            reason=f"BAD_{what.upper()}",
            metadata={"name": name},
            violations=faults,
        )


def contract_breached(dataset: str, sources: Sequence[str]) -> FailedPrecondition:
    """Contracts of sources stop the dataset's snapshots."""
    message = (
        f"no snapshot of {dataset} is sealed: too many rows of {', '.join(sources)} break the contract; see"
        " `sartor get sources` and `sartor get rejected`, mend the data or the contract, or seal it all the"
        " same with `sartor snapshot --accept-breaches`"
    )
    metadata = {"dataset": dataset, "sources": ",".join(sources)}
    return FailedPrecondition(message, reason="CONTRACT_BREACHED", metadata=metadata)


def project_not_found(name: str) -> NotFound:
    """The project was never applied."""
    message = f"{name} does not exist; apply its project file first"
    return NotFound(message, reason="PROJECT_NOT_FOUND", metadata={"project": name})


def source_not_found(name: str) -> NotFound:
    """The source was never applied."""
    message = f"{name} does not exist; apply a project file that names this source, then send the data again"
    return NotFound(message, reason="SOURCE_NOT_FOUND", metadata={"source": name})


def dataset_not_found(name: str) -> NotFound:
    """No source ever named this dataset."""
    message = f"{name} does not exist; a dataset is made by the first source that names it"
    return NotFound(message, reason="DATASET_NOT_FOUND", metadata={"dataset": name})


def import_not_found(name: str) -> NotFound:
    """There is no such import."""
    return NotFound(f"{name} does not exist; list the imports of its project", reason="IMPORT_NOT_FOUND")


def snapshot_not_found(name: str) -> NotFound:
    """There is no such snapshot, or it is not sealed yet."""
    message = f"{name} does not exist, or is still being sealed; list the snapshots of its dataset"
    return NotFound(message, reason="SNAPSHOT_NOT_FOUND")
