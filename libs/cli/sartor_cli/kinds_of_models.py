"""The kinds of resources of training, evaluation and deployment."""

from __future__ import annotations

from typing import Any

from sartor.deployment.v1 import deployment_service_pb2 as deployment
from sartor.evaluation.v1 import evaluation_service_pb2 as evaluation
from sartor.training.v1 import training_service_pb2 as training

from sartor_cli.kind import AGE, NAME, ORDER, PROGRESS, RUN, STATE, C, ResourceKind, short
from sartor_cli.output import last
from sartor_cli.words import revision_word, styled

KINDS = (
    ResourceKind(
        "base-models",
        lambda s: s.training.ListBaseModels,
        training.ListBaseModelsRequest,
        (
            NAME,
            STATE,
            C("REFERENCE", lambda each: each.reference),
            C("PARAMETERS", lambda each: f"{each.parameter_count:,}", right=True),
            C("LICENSE", lambda each: each.license),
            C("DIGEST", lambda each: each.digest[:12]),
        ),
        lambda s: s.training.GetBaseModel,
        training.GetBaseModelRequest,
        "baseModels/{}",
    ),
    ResourceKind(
        "plans",
        lambda s: s.training.ListTrainingPlans,
        training.ListTrainingPlansRequest,
        (
            NAME,
            C("MODEL", lambda each: last(each.model)),
            C("BASE MODEL", lambda each: last(each.base_model)),
            *ORDER,
        ),
        lambda s: s.training.GetTrainingPlan,
        training.GetTrainingPlanRequest,
        "trainingPlans/{}",
    ),
    ResourceKind(
        "jobs",
        lambda s: s.training.ListTrainingJobs,
        training.ListTrainingJobsRequest,
        (
            NAME,
            STATE,
            PROGRESS,
            C("MODEL VERSION", lambda each: short(each.model_version)),
            C("CURATION", lambda each: last(each.curation)),
            RUN,
            AGE,
        ),
        lambda s: s.training.GetTrainingJob,
        training.GetTrainingJobRequest,
        "trainingJobs/{}",
        filters=True,
    ),
    ResourceKind(
        "models",
        lambda s: s.training.ListModels,
        training.ListModelsRequest,
        (NAME, C("LATEST VERSION", lambda each: last(each.latest_version)), AGE),
        collection="models/{}",
    ),
    ResourceKind(
        "versions",
        lambda s: s.training.ListModelVersions,
        training.ListModelVersionsRequest,
        (
            C("NAME", lambda each: short(each.name), whole=True),
            C("BASE MODEL", lambda each: last(each.base_model)),
            C("VALIDATION LOSS", lambda each: _metric(each.metrics, "validation_loss"), right=True),
            RUN,
            AGE,
        ),
        lambda s: s.training.GetModelVersion,
        training.GetModelVersionRequest,
        "models/{}/versions/{}",
        "models/{}",
        filters=True,
    ),
    ResourceKind(
        "gates",
        lambda s: s.evaluation.ListGates,
        evaluation.ListGatesRequest,
        (
            NAME,
            C("MODEL", lambda each: last(each.model)),
            C("RULES", lambda each: str(len(each.rules)), right=True),
            *ORDER,
        ),
        lambda s: s.evaluation.GetGate,
        evaluation.GetGateRequest,
        "gates/{}",
    ),
    ResourceKind(
        "suites",
        lambda s: s.evaluation.ListSuites,
        evaluation.ListSuitesRequest,
        (
            NAME,
            C("ITEMS", lambda each: each.WhichOneof("items") or ""),
            C("METRICS", lambda each: ", ".join(each.metrics)),
            *ORDER,
        ),
        lambda s: s.evaluation.GetSuite,
        evaluation.GetSuiteRequest,
        "suites/{}",
    ),
    ResourceKind(
        "prompts",
        lambda s: s.evaluation.ListPrompts,
        evaluation.ListPromptsRequest,
        (
            NAME,
            C("SYSTEM", lambda each: each.system),
            C("EXAMPLES", lambda each: str(len(each.examples) + each.shots), right=True),
            *ORDER,
        ),
        lambda s: s.evaluation.GetPrompt,
        evaluation.GetPromptRequest,
        "prompts/{}",
    ),
    ResourceKind(
        "evaluations",
        lambda s: s.evaluation.ListEvaluations,
        evaluation.ListEvaluationsRequest,
        (
            NAME,
            STATE,
            PROGRESS,
            C("GATE", lambda each: last(each.gate)),
            C("VERDICT", lambda each: verdict_text(each)),
            RUN,
            AGE,
        ),
        lambda s: s.evaluation.GetEvaluation,
        evaluation.GetEvaluationRequest,
        "evaluations/{}",
        filters=True,
    ),
    ResourceKind(
        "answers",
        lambda s: s.evaluation.ListItemResults,
        evaluation.ListItemResultsRequest,
        (
            C("ITEM", lambda each: each.item_id),
            C("CANDIDATE", lambda each: each.candidate),
            C("QUESTION", lambda each: each.prompt[:60]),
            C("ANSWER", lambda each: each.answer[:80]),
            C("RIGHT ANSWER", lambda each: each.reference[:80]),
        ),
        parent="evaluations/{}",
    ),
    ResourceKind(
        "endpoints",
        lambda s: s.deployment.ListEndpoints,
        deployment.ListEndpointsRequest,
        (
            NAME,
            C("MODEL", lambda each: last(each.model)),
            C("LIVE", lambda each: last(each.live_revision) or "nothing yet"),
            C("URL", lambda each: each.url),
            *ORDER[:2],
        ),
        lambda s: s.deployment.GetEndpoint,
        deployment.GetEndpointRequest,
        "endpoints/{}",
    ),
    ResourceKind(
        "revisions",
        lambda s: s.deployment.ListRevisions,
        deployment.ListRevisionsRequest,
        (
            C("NAME", lambda each: short(each.name), whole=True),
            C("STATE", lambda each: styled(revision_word(each.state))),
            C("MODEL VERSION", lambda each: short(each.model_version)),
            C("PARITY", lambda each: parity_text(each)),
            C("ENGINES", lambda each: str(each.ready_replicas), right=True),
            RUN,
            AGE,
        ),
        lambda s: s.deployment.GetRevision,
        deployment.GetRevisionRequest,
        "endpoints/{}/revisions/{}",
        "endpoints/{}",
        filters=True,
    ),
)


def _metric(metrics: Any, name: str) -> str:
    return f"{metrics[name]:.4f}" if name in metrics else ""


def verdict_text(evaluation_: Any) -> str:
    """What the gate said, with the number of rules."""
    if not evaluation_.HasField("verdict"):
        return ""
    passed = sum(rule.passed for rule in evaluation_.verdict.rules)
    word = "passed" if evaluation_.verdict.passed else "rejected"
    return f"{styled(word)} ({passed} of {len(evaluation_.verdict.rules)} rules)"


def parity_text(revision: Any) -> str:
    """What the parity check measured, in one line."""
    if not revision.HasField("parity"):
        return ""
    parity = revision.parity
    loss = parity.served_loss - parity.reference_loss
    speed = f", {parity.tokens_per_second:,.0f} tokens/s" if parity.tokens_per_second else ""
    return f"{parity.top1_agreement:.1%} same token, loss {loss:+.3f}{speed}"
