"""Proto ↔ domain for the gRPC service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sartor.evaluation.v1 import evaluation_pb2, gate_pb2
from sartor.evaluation.v1 import evaluation_service_pb2 as api
from sartor_datasets.manifests import ObjectReference
from sartor_datasets.strict_json import ManifestInvalid
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.jobs import Job, job_status
from sartor_platform.orders import Order, order_revision

from sartor_evaluation.announcements import (
    estimate_message,
    reference_message,
    rule_message,
    verdict_message,
)
from sartor_evaluation.gates import Baseline, Bound, Rule
from sartor_evaluation.items import HELD_OUT
from sartor_evaluation.names import BASE_MODEL
from sartor_evaluation.resources import Evaluation
from sartor_evaluation.specs import (
    Candidate,
    EvaluationSpec,
    FewShotSpec,
    GateSpec,
    ItemSource,
    ModelService,
)

_ITEM_FIELDS = ("id", "system", "prompt", "reference", "label", "language", "cluster", "pattern", "schema")


def gate_spec(gate: gate_pb2.Gate) -> GateSpec:
    """The specification in a Gate; what is left empty takes its default."""
    return GateSpec(
        model=gate.model,
        general_suite=gate.general_suite,
        max_items=gate.max_items,
        few_shot=_few_shot(gate.few_shot),
        rules=tuple(_rule(rule) for rule in gate.rules),
        suites=tuple(gate.suites),
        correction="holm" if gate.correction == gate_pb2.CORRECTION_HOLM else "none",
    )


def gate_message(name: str, spec: GateSpec, order: Order | None = None) -> gate_pb2.Gate:
    """A Gate; without an order it was only validated."""
    message = gate_pb2.Gate(
        name=name,
        model=spec.model,
        general_suite=spec.general_suite,
        max_items=spec.max_items,
        few_shot=_few_shot_message(spec.few_shot),
        rules=[rule_message(rule) for rule in spec.rules],
        suites=spec.suites,
        correction=gate_pb2.Correction.Value(f"CORRECTION_{spec.correction.upper()}"),
    )
    if order is not None:
        message.order.CopyFrom(order_revision(order))
    return message


def gate_of_order(order: Order) -> gate_pb2.Gate:
    """The Gate of a standing order."""
    return gate_message(order.name, GateSpec.from_json(order.spec), order)


def evaluation_spec(evaluation: evaluation_pb2.Evaluation) -> EvaluationSpec:
    """The specification in an Evaluation.

    Raises:
        InvalidArgument: BAD_OBJECT_REFERENCE.
    """
    return EvaluationSpec(
        candidates=tuple(candidate_of(candidate) for candidate in evaluation.candidates),
        items=_item_source(evaluation),
        general_suite=evaluation.general_suite,
        max_items=evaluation.max_items,
        few_shot=_few_shot(evaluation.few_shot),
        suites=tuple(evaluation.suites),
        metrics=tuple(evaluation.metrics),
        prompts=tuple(evaluation.prompts),
        cost_clients=tuple(evaluation.cost_clients),
    )


def deadline_of(evaluation: evaluation_pb2.Evaluation) -> datetime | None:
    """When it must be done.

    Raises:
        InvalidArgument: BAD_EVALUATION, that time is over.
    """
    if not evaluation.HasField("deadline"):
        return None
    deadline = evaluation.deadline.ToDatetime(tzinfo=UTC)
    if deadline <= datetime.now(UTC):
        text = "is in the past: give a later time, or leave it out"
        raise InvalidArgument(
            f"deadline {text}", reason="BAD_EVALUATION", violations=[FieldViolation("deadline", text)]
        )
    return deadline


def evaluation_message(
    name: str, spec: EvaluationSpec, evaluation: Evaluation | None = None, job: Job | None = None
) -> evaluation_pb2.Evaluation:
    """An Evaluation; without a stored one it was only validated."""
    message = evaluation_pb2.Evaluation(
        name=name,
        candidates=[_candidate_message(candidate) for candidate in spec.candidates],
        general_suite=spec.general_suite,
        max_items=spec.max_items,
        few_shot=_few_shot_message(spec.few_shot),
        suites=spec.suites,
        metrics=spec.metrics,
        prompts=spec.prompts,
        cost_clients=spec.cost_clients,
    )
    if spec.items.curation:
        message.curation = spec.items.curation
    elif spec.items.object is not None:
        message.items_object.CopyFrom(reference_message(spec.items.object))
    elif spec.items.inline:
        message.inline_items.items.extend(evaluation_pb2.Item(**item) for item in spec.items.inline)
    if evaluation is not None:
        _fill(message, evaluation, job)
    return message


def stored_message(evaluation: Evaluation, job: Job | None) -> evaluation_pb2.Evaluation:
    """An Evaluation as it is stored, with the state of its job."""
    return evaluation_message(evaluation.name, evaluation.spec, evaluation, job)


def item_result_message(document: Mapping[str, Any]) -> evaluation_pb2.ItemResult:
    """An ItemResult from a line of results.write_json_lines."""
    return evaluation_pb2.ItemResult(**{key: document[key] for key in document if key != "cluster"})


def _fill(message: evaluation_pb2.Evaluation, evaluation: Evaluation, job: Job | None) -> None:
    message.gate = evaluation.gate
    message.gate_revision = evaluation.gate_revision
    message.run = evaluation.run
    message.generation = evaluation.generation
    message.created_by = evaluation.created_by
    message.create_time.FromDatetime(evaluation.create_time)
    message.job.CopyFrom(job_status(job))
    for field, reference in evaluation.objects.items():
        getattr(message, field).CopyFrom(reference_message(reference))
    findings = evaluation.findings
    message.notes.extend(findings.get("notes", ()))
    if job is not None and job.deadline is not None:
        message.deadline.FromDatetime(job.deadline)
    for line in findings.get("scores", ()):
        estimate = estimate_message(line["estimate"])
        named = {name: line[name] for name in ("suite", "metric", "candidate")}
        message.scores.append(evaluation_pb2.Score(**named, estimate=estimate, failed=line.get("failed", 0)))
    for line in findings.get("comparisons", ()):
        message.comparisons.append(comparison_message(line))
    if findings.get("verdict") is not None:
        message.verdict.CopyFrom(verdict_message(findings["verdict"]))


def comparison_message(line: Mapping[str, Any]) -> evaluation_pb2.Comparison:
    """A paired difference from report.comparison_json."""
    named = {name: line[name] for name in ("suite", "metric", "candidate", "baseline", "verdict")}
    return evaluation_pb2.Comparison(
        **named,
        difference=estimate_message(line["difference"]),
        p_value=line.get("p_value") or 0.0,
        adjusted_p_value=line.get("adjusted_p") or 0.0,
        minimum_detectable_effect=line.get("minimum_detectable_effect") or 0.0,
    )


def leaderboard_entry(
    model: str, candidate: str, evaluation: Evaluation, estimate: Mapping[str, Any]
) -> api.LeaderboardEntry:
    """A model's place."""
    entry = api.LeaderboardEntry(
        model=model, candidate=candidate, evaluation=evaluation.name, estimate=estimate_message(estimate)
    )
    entry.create_time.FromDatetime(evaluation.create_time)
    return entry


