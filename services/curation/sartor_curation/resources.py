"""The resources of curation, their names and what makes them valid. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sartor_datasets.manifests import ObjectReference
from sartor_platform.errors import FieldViolation, IllegalTransition, InvalidArgument, NotFound
from sartor_platform.names import NamePattern, pattern
from sartor_text.language_codes import LANGUAGE_CODES

from sartor_curation.policy import OPTIONAL, Policy

PROJECT = pattern("projects/{project}")
DATASET = pattern("projects/{project}/datasets/{dataset}")
SNAPSHOT = pattern("projects/{project}/datasets/{dataset}/snapshots/{snapshot}")
BASE_MODEL = pattern("projects/{project}/baseModels/{base_model}")
POLICY = pattern("projects/{project}/curationPolicies/{policy}")
SUITE = pattern("projects/{project}/suites/{suite}")
CURATION = pattern("projects/{project}/curations/{curation}")

CURATE = "curation"
"""The one kind of job."""

MAX_SHARE = 0.5
MAX_INSTRUCTION_CHARACTERS = 10_000
MAX_EVALUATION_CHARACTERS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What curation knows of a snapshot, from its event."""

    name: str
    dataset: str
    sequence: int
    manifest: ObjectReference
    record_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """What curation knows of a base model that is ready, from its event."""

    name: str
    digest: str
    manifest: ObjectReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a curation that succeeded has to show."""

    manifest: ObjectReference
    report: ObjectReference
    report_page: ObjectReference
    dropped: ObjectReference
    input_count: int
    kept_count: int
    dropped_count: int
    dropped_by_reason: Mapping[str, int]
    kept_by_split: Mapping[str, int]
    training_tokens: int
    card: ObjectReference | None = None
    """None where an earlier release curated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """One policy applied to one snapshot. `standing_order` is empty where a client asked for it."""

    name: str
    policy: str
    policy_revision: int
    standing_order: str
    snapshot: str
    run: str
    generation: int
    create_time: datetime
    created_by: str
    result: Result | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedRecord:
    """A dropped record as it is listed."""

    record_id: str
    record_key: str
    position: str
    step: str
    reason: str
    detail: str
    excerpt: str


def project_of(name: str) -> str:
    """The project's id in the name of anything inside it."""
    return name.split("/", 2)[1]


def check_policy(name: str, policy: Policy) -> None:
    """Nothing, if the policy can be followed.

    Raises:
        InvalidArgument: BAD_CURATION_POLICY, with every fault and not only the first.
    """
    faults = [
        *_name_faults("name", POLICY, name, name),
        *_name_faults("dataset", DATASET, policy.dataset, name),
        *_name_faults("base_model", BASE_MODEL, policy.base_model, name),
        *_language_faults(policy.languages),
        *_number_faults(policy),
        *_list_faults(policy),
        *_instruction_faults(policy.label_instruction),
    ]
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise InvalidArgument(
            f"{name or 'the curation policy'} has {count}: "
            + "; ".join(f"{fault.field} {fault.description}" for fault in faults),
            reason="BAD_CURATION_POLICY",
            metadata={"name": name},
            violations=[FieldViolation(f"curation_policy.{f.field}", f.description) for f in faults],
        )


def check_cancellable(name: str, state: str, finished: bool) -> None:
    """Nothing, if the curation's job is not over yet.

    Raises:
        IllegalTransition: it ended.
    """
    if finished:
        raise IllegalTransition(
            f"{name} is {state} and cannot be cancelled any more", metadata={"name": name, "state": state}
        )


def curation_not_found(name: str) -> NotFound:
    """No curation has this name."""
    return NotFound(
        f"{name} does not exist; list the curations of its project to see which do",
        reason="CURATION_NOT_FOUND",
        metadata={"name": name},
    )


def snapshot_not_found(name: str, dataset: str) -> NotFound:
    """Curation has not heard of this snapshot, or of any of this dataset."""
    what = name or f"a snapshot of {dataset}"
    return NotFound(
        f"curation has not heard of {what}; publish data, or ask ingestion for a snapshot, and repeat",
        reason="SNAPSHOT_NOT_FOUND",
        metadata={"name": name, "dataset": dataset},
    )


def _name_faults(field: str, form: NamePattern, name: str, owner: str) -> list[FieldViolation]:
    if not form.matches(name):
        return [FieldViolation(field, f"must have the form {form.template}, not {name!r}")]
    if POLICY.matches(owner) and project_of(name) != project_of(owner):
        return [FieldViolation(field, f"must be in the policy's project, {project_of(owner)!r}")]
    return []


def _language_faults(languages: tuple[str, ...]) -> list[FieldViolation]:
    return [
        FieldViolation(
            f"languages[{number}]", f"{code!r} is no ISO 639-1 code that can be recognised, such as en or de"
        )
        for number, code in enumerate(languages)
        if code not in LANGUAGE_CODES
    ]


def _number_faults(policy: Policy) -> list[FieldViolation]:
    faults: list[FieldViolation] = []
    for field, bound in (("min_characters", policy.min_characters), ("max_tokens", policy.max_tokens)):
        if bound < 0:
            faults.append(FieldViolation(f"length.{field}", f"must not be negative, but is {bound}"))
    threshold = policy.near_duplicate_threshold
    if not 0 < threshold <= 1:
        description = f"must be above 0 and at most 1, but is {threshold}"
        faults.append(FieldViolation("near_duplicate_threshold", description))
    for field, share in (("validation", policy.validation_share), ("test", policy.test_share)):
        if not 0 <= share <= MAX_SHARE:
            faults.append(FieldViolation(f"split.{field}", f"must be from 0 to {MAX_SHARE}, but is {share}"))
    if not 0 <= policy.least_share <= 1:
        faults.append(FieldViolation("least_share", f"must be from 0 to 1, but is {policy.least_share}"))
    return faults


def _list_faults(policy: Policy) -> list[FieldViolation]:
    faults = [
        FieldViolation(
            f"skipped_steps[{number}]", f"{name!r} is no step that may be left out; {', '.join(OPTIONAL)} may"
        )
        for number, name in enumerate(policy.skipped_steps)
        if name not in OPTIONAL
    ]
    for name in ("evaluation_texts", "real_questions"):
        if sum(map(len, getattr(policy, name))) > MAX_EVALUATION_CHARACTERS:
            limit = f"must have at most {MAX_EVALUATION_CHARACTERS:,} characters together"
            faults.append(FieldViolation(name, limit))
    return faults


def _instruction_faults(instruction: str) -> list[FieldViolation]:
    faults: list[FieldViolation] = []
    if "{text}" not in instruction:
        faults.append(
            FieldViolation("label_instruction", "must contain {text}, where the record's text goes")
        )
    if len(instruction) > MAX_INSTRUCTION_CHARACTERS:
        limit = f"must have at most {MAX_INSTRUCTION_CHARACTERS:,} characters"
        faults.append(FieldViolation("label_instruction", limit))
    return faults
