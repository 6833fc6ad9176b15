"""Endpoints and revisions: their names, what is ordered of them, and the legal moves of a revision. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform.errors import FieldViolation, IllegalTransition, InvalidArgument
from sartor_platform.names import pattern

from sartor_deployment.loop import DriftSpec, LoopSpec
from sartor_deployment.rollout import RolloutSpec

PROJECT = pattern("projects/{project}")
MODEL = pattern("projects/{project}/models/{model}")
MODEL_VERSION = pattern("projects/{project}/models/{model}/versions/{version}")
ENDPOINT = pattern("projects/{project}/endpoints/{endpoint}")
REVISION = pattern("projects/{project}/endpoints/{endpoint}/revisions/{revision}")

QUANTIZATIONS = ("F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""What can be built, largest first."""
AUTO = "AUTO"
"""All are built and measured; the smallest inside the allowed loss is taken."""


class WeightsForm(StrEnum):
    """How the weights of a LoRA version reach its engines."""

    MERGED = "MERGED"
    SHARED_BASE = "SHARED_BASE"
    AUTO = "AUTO"


class State(StrEnum):
    """The life of a revision."""

    BUILDING = "BUILDING"
    STARTING = "STARTING"
    CHECKING = "CHECKING"
    SHADOW = "SHADOW"
    CANARY = "CANARY"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    LIVE = "LIVE"
    SUPERSEDED = "SUPERSEDED"
    ROLLED_BACK = "ROLLED_BACK"
    REJECTED = "REJECTED"


MOVES: Mapping[State, tuple[State, ...]] = {
    State.BUILDING: (State.STARTING, State.REJECTED),
    State.STARTING: (State.CHECKING, State.LIVE, State.SUPERSEDED, State.REJECTED),
    State.CHECKING: (State.SHADOW, State.CANARY, State.AWAITING_APPROVAL, State.LIVE, State.REJECTED),
    State.SHADOW: (State.CANARY, State.AWAITING_APPROVAL, State.LIVE, State.REJECTED),
    State.CANARY: (State.AWAITING_APPROVAL, State.LIVE, State.REJECTED),
    State.AWAITING_APPROVAL: (State.CANARY, State.LIVE, State.REJECTED),
    State.LIVE: (State.SUPERSEDED, State.ROLLED_BACK),
    State.SUPERSEDED: (State.STARTING,),
    State.ROLLED_BACK: (),
    State.REJECTED: (),
}
ENGINE_WANTED = (
    State.STARTING, State.CHECKING, State.SHADOW, State.CANARY, State.AWAITING_APPROVAL, State.LIVE,
)  # fmt: skip
"""The states in which agents keep engines of the revision; also while it is warm (`Revision.warm_until`)."""

IN_ROLLOUT = (State.SHADOW, State.CANARY, State.AWAITING_APPROVAL)
"""The states of a revision whose checks passed and that is not live yet; an endpoint has one at most."""


