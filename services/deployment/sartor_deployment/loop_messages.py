"""Domain ↔ proto: drift, the loop and its adaptations as the public API shows them."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from sartor.deployment.v1 import endpoint_pb2, loop_pb2
from sqlalchemy import Connection

from sartor_deployment import store
from sartor_deployment.loop import Adaptation, Budget, DriftSpec, LoopSpec, cool_down_until
from sartor_deployment.store import DriftWindow
from sartor_deployment.usecases import loop


def drift_spec(given: endpoint_pb2.DriftWatch) -> DriftSpec:
    """What is ordered; fields that are not set have their defaults."""
    rate = given.false_alarm_rate or DriftSpec().false_alarm_rate
    return DriftSpec(given.window, given.reference, rate)


def loop_spec(given: endpoint_pb2.Loop) -> LoopSpec:
    """What is ordered; fields that are not set have their defaults."""
    default, budget = LoopSpec(), Budget()
    return LoopSpec(
        training_plan=given.training_plan,
        curation_policy=given.curation_policy,
        source=given.source,
        dataset=given.dataset,
        on_drift=given.on_drift,
        min_corrections=given.min_corrections,
        min_new_records=given.min_new_records,
        every_seconds=_seconds(given.every),
        budget=Budget(
            given.budget.runs or budget.runs,
            _seconds(given.budget.training_time) or budget.training_seconds,
            _seconds(given.budget.period) or budget.period_seconds,
        ),
        cool_down_seconds=_seconds(given.cool_down)
        if given.HasField("cool_down")
        else default.cool_down_seconds,
        stage_timeout_seconds=_seconds(given.stage_timeout) or default.stage_timeout_seconds,
    )


def loop_order(spec: LoopSpec) -> endpoint_pb2.Loop | None:
    """What is ordered, as the API shows it; None where there is no loop."""
    if not spec.configured:
        return None
    return endpoint_pb2.Loop(
        training_plan=spec.training_plan,
        curation_policy=spec.curation_policy,
        source=spec.source,
        dataset=spec.dataset,
        on_drift=spec.on_drift,
        min_corrections=spec.min_corrections,
        min_new_records=spec.min_new_records,
        every=_duration(spec.every_seconds),
        budget=endpoint_pb2.LoopBudget(
            runs=spec.budget.runs,
            training_time=_duration(spec.budget.training_seconds),
            period=_duration(spec.budget.period_seconds),
        ),
        cool_down=_duration(spec.cool_down_seconds),
        stage_timeout=_duration(spec.stage_timeout_seconds),
    )


def adaptation_message(found: Adaptation) -> loop_pb2.Adaptation:
    """An adaptation as it stands."""
    return loop_pb2.Adaptation(
        name=found.name,
        state=loop_pb2.AdaptationState.Value(f"ADAPTATION_STATE_{found.state}"),
        trigger=loop_pb2.AdaptationTrigger.Value(f"ADAPTATION_TRIGGER_{found.trigger}"),
        cause=found.cause,
        run=found.run,
        corrections=found.corrections,
        curation=found.curation,
        live_version=found.live_version,
        model_version=found.model_version,
        revision=found.revision,
        reason=found.reason,
        message=found.message,
        training_time=_duration(found.training_seconds),
        create_time=_time(found.create_time),
        end_time=_time(found.end_time),
    )


def loop_status(connection: Connection, endpoint: str, spec: LoopSpec, now: datetime) -> loop_pb2.LoopStatus:
    """How an endpoint's loop stands."""
    row = store.loop(connection, endpoint)
    shown = loop_pb2.LoopStatus(
        name=endpoint,
        configured=spec.configured,
        paused_by=row.paused_by,
        pause_message=row.pause_message,
        pause_time=_time(row.pause_time),
        held=row.held,
    )
    current = store.current_adaptation(connection, endpoint)
    if current is not None:
        shown.current.CopyFrom(adaptation_message(current))
    shown.waiting_corrections, shown.unusable_corrections = store.count_corrections(connection, endpoint)
    if not store.endpoint(connection, endpoint).live_revision:
        return shown
    known = loop.facts(connection, endpoint, spec, now)
    shown.new_records = known.new_records
    shown.runs_used = known.runs_used
    shown.training_time_used.CopyFrom(_duration(known.training_seconds_used))
    until = cool_down_until(spec, known.last_end)
    if until is not None and until > now:
        shown.cool_down_until.FromDatetime(until)
    return shown


def drift_window_message(window: DriftWindow) -> loop_pb2.DriftWindow:
    """A window and what was found in it."""
    return loop_pb2.DriftWindow(
        number=window.number,
        revision=window.revision,
        reference_requests=window.reference_requests,
        window_requests=window.window_requests,
        embedding=window.embedding,
        findings=[loop_pb2.DriftFinding(**each) for each in window.findings],
        start_time=_time(window.start_time),
        end_time=_time(window.end_time),
        error=window.error,
    )


def _seconds(given: Duration) -> float:
    return given.ToTimedelta().total_seconds()


def _duration(seconds: float) -> Duration:
    made = Duration()
    made.FromTimedelta(timedelta(seconds=seconds))
    return made


def _time(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    made = Timestamp()
    made.FromDatetime(moment)
    return made
