"""Domain ↔ proto: what is required, what was measured, what is recommended."""

from __future__ import annotations

from sartor.deployment.v1 import advice_pb2
from sartor_platform.errors import FieldViolation, InvalidArgument

from sartor_deployment.advice.measured import Measured, Weights
from sartor_deployment.advice.recommend import Option, Requirements

_CLASSES = {
    advice_pb2.DATA_CLASS_UNSPECIFIED: "ANYWHERE",
    advice_pb2.DATA_CLASS_REGIONAL: "REGIONAL",
    advice_pb2.DATA_CLASS_OWN_MACHINES: "OWN_MACHINES",
    advice_pb2.DATA_CLASS_DEVICE: "DEVICE",
}
_NUMBERS = (
    "latency_p95_ms",
    "requests_per_second",
    "peak_requests_per_second",
    "prompt_tokens",
    "answer_tokens",
    "budget_per_month",
    "allowed_loss",
)


def requirements(given: advice_pb2.Requirements) -> Requirements:
    """What is asked; fields that are not set ask nothing.

    Raises:
        InvalidArgument: BAD_REQUIREMENTS, with each field that is negative.
    """
    negative = [name for name in _NUMBERS if getattr(given, name) < 0]
    if negative:
        raise InvalidArgument(
            f"requirements cannot be negative: {', '.join(negative)}",
            reason="BAD_REQUIREMENTS",
            violations=[FieldViolation(f"requirements.{name}", "must be at least 0") for name in negative],
        )
    default = Requirements()
    return Requirements(
        given.latency_p95_ms,
        given.requests_per_second or default.requests_per_second,
        given.peak_requests_per_second,
        given.prompt_tokens or default.prompt_tokens,
        given.answer_tokens or default.answer_tokens,
        _CLASSES.get(given.data_class, "DEVICE"),
        given.offline,
        given.budget_per_month,
        given.allowed_loss or default.allowed_loss,
    )


def measured(given: advice_pb2.MeasuredModel) -> Measured | None:
    """What was measured, where the request says it."""
    if not given.weights:
        return None
    return Measured(
        tuple(
            Weights(each.quantization, each.size_bytes, each.tokens_per_second, each.loss_gap)
            for each in given.weights
        ),
        given.parameters or max(each.size_bytes for each in given.weights) // 2,
        given.kv_bytes_per_token,
        given.context_length or 2048,
        given.memory_bytes_per_second,
        given.flops,
        given.engine or "llama.cpp",
        given.accelerator,
    )


def option_message(option: Option) -> advice_pb2.TargetOption:
    """One option."""
    return advice_pb2.TargetOption(
        target=option.machine.target,
        machine=option.machine.name,
        engine=option.engine,
        quantization=option.weights.quantization,
        replicas=option.replicas,
        cost_per_month=option.cost_per_month,
        latency_p95_ms=option.latency_p95_ms,
        capacity_requests_per_second=option.capacity,
        memory_gb=option.memory_gb,
        deciding=option.deciding,
        reasons=[reason.text for reason in option.reasons],
        accelerator=option.machine.accelerator,
        efficiency=option.efficiency.value,
        efficiency_measured=option.efficiency.measured,
    )
