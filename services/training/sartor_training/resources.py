"""The resources of training, their names and what makes them valid. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform.errors import FieldViolation, InvalidArgument, NotFound
from sartor_platform.names import NamePattern, pattern

from sartor_training.recipe import BadRecipe, Recipe
from sartor_training.recipe_faults import LATEST, LIVE

PROJECT = pattern("projects/{project}")
BASE_MODEL = pattern("projects/{project}/baseModels/{base_model}")
TRAINING_PLAN = pattern("projects/{project}/trainingPlans/{plan}")
TRAINING_JOB = pattern("projects/{project}/trainingJobs/{training_job}")
MODEL = pattern("projects/{project}/models/{model}")
MODEL_VERSION = pattern("projects/{project}/models/{model}/versions/{version}")
CURATION = pattern("projects/{project}/curations/{curation}")
CURATION_POLICY = pattern("projects/{project}/curationPolicies/{policy}")

TRAINING_QUOTE = pattern("projects/{project}/trainingQuotes/{quote}")

PREPARE = "base-model"
TRAIN = "training"
QUOTE = "training-quote"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyBaseModel:
    """A base model that was prepared, from revision `revision` of its order."""

    name: str
    revision: int
    digest: str
    manifest: ObjectReference
    architecture: str
    parameter_count: int
    context_length: int
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSpec:
    """What a training plan's standing order says. The recipe is complete."""

    curation_policy: str
    model: str
    base_model: str
    recipe: Mapping[str, Any]
    trigger: str = "curation"
    """"curation", or "loop": after its first version it trains only when an endpoint's loop asks."""

    def to_json(self) -> dict[str, Any]:
        """As it is kept in a revision."""
        return {
            "curation_policy": self.curation_policy,
            "model": self.model,
            "base_model": self.base_model,
            "recipe": dict(self.recipe),
            # Only where it says something: plans of before keep their revision.
            **({"trigger": self.trigger} if self.trigger != "curation" else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """What training knows of a curation that succeeded. `standing_order` is empty where a client asked for
    it."""

    name: str
    policy: str
    standing_order: str
    snapshot: str
    manifest: ObjectReference
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One training on one curation. `version` is the number its model version will have."""

    name: str
    plan: str
    plan_revision: int
    curation: str
    model: str
    base_model: str
    recipe: Mapping[str, Any]
    version: int
    model_version: str
    run: str
    generation: int
    create_time: datetime
    created_by: str

    @property
    def version_name(self) -> str:
        return f"{self.model}/versions/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedQuote:
    """What a dry run asks about. The recipe is complete."""

    name: str
    project: str
    curation: str
    base_model: str
    recipe: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A line of models for one purpose."""

    name: str
    latest_version: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """One rule of a gate: whether it passed, and its numbers in words."""

    passed: bool
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate said of a model version."""

    gate: str
    evaluation: str
    passed: bool
    rules: tuple[RuleOutcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One trained model."""

    name: str
    training_job: str
    manifest: ObjectReference
    model_card: ObjectReference
    base_model: str
    base_model_digest: str
    curation: str
    metrics: Mapping[str, float]
    run: str
    create_time: datetime


def project_of(name: str) -> str:
    """The project's id in any resource name."""
    return name.split("/")[1]


def checked_recipe(values: Mapping[str, Any], field: str) -> Recipe:
    """The complete recipe of what was given.

    Raises:
        InvalidArgument: BAD_RECIPE, with every fault at its path.
    """
    try:
        return Recipe.from_mapping(values)
    except BadRecipe as bad:
        raise InvalidArgument(
            f"the recipe cannot be followed: {bad}",
            reason="BAD_RECIPE",
            violations=[FieldViolation(f"{field}.{fault.field}", fault.description) for fault in bad.faults],
        ) from bad


def checked_names(project: str, names: Sequence[tuple[str, NamePattern, str]], reason: str) -> None:
    """Every (field, pattern, name) must have its form and belong to the project.

    Raises:
        InvalidArgument: with all that are wrong.
    """
    faults = []
    for field, form, name in names:
        if not form.matches(name):
            faults.append(FieldViolation(field, f"must have the form {form.template}, not {name!r}"))
        elif project_of(name) != project:
            faults.append(FieldViolation(field, f"must be of the project {project}, not {name!r}"))
    if faults:
        told = "; ".join(f"{fault.field} {fault.description}" for fault in faults)
        raise InvalidArgument(told, reason=reason, violations=faults)


def names_in_recipe(recipe: Mapping[str, Any], field: str) -> list[tuple[str, NamePattern, str]]:
    """The resources that a recipe refers to, for `checked_names`."""
    found = []
    if recipe["start_from"] not in ("", LATEST, LIVE):
        found.append((f"{field}.start_from", MODEL_VERSION, str(recipe["start_from"])))
    if recipe["replay_curation"]:
        found.append((f"{field}.replay_curation", CURATION, str(recipe["replay_curation"])))
    return found


def base_model_unknown(name: str, known: Sequence[str]) -> NotFound:
    """No such base model was registered; says which were."""
    listed = ", ".join(known) if known else "none yet"
    return NotFound(
        f"{name} is no base model of this project (known: {listed}); apply it first",
        reason="BASE_MODEL_NOT_FOUND",
        metadata={"name": name, "known": ",".join(known)},
    )


def not_found(kind: str, name: str) -> NotFound:
    """Nothing of this kind has this name."""
    reason = f"{kind.replace(' ', '_').upper()}_NOT_FOUND"
    return NotFound(f"there is no {kind} {name}", reason=reason, metadata={"name": name})


def curation_unknown(name: str) -> NotFound:
    """Training has not heard of this curation's success."""
    return NotFound(
        f"{name} is not known here: a curation can be trained on once it succeeded",
        reason="CURATION_NOT_FOUND",
        metadata={"name": name},
    )
