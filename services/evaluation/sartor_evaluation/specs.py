"""What clients ask for: candidates, items, evaluations, gates and how prompts are searched. Pure values that
are kept as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sartor_datasets.manifests import ObjectReference

from sartor_evaluation.gates import Rule, rule_from_json, rule_to_json


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """What a gate's standing order says. `suites` are asked beside the test split and the general suite."""

    model: str
    general_suite: str
    max_items: int
    few_shot: FewShotSpec
    rules: tuple[Rule, ...]
    suites: tuple[str, ...] = ()
    correction: str = "none"

    def to_json(self) -> dict[str, Any]:
        """As it is kept in a revision."""
        return {
            "model": self.model,
            "general_suite": self.general_suite,
            "max_items": self.max_items,
            "few_shot": self.few_shot.to_json(),
            "rules": [rule_to_json(rule) for rule in self.rules],
            "suites": list(self.suites),
            "correction": self.correction,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> GateSpec:
        return cls(
            model=value["model"],
            general_suite=value["general_suite"],
            max_items=value["max_items"],
            few_shot=FewShotSpec.from_json(value["few_shot"]),
            rules=tuple(rule_from_json(rule) for rule in value["rules"]),
            suites=tuple(value.get("suites", ())),
            correction=value.get("correction", "none"),
        )


@dataclass(frozen=True, slots=True)
class ModelService:
    """A model behind an OpenAI-compatible URL. `key` names a secret of the service's settings, never is one.

    Zeros take their defaults.
    """

    url: str
    model: str
    key: str = ""
    timeout_seconds: float = 0.0
    retries: int = 0
    concurrency: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who answers. Exactly one is set: `model` (a base model or a model version), `endpoint` (a deployed
    one),
    `service`, `answers` (item id → text) or `answers_object`. `shots` may be SEARCH.
    """

    id: str
    model: str = ""
    shots: int = 0
    endpoint: str = ""
    service: ModelService | None = None
    answers: Mapping[str, str] = field(default_factory=dict)
    answers_object: ObjectReference | None = None
    prompt: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is set."""
        given = ("model", "endpoint", "service", "answers", "answers_object")
        return tuple(name for name in given if getattr(self, name))

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "model": self.model,
            "shots": self.shots,
            "endpoint": self.endpoint,
            "service": None if self.service is None else asdict(self.service),
            "answers": dict(self.answers),
            "answers_object": None if self.answers_object is None else object_json(self.answers_object),
            "prompt": self.prompt,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Candidate:
        service, found = value.get("service"), value.get("answers_object")
        return cls(
            id=value["id"],
            model=value["model"],
            shots=value["shots"],
            endpoint=value.get("endpoint", ""),
            service=None if service is None else ModelService(**service),
            answers=value.get("answers", {}),
            answers_object=None if found is None else ObjectReference(**found),
            prompt=value.get("prompt", ""),
        )


@dataclass(frozen=True, slots=True)
class ItemSource:
    """Where the items come from: exactly one is set."""

    curation: str = ""
    inline: tuple[Mapping[str, Any], ...] = ()
    object: ObjectReference | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "curation": self.curation,
            "inline_items": [dict(item) for item in self.inline],
            "items_object": None if self.object is None else object_json(self.object),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ItemSource:
        found = value["items_object"]
        return cls(
            curation=value["curation"],
            inline=tuple(value["inline_items"]),
            object=None if found is None else ObjectReference(**found),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    """What is asked of whom. `metrics` chooses what is shown of the items' own metrics; empty shows all.

    `live_at`: the endpoint where the version is live, if it is judged again.
    """

    candidates: tuple[Candidate, ...]
    items: ItemSource
    general_suite: str
    max_items: int
    few_shot: FewShotSpec
    suites: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    cost_clients: tuple[int, ...] = ()
    live_at: str = ""

    @property
    def crossed(self) -> dict[str, Candidate]:
        """All who answer, by id: the candidates, and each model with each of the prompts too."""
        found = {one.id: one for one in self.candidates}
        for one in self.candidates:
            for prompt in self.prompts if one.model else ():
                crossed = f"{one.id}+{prompt.rpartition('/')[2]}"
                found.setdefault(crossed, replace(one, id=crossed, shots=0, prompt=prompt))
        return found

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the evaluation."""
        return {
            "candidates": [candidate.to_json() for candidate in self.candidates],
            **self.items.to_json(),
            "general_suite": self.general_suite,
            "max_items": self.max_items,
            "few_shot": self.few_shot.to_json(),
            "suites": list(self.suites),
            "metrics": list(self.metrics),
            "prompts": list(self.prompts),
            "cost_clients": list(self.cost_clients),
            "live_at": self.live_at,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EvaluationSpec:
        return cls(
            candidates=tuple(map(Candidate.from_json, value["candidates"])),
            items=ItemSource.from_json(value),
            general_suite=value["general_suite"],
            max_items=value["max_items"],
            few_shot=FewShotSpec.from_json(value["few_shot"]),
            suites=tuple(value.get("suites", ())),
            metrics=tuple(value.get("metrics", ())),
            prompts=tuple(value.get("prompts", ())),
            cost_clients=tuple(value.get("cost_clients", ())),
            live_at=value.get("live_at", ""),
        )


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """How questions are put to a model: a standing order. `examples` are (question, answer)."""

    system: str = ""
    format: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    shots: int = 0
    choice: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it is kept in a revision."""
        return {**asdict(self), "examples": [list(pair) for pair in self.examples]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PromptSpec:
        examples = tuple((one[0], one[1]) for one in value["examples"])
        return cls(value["system"], value["format"], examples, value["shots"], value["choice"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteSpec:
    """A suite's standing order: items with how they are scored.

    `task` is a task file of lm-evaluation-harness and `data` its files by the names the task file gives them.
    """

    items: ItemSource = field(default_factory=ItemSource)
    metrics: tuple[str, ...] = ()
    pattern: str = ""
    schema: str = ""
    max_items: int = 0
    task: str = ""
    data: Mapping[str, ObjectReference] = field(default_factory=dict)
    builtin: str = ""
    variations: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is kept in a revision."""
        return {
            **self.items.to_json(),
            "metrics": list(self.metrics),
            "pattern": self.pattern,
            "schema": self.schema,
            "max_items": self.max_items,
            "task": self.task,
            "data": {name: object_json(reference) for name, reference in self.data.items()},
            "builtin": self.builtin,
            "variations": list(self.variations),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SuiteSpec:
        return cls(
            items=ItemSource.from_json(value),
            metrics=tuple(value["metrics"]),
            pattern=value["pattern"],
            schema=value["schema"],
            max_items=value["max_items"],
            task=value["task"],
            data={name: ObjectReference(**one) for name, one in value["data"].items()},
            builtin=value.get("builtin", ""),
            variations=tuple(value.get("variations", ())),
        )


def object_json(reference: ObjectReference) -> dict[str, Any]:
    """A reference as it is kept in JSON."""
    return {"uri": reference.uri, "sha256": reference.sha256, "size_bytes": reference.size_bytes}
