"""Domain → proto for what is told and shown: events, and the parts that they share with the service's
answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sartor.common.v1 import object_reference_pb2
from sartor.evaluation.v1 import evaluation_events_pb2, evaluation_pb2, gate_pb2
from sartor_datasets.manifests import ObjectReference

from sartor_evaluation.gates import Rule, rule_from_json
from sartor_evaluation.names import MODEL, MODEL_VERSION
from sartor_evaluation.resources import Evaluation


def evaluation_succeeded(
    evaluation: Evaluation, report: ObjectReference
) -> evaluation_events_pb2.EvaluationSucceeded:
    """An evaluation ended well."""
    return evaluation_events_pb2.EvaluationSucceeded(
        evaluation=evaluation.name, gate=evaluation.gate, report=reference_message(report)
    )


def suite_applied(
    name: str, revision: int, objects: Sequence[ObjectReference]
) -> evaluation_events_pb2.SuiteApplied:
    """A suite was made or changed."""
    return evaluation_events_pb2.SuiteApplied(
        suite=name, revision=revision, objects=[reference_message(one) for one in objects]
    )


def gate_outcome(
    evaluation: Evaluation, verdict: Mapping[str, Any], reference_outputs: ObjectReference
) -> evaluation_events_pb2.ModelVersionApproved | evaluation_events_pb2.ModelVersionRejected:
    """What a standing order's gate says of a model version."""
    ids = MODEL_VERSION.parse(evaluation.model_version)
    approved = evaluation_events_pb2.ModelVersionApproved
    said = (approved if verdict["passed"] else evaluation_events_pb2.ModelVersionRejected)(
        model_version=evaluation.model_version,
        model=MODEL.format(project=ids["project"], model=ids["model"]),
        evaluation=evaluation.name,
        gate=evaluation.gate,
        verdict=verdict_message(verdict),
    )
    if isinstance(said, approved):
        said.reference_outputs.CopyFrom(reference_message(reference_outputs))
    return said


def judged_again(
    evaluation: Evaluation, verdict: Mapping[str, Any]
) -> evaluation_events_pb2.ModelVersionReevaluated:
    """What a gate says of a version that is live."""
    return evaluation_events_pb2.ModelVersionReevaluated(
        model_version=evaluation.model_version,
        endpoint=evaluation.spec.live_at,
        evaluation=evaluation.name,
        gate=evaluation.gate,
        verdict=verdict_message(verdict),
    )


def evaluation_failed(name: str, reason: str, message: str) -> evaluation_events_pb2.EvaluationFailed:
    """An evaluation failed."""
    return evaluation_events_pb2.EvaluationFailed(evaluation=name, reason=reason, message=message)


def reference_message(reference: ObjectReference) -> object_reference_pb2.ObjectReference:
    """An object's reference."""
    return object_reference_pb2.ObjectReference(
        uri=reference.uri, sha256=reference.sha256, size_bytes=reference.size_bytes
    )


def verdict_message(verdict: Mapping[str, Any]) -> evaluation_pb2.Verdict:
    """A verdict from the JSON that report.verdict_json made."""
    results = [
        evaluation_pb2.RuleResult(
            rule=rule_message(rule_from_json(result["rule"])),
            passed=result["passed"],
            observed=math.nan if result["observed"] is None else result["observed"],
            estimate=estimate_message(result["estimate"]),
            explanation=result["explanation"],
        )
        for result in verdict["rules"]
    ]
    return evaluation_pb2.Verdict(passed=verdict["passed"], rules=results)


def estimate_message(found: Mapping[str, Any] | None) -> evaluation_pb2.Estimate | None:
    """An estimate from JSON, where an end that is null is open; None where nothing was measured."""
    if found is None:
        return None
    known = found["value"] is not None
    lower = -math.inf if known else math.nan
    upper = math.inf if known else math.nan
    return evaluation_pb2.Estimate(
        value=found["value"] if known else math.nan,
        lower=lower if found["lower"] is None else found["lower"],
        upper=upper if found["upper"] is None else found["upper"],
        items=found["items"],
        standard_error=found.get("standard_error") or 0.0,
    )


def rule_message(rule: Rule) -> gate_pb2.Rule:
    """A rule of a gate."""
    return gate_pb2.Rule(
        metric=rule.metric,
        suite=rule.suite,
        compared_to=gate_pb2.Baseline.Value(f"BASELINE_{rule.compared_to.name}"),
        at_least=rule.at_least,
        at_most=rule.at_most,
        bound=gate_pb2.Bound.Value(f"BOUND_{rule.bound.name}" if rule.bound else "BOUND_UNSPECIFIED"),
        slice=rule.slice,
        not_worse_by=rule.not_worse_by,
    )
