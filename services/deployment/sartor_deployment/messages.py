"""Domain ↔ proto: endpoints, revisions, keys and traffic as the public API shows them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from sartor.common.v1 import object_reference_pb2
from sartor.deployment.v1 import api_key_pb2, endpoint_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor_platform import jobs

from sartor_deployment.announcements import parity_result
from sartor_deployment.api_keys import ApiKey
from sartor_deployment.loop_messages import drift_spec, loop_order, loop_spec
from sartor_deployment.resources import (
    AUTO,
    QUANTIZATIONS,
    EndpointSpec,
    EngineSettings,
    ParityBounds,
    Revision,
    WatchingSpec,
    WeightsForm,
)
from sartor_deployment.rollout import Approval, Canary, RolloutSpec, Shadow, SmokePrompt, StopRules
from sartor_deployment.store import Traffic

_QUANTIZATION = {
    endpoint_pb2.QUANTIZATION_UNSPECIFIED: "Q8_0",
    **{endpoint_pb2.Quantization.Value(f"QUANTIZATION_{name}"): name for name in (*QUANTIZATIONS, AUTO)},
}
_WEIGHTS_FORM = {
    endpoint_pb2.WEIGHTS_FORM_UNSPECIFIED: WeightsForm.MERGED,
    **{endpoint_pb2.WeightsForm.Value(f"WEIGHTS_FORM_{form}"): form for form in WeightsForm},
}
_APPROVAL = {
    endpoint_pb2.APPROVAL_UNSPECIFIED: Approval.NONE,
    endpoint_pb2.APPROVAL_BEFORE_CANARY: Approval.BEFORE_CANARY,
    endpoint_pb2.APPROVAL_BEFORE_PROMOTION: Approval.BEFORE_PROMOTION,
}


def endpoint_spec(given: endpoint_pb2.Endpoint) -> EndpointSpec:
    """What is ordered; fields that are not set have their defaults."""
    parity, engine, watching = ParityBounds(), EngineSettings(), WatchingSpec()
    return EndpointSpec(
        model=given.model,
        quantization=_QUANTIZATION.get(given.quantization, ""),
        parity=ParityBounds(
            given.parity.loss_margin or parity.loss_margin,
            given.parity.top1_agreement or parity.top1_agreement,
        ),
        engine=EngineSettings(
            given.engine.context_length or engine.context_length,
            given.engine.slots or engine.slots,
            given.engine.threads,
            given.engine.replicas or engine.replicas,
            given.engine.queue or engine.queue,
        ),
        rollout=_rollout(given.rollout),
        watching=WatchingSpec(
            given.watching.sample_share,
            _seconds(given.watching.retention) or watching.retention_seconds,
            drift_spec(given.watching.drift),
            _seconds(given.watching.evaluate_every),
        ),
        allowed_loss=given.allowed_loss or EndpointSpec("").allowed_loss,
        loop=loop_spec(given.loop),
        weights_form=_WEIGHTS_FORM.get(given.weights_form, WeightsForm.MERGED),
    )


def _rollout(given: endpoint_pb2.Rollout) -> RolloutSpec:
    canary, stop, shadow = Canary(), StopRules(), Shadow()
    shadow_seconds = _seconds(given.shadow.time) or shadow.seconds
    step_seconds = _seconds(given.canary.step_time) or canary.step_seconds
    return RolloutSpec(
        smoke_prompts=tuple(
            SmokePrompt(each.prompt, tuple(each.expect), tuple(each.forbid)) for each in given.smoke_prompts
        ),
        canary=Canary(
            tuple(given.canary.steps),
            step_seconds,
            given.canary.min_requests or canary.min_requests,
            _seconds(given.canary.patience) or max(canary.patience_seconds, step_seconds),
        ),
        stop=StopRules(
            given.stop.max_error_increase or stop.max_error_increase,
            given.stop.max_latency_ratio or stop.max_latency_ratio,
            given.stop.max_feedback_drop or stop.max_feedback_drop,
            given.stop.min_feedback or stop.min_feedback,
        ),
        approval=_APPROVAL.get(given.approval, Approval.NONE),
        watch_seconds=_seconds(given.watch),
        shadow=Shadow(
            given.shadow.share,
            shadow_seconds,
            given.shadow.min_requests or shadow.min_requests,
            _seconds(given.shadow.patience) or max(shadow.patience_seconds, shadow_seconds),
            given.shadow.min_agreement,
        ),
    )


def endpoint_message(name: str, spec: EndpointSpec) -> endpoint_pb2.Endpoint:
    """What is ordered, as the API shows it."""
    rollout = spec.rollout
    return endpoint_pb2.Endpoint(
        name=name,
        model=spec.model,
        quantization=endpoint_pb2.Quantization.Value(f"QUANTIZATION_{spec.quantization}"),
        parity=endpoint_pb2.ParityBounds(**asdict(spec.parity)),
        engine=endpoint_pb2.EngineSettings(**asdict(spec.engine)),
        rollout=endpoint_pb2.Rollout(
            smoke_prompts=[
                endpoint_pb2.SmokePrompt(prompt=each.prompt, expect=each.expect, forbid=each.forbid)
                for each in rollout.smoke_prompts
            ],
            canary=endpoint_pb2.Canary(
                steps=rollout.canary.steps,
                step_time=_duration(rollout.canary.step_seconds),
                min_requests=rollout.canary.min_requests,
                patience=_duration(rollout.canary.patience_seconds),
            ),
            stop=endpoint_pb2.StopRules(**asdict(rollout.stop)),
            approval=next(key for key, value in _APPROVAL.items() if value is rollout.approval),
            watch=_duration(rollout.watch_seconds),
            shadow=endpoint_pb2.Shadow(
                share=rollout.shadow.share,
                time=_duration(rollout.shadow.seconds),
                min_requests=rollout.shadow.min_requests,
                patience=_duration(rollout.shadow.patience_seconds),
                min_agreement=rollout.shadow.min_agreement,
            ),
        ),
        watching=endpoint_pb2.Watching(
            sample_share=spec.watching.sample_share,
            retention=_duration(spec.watching.retention_seconds),
            drift=endpoint_pb2.DriftWatch(**asdict(spec.watching.drift)),
            evaluate_every=_duration(spec.watching.evaluate_every_seconds),
        ),
        allowed_loss=spec.allowed_loss,
        loop=loop_order(spec.loop),
        weights_form=endpoint_pb2.WeightsForm.Value(f"WEIGHTS_FORM_{spec.weights_form}"),
    )


def revision_message(revision: Revision, job: jobs.Job | None, replicas: int) -> endpoint_pb2.Revision:
    """A revision as it stands, with the engines of it that answer now."""
    shown = endpoint_pb2.Revision(
        name=revision.name,
        model_version=revision.model_version,
        state=endpoint_pb2.RevisionState.Value(f"REVISION_STATE_{revision.state}"),
        job=jobs.job_status(job),
        parity=parity_result(revision.parity),
        ready_replicas=replicas,
        run=revision.run,
        generation=revision.generation,
        created_by=revision.created_by,
        canary_weight=revision.canary_weight,
        variants=[endpoint_pb2.WeightsVariant(**each) for each in revision.variants],
    )
    for field, file in ((shown.weights, revision.weights), (shown.base_weights, revision.base_weights)):
        if file is not None:
            field.CopyFrom(object_reference_pb2.ObjectReference(**asdict(file)))
    if revision.error_reason:
        shown.error.reason = revision.error_reason
        shown.error.message = revision.error_message
    shown.create_time.FromDatetime(revision.create_time)
    if revision.live_time is not None:
        shown.live_time.FromDatetime(revision.live_time)
    return shown


def api_key_message(key: ApiKey) -> api_key_pb2.ApiKey:
    """A key without its secret."""
    shown = api_key_pb2.ApiKey(
        name=key.name,
        tokens_per_minute=key.tokens_per_minute,
        requests_per_minute=key.requests_per_minute,
        prefix=key.prefix,
        created_by=key.created_by,
    )
    shown.create_time.FromDatetime(key.create_time)
    if key.expire_time is not None:
        shown.expire_time.FromDatetime(key.expire_time)
    if key.revoke_time is not None:
        shown.revoke_time.FromDatetime(key.revoke_time)
    return shown


def traffic_message(seen: Traffic) -> api.RevisionTraffic:
    """What gateways saw of a revision."""
    return api.RevisionTraffic(**asdict(seen))


def _seconds(given: Duration) -> float:
    return given.ToTimedelta().total_seconds()


def _duration(seconds: float) -> Duration:
    made = Duration()
    made.FromTimedelta(timedelta(seconds=seconds))
    return made
