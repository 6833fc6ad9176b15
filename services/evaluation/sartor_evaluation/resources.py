"""The resources of evaluation, their names and what makes them valid. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform.errors import FieldViolation, InvalidArgument, NotFound
from sartor_platform.names import pattern

from sartor_evaluation.gates import Rule, faults, rule_from_json, rule_to_json

PROJECT = pattern("projects/{project}")
GATE = pattern("projects/{project}/gates/{gate}")
EVALUATION = pattern("projects/{project}/evaluations/{evaluation}")
MODEL = pattern("projects/{project}/models/{model}")
MODEL_VERSION = pattern("projects/{project}/models/{model}/versions/{version}")
BASE_MODEL = pattern("projects/{project}/baseModels/{base_model}")
CURATION = pattern("projects/{project}/curations/{curation}")

JOB = "evaluation"
GENERAL_SUITES = ("", "builtin")
CHOICES = ("fixed", "diverse", "retrieved")
MOST_INLINE_ITEMS = 1_000
MOST_SHOTS = 32
MOST_CANDIDATES = 8
SEARCH = -1
"""As number of shots: search the best prompt on the validation split."""


@dataclass(frozen=True, slots=True)
class FewShotSpec:
    """How the best few-shot prompt is searched; what is empty takes its default."""

    shots: tuple[int, ...] = ()
    choices: tuple[str, ...] = ()
    items: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"shots": list(self.shots), "choices": list(self.choices), "items": self.items}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FewShotSpec:
        return cls(tuple(value["shots"]), tuple(value["choices"]), value["items"])

    def violations(self) -> list[FieldViolation]:
        found = []
        if any(not 1 <= shots <= MOST_SHOTS for shots in self.shots):
            found.append(FieldViolation("few_shot.shots", f"must be numbers from 1 to {MOST_SHOTS}"))
        if unknown := [choice for choice in self.choices if choice not in CHOICES]:
            text = f"knows no {', '.join(unknown)}; known are {', '.join(CHOICES)}"
            found.append(FieldViolation("few_shot.choices", text))
        if self.items < 0:
            found.append(FieldViolation("few_shot.items", "must not be negative"))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """What a gate's standing order says."""

    model: str
    general_suite: str
    max_items: int
    few_shot: FewShotSpec
    rules: tuple[Rule, ...]

    def to_json(self) -> dict[str, Any]:
        """As it is kept in a revision."""
        return {
            "model": self.model,
            "general_suite": self.general_suite,
            "max_items": self.max_items,
            "few_shot": self.few_shot.to_json(),
            "rules": [rule_to_json(rule) for rule in self.rules],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> GateSpec:
        return cls(
            model=value["model"],
            general_suite=value["general_suite"],
            max_items=value["max_items"],
            few_shot=FewShotSpec.from_json(value["few_shot"]),
            rules=tuple(rule_from_json(rule) for rule in value["rules"]),
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model with a prompt. `model` is the name of a base model or of a model version; `shots` may be
    SEARCH.
    """

    id: str
    model: str
    shots: int


@dataclass(frozen=True, slots=True)
class ItemSource:
    """Where the items come from: exactly one is set."""

    curation: str = ""
    inline: tuple[Mapping[str, str], ...] = ()
    object: ObjectReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    """What is asked of whom."""

    candidates: tuple[Candidate, ...]
    items: ItemSource
    general_suite: str
    max_items: int
    few_shot: FewShotSpec

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the evaluation."""
        source = self.items
        return {
            "candidates": [{"id": c.id, "model": c.model, "shots": c.shots} for c in self.candidates],
            "curation": source.curation,
            "inline_items": [dict(item) for item in source.inline],
            "items_object": None if source.object is None else object_json(source.object),
            "general_suite": self.general_suite,
            "max_items": self.max_items,
            "few_shot": self.few_shot.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EvaluationSpec:
        found = value["items_object"]
        return cls(
            candidates=tuple(Candidate(**candidate) for candidate in value["candidates"]),
            items=ItemSource(
                curation=value["curation"],
                inline=tuple(value["inline_items"]),
                object=None if found is None else ObjectReference(**found),
            ),
            general_suite=value["general_suite"],
            max_items=value["max_items"],
            few_shot=FewShotSpec.from_json(value["few_shot"]),
        )


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """The manifests of a model: of its base, and of the version if it is one."""

    base: ObjectReference
    version: ObjectReference | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an evaluation reads, pinned when it was made: models by name, and the curation for items and
    examples.
    """

    models: Mapping[str, PinnedModel]
    curation: str = ""
    curated: ObjectReference | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the evaluation."""
        models = {
            name: {"base": object_json(model.base), "version": model.version and object_json(model.version)}
            for name, model in self.models.items()
        }
        curated = None if self.curated is None else object_json(self.curated)
        return {"models": models, "curation": self.curation, "curated": curated}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Inputs:
        models = {
            name: PinnedModel(
                ObjectReference(**model["base"]),
                None if model["version"] is None else ObjectReference(**model["version"]),
            )
            for name, model in value["models"].items()
        }
        curated = value["curated"]
        return cls(models, value["curation"], None if curated is None else ObjectReference(**curated))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation. `findings` has scores, comparisons and verdict once it succeeded, `objects` its files
    by name.
    """

    name: str
    project: str
    gate: str
    gate_revision: int
    model_version: str
    spec: EvaluationSpec
    inputs: Inputs
    findings: Mapping[str, Any] = field(default_factory=dict)
    objects: Mapping[str, ObjectReference] = field(default_factory=dict)
    run: str
    generation: int
    create_time: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """What evaluation knows of a base model that is ready."""

    name: str
    digest: str
    manifest: ObjectReference


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """What evaluation knows of a model version."""

    name: str
    model: str
    manifest: ObjectReference
    base_model: str
    base_model_manifest: ObjectReference
    curation: str
    curated_manifest: ObjectReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """What evaluation knows of a curation that succeeded."""

    name: str
    snapshot: str
    manifest: ObjectReference


def object_json(reference: ObjectReference) -> dict[str, Any]:
    """A reference as it is kept in JSON."""
    return {"uri": reference.uri, "sha256": reference.sha256, "size_bytes": reference.size_bytes}


def project_of(name: str) -> str:
    """The project's id in a resource's name."""
    return name.split("/", 2)[1]


def check_gate(name: str, spec: GateSpec) -> None:
    """Raises InvalidArgument: BAD_GATE, with every fault."""
    project = GATE.parse(name)["project"]
    found = [FieldViolation(path, text) for path, text in _rule_faults(spec).items()]
    found += spec.few_shot.violations()
    found += _suite_violations(spec.general_suite, spec.max_items)
    if not MODEL.matches(spec.model):
        found.append(FieldViolation("model", f"must have the form {MODEL.template}"))
    elif project_of(spec.model) != project:
        found.append(FieldViolation("model", f"must be a model of projects/{project}"))
    _raise(found, f"the gate {name} is not usable", "BAD_GATE")


def check_evaluation(parent: str, spec: EvaluationSpec) -> None:
    """Raises InvalidArgument: BAD_EVALUATION, with every fault that shows without looking anything up."""
    project = PROJECT.parse(parent, field="parent")["project"]
    found = _candidate_violations(spec.candidates, project)
    found += spec.few_shot.violations()
    found += _suite_violations(spec.general_suite, spec.max_items)
    found += _item_violations(spec.items)
    if spec.items.curation and not CURATION.matches(spec.items.curation):
        found.append(FieldViolation("curation", f"must have the form {CURATION.template}"))
    if spec.items.curation and project_of(spec.items.curation) != project:
        found.append(FieldViolation("curation", f"must be a curation of {parent}"))
    _raise(found, "the evaluation cannot be made", "BAD_EVALUATION")


def _rule_faults(spec: GateSpec) -> Mapping[str, str]:
    return faults(spec.rules, general_suite=spec.general_suite)


def _suite_violations(general_suite: str, max_items: int) -> list[FieldViolation]:
    found = []
    if general_suite not in GENERAL_SUITES:
        found.append(
            FieldViolation("general_suite", f"is {general_suite!r}; known is builtin, or leave it empty")
        )
    if max_items < 0:
        found.append(FieldViolation("max_items", "must not be negative"))
    return found


def _candidate_violations(candidates: Sequence[Candidate], project: str) -> list[FieldViolation]:
    found = []
    if not 1 <= len(candidates) <= MOST_CANDIDATES:
        text = f"must name 1 to {MOST_CANDIDATES} models with their prompts"
        found.append(FieldViolation("candidates", text))
    if len({candidate.id for candidate in candidates}) != len(candidates):
        found.append(FieldViolation("candidates", "have an id twice; give each its own"))
    for index, candidate in enumerate(candidates):
        path = f"candidates[{index}]"
        if not candidate.id:
            found.append(FieldViolation(f"{path}.id", "is empty; give it a short name for the report"))
        if not BASE_MODEL.matches(candidate.model) and not MODEL_VERSION.matches(candidate.model):
            form = f"{BASE_MODEL.template} or {MODEL_VERSION.template}"
            found.append(
                FieldViolation(f"{path}.model", f"is {candidate.model!r}; must have the form {form}")
            )
        elif project_of(candidate.model) != project:
            found.append(FieldViolation(f"{path}.model", f"must be a model of projects/{project}"))
        if not SEARCH <= candidate.shots <= MOST_SHOTS:
            text = f"must be 0 to {MOST_SHOTS}, or {SEARCH} to search the best prompt"
            found.append(FieldViolation(f"{path}.shots", text))
    return found


def _item_violations(source: ItemSource) -> list[FieldViolation]:
    if source.curation or source.object is not None:
        return []
    if not source.inline:
        text = "the suite is empty: name a curation, or give inline_items or an items_object"
        return [FieldViolation("items", text)]
    found = []
    if len(source.inline) > MOST_INLINE_ITEMS:
        text = f"holds {len(source.inline)} items; give at most {MOST_INLINE_ITEMS}, or an items_object"
        found.append(FieldViolation("inline_items", text))
    for index, item in enumerate(source.inline[:MOST_INLINE_ITEMS]):
        path = f"inline_items.items[{index}]"
        if not item["prompt"]:
            found.append(FieldViolation(f"{path}.prompt", "is empty"))
        if not item["reference"] and not item["label"]:
            found.append(
                FieldViolation(f"{path}.reference", "is empty, and so is the label: set one of them")
            )
    given = [item["id"] for item in source.inline if item["id"]]
    if len(set(given)) != len(given):
        found.append(FieldViolation("inline_items", "have an id twice; give each its own, or none"))
    return found


def _raise(found: Sequence[FieldViolation], what: str, reason: str) -> None:
    if found:
        lines = "; ".join(f"{violation.field} {violation.description}" for violation in found)
        raise InvalidArgument(f"{what}: {lines}", reason=reason, violations=list(found))


def not_found(kind: str, name: str, known: Sequence[str]) -> NotFound:
    """Says what does not exist and which do."""
    others = f"known are {', '.join(known)}" if known else "none is known yet"
    reason = f"{kind.upper().replace(' ', '_')}_NOT_FOUND"
    return NotFound(f"there is no {kind} {name}; {others}", reason=reason, metadata={"name": name})