def candidate_of(candidate: evaluation_pb2.Candidate) -> Candidate:
    """A candidate as a client names it.

    Raises:
        InvalidArgument: BAD_OBJECT_REFERENCE.
    """
    which = candidate.WhichOneof("model")
    found = candidate.service
    return Candidate(
        id=candidate.id,
        model=candidate.base_model or candidate.model_version,
        shots=candidate.shots,
        endpoint=candidate.endpoint,
        service=ModelService(
            found.url, found.model, found.key, found.timeout_seconds, found.retries, found.concurrency
        )
        if which == "service"
        else None,
        answers={answer.item_id: answer.text for answer in candidate.answers.answers},
        answers_object=object_reference(candidate.answers_object, "answers_object")
        if which == "answers_object"
        else None,
        prompt=candidate.prompt,
    )


def _candidate_message(candidate: Candidate) -> evaluation_pb2.Candidate:
    message = evaluation_pb2.Candidate(id=candidate.id, shots=candidate.shots, prompt=candidate.prompt)
    if BASE_MODEL.matches(candidate.model):
        message.base_model = candidate.model
    elif candidate.model:
        message.model_version = candidate.model
    elif candidate.endpoint:
        message.endpoint = candidate.endpoint
    elif candidate.service is not None:
        message.service.CopyFrom(evaluation_pb2.ModelService(**asdict(candidate.service)))
    elif candidate.answers_object is not None:
        message.answers_object.CopyFrom(reference_message(candidate.answers_object))
    else:
        pairs = candidate.answers.items()
        message.answers.answers.extend(evaluation_pb2.Answer(item_id=name, text=text) for name, text in pairs)
    return message


def object_reference(found: Any, field: str) -> ObjectReference:
    """An object's reference.

    Raises:
        InvalidArgument: BAD_OBJECT_REFERENCE.
    """
    try:
        return ObjectReference(found.uri, found.sha256, found.size_bytes)
    except ManifestInvalid as error:
        violation = FieldViolation(f"{field}.{error.path}", error.problem)
        raise InvalidArgument(
            f"{field} is not usable: {error}", reason="BAD_OBJECT_REFERENCE", violations=[violation]
        ) from error


def item_of(item: evaluation_pb2.Item) -> dict[str, Any]:
    """An item's fields, as they are kept; what is empty is left out, but for the first five."""
    found: dict[str, Any] = {name: getattr(item, name) for name in _ITEM_FIELDS}
    found |= {"choices": list(item.choices), "slices": dict(item.slices)}
    return {name: value for name, value in found.items() if value or name in _ITEM_FIELDS[:5]}


def _item_source(evaluation: evaluation_pb2.Evaluation) -> ItemSource:
    which = evaluation.WhichOneof("items")
    if which == "inline_items":
        return ItemSource(inline=tuple(map(item_of, evaluation.inline_items.items)))
    if which == "items_object":
        return ItemSource(object=object_reference(evaluation.items_object, "items_object"))
    return ItemSource(curation=evaluation.curation)


def _few_shot(search: gate_pb2.FewShotSearch) -> FewShotSpec:
    return FewShotSpec(tuple(search.shots), tuple(search.choices), search.items)


def _few_shot_message(spec: FewShotSpec) -> gate_pb2.FewShotSearch:
    return gate_pb2.FewShotSearch(shots=spec.shots, choices=spec.choices, items=spec.items)


def _rule(rule: gate_pb2.Rule) -> Rule:
    compared_to = gate_pb2.Baseline.Name(rule.compared_to).removeprefix("BASELINE_").lower()
    bound = gate_pb2.Bound.Name(rule.bound).removeprefix("BOUND_").lower()
    return Rule(
        metric=rule.metric,
        suite=rule.suite or HELD_OUT,
        compared_to=Baseline("nothing" if compared_to == "unspecified" else compared_to),
        at_least=rule.at_least if rule.HasField("at_least") else None,
        at_most=rule.at_most if rule.HasField("at_most") else None,
        bound=None if bound == "unspecified" else Bound(bound),
        slice=rule.slice,
        not_worse_by=rule.not_worse_by if rule.HasField("not_worse_by") else None,
    )