@dataclass(frozen=True, slots=True)
class ParityBounds:
    """How close the served engine must be to the evaluated model."""

    loss_margin: float = 0.05
    top1_agreement: float = 0.97


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How engines run: `context_length` is of one request, `threads` 0 is the number of cores.

    Each agent runs `replicas` of them; at most `queue` requests wait for a slot at each gateway.
    """

    context_length: int = 2048
    slots: int = 4
    threads: int = 0
    replicas: int = 1
    queue: int = 256


@dataclass(frozen=True, slots=True)
class WatchingSpec:
    """What is kept of requests. `sample_share` of them with their text, masked."""

    sample_share: float = 0.0
    retention_seconds: float = 30 * 86400.0
    drift: DriftSpec = field(default_factory=DriftSpec)
    evaluate_every_seconds: float = 0.0
    """0: what is live is not evaluated again."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> WatchingSpec:
        """From an order; what is not there has its default."""
        return cls(**{**value, "drift": DriftSpec(**value.get("drift", {}))})


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """What a standing order says of an endpoint."""

    model: str
    quantization: str = "Q8_0"
    parity: ParityBounds = field(default_factory=ParityBounds)
    engine: EngineSettings = field(default_factory=EngineSettings)
    rollout: RolloutSpec = field(default_factory=RolloutSpec)
    watching: WatchingSpec = field(default_factory=WatchingSpec)
    allowed_loss: float = 0.02
    loop: LoopSpec = field(default_factory=LoopSpec)
    weights_form: WeightsForm = WeightsForm.MERGED

    def to_json(self) -> dict[str, Any]:
        """As the order keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EndpointSpec:
        """From an order."""
        return cls(
            value["model"],
            value["quantization"],
            ParityBounds(**value["parity"]),
            EngineSettings(**value["engine"]),
            RolloutSpec.from_json(value.get("rollout", {})),
            WatchingSpec.from_json(value.get("watching", {})),
            value.get("allowed_loss", 0.02),
            LoopSpec.from_json(value.get("loop", {})),
            WeightsForm(value.get("weights_form", "MERGED")),
        )


def check_spec(name: str, spec: EndpointSpec) -> None:
    """Every fault of an endpoint's specification at once.

    Raises:
        InvalidArgument: BAD_RESOURCE_NAME, or BAD_ENDPOINT with one violation for each fault.
    """
    project = ENDPOINT.parse(name, field="endpoint.name")["project"]
    faults: list[FieldViolation] = []
    if not MODEL.matches(spec.model):
        faults.append(FieldViolation("endpoint.model", f"must have the form {MODEL.template}"))
    elif MODEL.parse(spec.model)["project"] != project:
        faults.append(FieldViolation("endpoint.model", f"must be of the endpoint's own project, {project}"))
    if spec.quantization not in (*QUANTIZATIONS, AUTO):
        known = ", ".join((*QUANTIZATIONS, AUTO))
        faults.append(FieldViolation("endpoint.quantization", f"must be one of {known}"))
    limits: tuple[tuple[str, float, float, float], ...] = (
        ("parity.loss_margin", spec.parity.loss_margin, 1e-6, 10.0),
        ("parity.top1_agreement", spec.parity.top1_agreement, 1e-6, 1.0),
        ("engine.context_length", spec.engine.context_length, 64, 1_000_000),
        ("engine.slots", spec.engine.slots, 1, 256),
        ("engine.threads", spec.engine.threads, 0, 1024),
        ("engine.replicas", spec.engine.replicas, 1, 64),
        ("engine.queue", spec.engine.queue, 1, 100_000),
        ("watching.sample_share", spec.watching.sample_share, 0, 1),
        ("watching.retention", spec.watching.retention_seconds, 1, 10 * 365 * 86400),
        ("watching.evaluate_every", spec.watching.evaluate_every_seconds, 0, 365 * 86400),
        ("allowed_loss", spec.allowed_loss, 1e-6, 10),
    )
    for path, value, least, most in limits:
        if not least <= value <= most:
            faults.append(
                FieldViolation(f"endpoint.{path}", f"must be between {least:g} and {most:g}, not {value:g}")
            )
    watching = spec.watching
    faults += spec.rollout.faults()
    faults += watching.drift.faults(watching.sample_share)
    looks = bool(watching.drift.window or watching.evaluate_every_seconds)
    faults += spec.loop.faults(project, looks, watching.sample_share)
    if faults:
        lines = "; ".join(f"{fault.field} {fault.description}" for fault in faults)
        raise InvalidArgument(f"{name} cannot work: {lines}", reason="BAD_ENDPOINT", violations=faults)


@dataclass(frozen=True, slots=True)
class Parity:
    """What the parity check measured. Losses in nats a token; 0 bytes a second are not known."""

    passed: bool
    reference_loss: float
    served_loss: float
    top1_agreement: float
    tokens: int
    items: int
    tokens_per_second: float = 0.0
    memory_bytes_per_second: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As the revision's row keeps it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Revision:
    """One model version on one endpoint. Pins the order's revision under which it was made."""

    name: str
    endpoint: str
    project: str
    number: int
    model_version: str
    state: State
    order_revision: int
    spec: EndpointSpec
    by_hand: bool
    references: ObjectReference
    weights: ObjectReference | None
    parity: Parity | None
    error_reason: str
    error_message: str
    run: str
    generation: int
    created_by: str
    create_time: datetime
    live_time: datetime | None
    canary_step: int = 0
    canary_weight: int = 0
    step_time: datetime | None = None
    approved_by: str = ""
    warm_until: datetime | None = None
    """Until then its engines are kept though it answers nobody, for a rollback within a moment."""
    variants: tuple[Mapping[str, Any], ...] = ()
    base_weights: ObjectReference | None = None
    """The base that `weights`, an adapter, is added to; None where they are all there is."""

    @property
    def proven(self) -> bool:
        """Whether it passed its parity check once: a rollback need not repeat it."""
        return self.parity is not None and self.parity.passed

    def check_move(self, to: State) -> None:
        """Whether its state allows this move.

        Raises:
            IllegalTransition: with both states.
        """
        if to not in MOVES[self.state]:
            raise IllegalTransition(
                f"{self.name} is {self.state} and cannot become {to}",
                metadata={"name": self.name, "from": self.state, "to": to},
            )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where users reach a model, as it stands now."""

    name: str
    live_revision: str
    previous_revision: str
    rollback_to: str
    """The revision whose engine is being started for a rollback, or ""."""
    next_number: int


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """What deployment knows of a model version, from events: any part may still be on its way."""

    name: str
    manifest: ObjectReference | None
    base_model_manifest: ObjectReference | None
    references: ObjectReference | None
    run: str
    generation: int
    curation: str = ""
    """What it was trained on."""
