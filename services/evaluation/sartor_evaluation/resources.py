"""What evaluation keeps and knows: evaluations with their pinned inputs, and of other services' resources
what it has heard. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sartor_datasets.manifests import ObjectReference

from sartor_evaluation.specs import EvaluationSpec, object_json


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """The manifests of a model: of its base, and of the version if it is one."""

    base: ObjectReference
    version: ObjectReference | None = None


@dataclass(frozen=True, slots=True)
class PinnedSuite:
    """A suite's revision, and the curation's manifest where its items are a test split."""

    name: str
    revision: int
    curated: ObjectReference | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the evaluation."""
        curated = None if self.curated is None else object_json(self.curated)
        return {"name": self.name, "revision": self.revision, "curated": curated}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PinnedSuite:
        found = value["curated"]
        curated = None if found is None else ObjectReference(**found)
        return cls(value["name"], value["revision"], curated)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an evaluation reads, pinned when it was made: models by name, and the curation for items and
    examples.
    """

    models: Mapping[str, PinnedModel]
    curation: str = ""
    curated: ObjectReference | None = None
    suites: tuple[PinnedSuite, ...] = ()
    prompts: Mapping[str, int] = field(default_factory=dict)
    """Revisions by name."""

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the evaluation."""
        models = {
            name: {"base": object_json(model.base), "version": model.version and object_json(model.version)}
            for name, model in self.models.items()
        }
        curated = None if self.curated is None else object_json(self.curated)
        suites = [suite.to_json() for suite in self.suites]
        return {
            "models": models,
            "curation": self.curation,
            "curated": curated,
            "suites": suites,
            "prompts": dict(self.prompts),
        }

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
        return cls(
            models,
            value["curation"],
            None if curated is None else ObjectReference(**curated),
            tuple(map(PinnedSuite.from_json, value.get("suites", ()))),
            value.get("prompts", {}),
        )


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
