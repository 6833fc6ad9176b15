"""Ranks places to deploy to. Pure arithmetic over what was measured and what is in the price table.

Roofline (Williams, Waterman, Patterson 2009): a decoding step reads all weights and the caches of its b
requests once, and computes 2 operations a parameter and request, so it takes

    step(b) = max((weights + b · cache) / bandwidth, b · 2 · parameters / operations) / efficiency

A prompt is bound by operations. `efficiency` is what was reached on such a machine, or assumed:
see measured.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sartor_deployment.advice.measured import Efficiency, Measured, Weights, efficiency
from sartor_deployment.advice.price_table import CLASSES, Machine

STATEMENT = (
    "A decoding step takes max((weights + b·cache) / bandwidth, b·2·parameters / operations) / efficiency"
    " for b requests at once; a prompt 2·parameters·tokens / operations / efficiency. Each option says"
    " whether its efficiency was measured or is assumed. vLLM serves sixteen bits. The 95th percentile is"
    " taken as 1.3 times the time of a request at no more than 70 % load. Machines are planned for the peak."
    " Where a model's cache was not measured, it is 2·√parameters bytes a token."
)
_P95 = 1.3
_LOAD = 0.7
_PROCESS_GB = 1.0
_MOST_AT_ONCE = {"vllm": 64, "llama.cpp": 8}
_MOST_REPLICAS = 64


@dataclass(frozen=True, slots=True)
class Requirements:
    """What is asked. 0 asks nothing."""

    latency_p95_ms: float = 0.0
    requests_per_second: float = 1.0
    peak_requests_per_second: float = 0.0
    prompt_tokens: int = 300
    answer_tokens: int = 100
    data_class: str = "ANYWHERE"
    offline: bool = False
    budget_per_month: float = 0.0
    allowed_loss: float = 0.02

    @property
    def peak(self) -> float:
        """Requests a second to plan for."""
        return max(self.peak_requests_per_second or 2 * self.requests_per_second, self.requests_per_second)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an option is impossible: the requirement, and a sentence with the numbers."""

    requirement: str
    text: str


@dataclass(frozen=True, slots=True)
class Option:
    """One way to deploy. Possible if there are no reasons against it."""

    machine: Machine
    engine: str
    weights: Weights
    replicas: int
    cost_per_month: float
    latency_p95_ms: float
    capacity: float
    memory_gb: float
    reasons: tuple[Reason, ...]
    efficiency: Efficiency
    deciding: str = ""


def recommend(
    measured: Measured, required: Requirements, machines: Sequence[Machine]
) -> tuple[list[Option], str]:
    """All options, the cheapest possible one first, and "" or why none is possible."""
    options = [
        _option(measured, required, machine, engine, weights)
        for machine in machines
        for engine in machine.engines
        for weights in _forms(measured, engine)
    ]
    ranked = sorted(
        options,
        key=lambda each: (len(each.reasons), each.cost_per_month, each.latency_p95_ms, each.machine.name),
    )
    possible = [each for each in ranked if not each.reasons]
    if not possible:
        return ranked, _why_not(ranked, required)
    return [replace(each, deciding=_deciding(each, ranked, required)) for each in ranked], ""


def _forms(measured: Measured, engine: str) -> tuple[Weights, ...]:
    """What an engine can serve: vLLM the sixteen bits that were evaluated, as its manifests do."""
    if engine != "vllm":
        return measured.weights
    exact = tuple(each for each in measured.weights if each.quantization == "F16")
    return exact or (Weights("F16", 2 * measured.parameters),)


def _option(
    measured: Measured, required: Requirements, machine: Machine, engine: str, weights: Weights
) -> Option:
    reached = efficiency(measured, weights, machine, engine)
    at_once, latency, capacity, memory = _best_batch(
        measured, required, machine, _MOST_AT_ONCE[engine], weights, reached.value
    )
    replicas = max(1, math.ceil(required.peak / (_LOAD * capacity))) if capacity else 0
    reasons = tuple(_reasons(required, machine, weights, latency, replicas, memory, at_once))
    cost = machine.price_per_month * max(replicas, 1)
    if required.budget_per_month and cost > required.budget_per_month:
        text = f"{replicas} × {machine.name} cost {cost:,.0f}, the budget is {required.budget_per_month:,.0f}"
        reasons = (*reasons, Reason("budget", text))
    possible = replicas * capacity * _LOAD
    return Option(machine, engine, weights, replicas, cost, latency, possible, memory, reasons, reached)


def _best_batch(
    measured: Measured,
    required: Requirements,
    machine: Machine,
    most_at_once: int,
    weights: Weights,
    reached: float,
) -> tuple[int, float, float, float]:
    """(requests at once, p95 in ms, requests a second of one machine, GB): the most that keeps the latency.

    Where none does, that of one request alone; 0 at once where not even one fits into memory.
    """
    cache = (measured.kv_bytes_per_token or 2 * math.sqrt(measured.parameters)) * measured.context_length
    bandwidth, operations = machine.memory_gb_per_second * 1e9, machine.tflops * 1e12
    chosen = (0, 0.0, 0.0, (weights.size_bytes + cache) / 1e9 + _PROCESS_GB)
    for at_once in range(1, most_at_once + 1):
        memory = (weights.size_bytes + at_once * cache) / 1e9 + _PROCESS_GB
        if memory > machine.memory_gb:
            break
        step = max(
            (weights.size_bytes + at_once * cache) / bandwidth, at_once * 2 * measured.parameters / operations
        )
        prompt = 2 * measured.parameters * required.prompt_tokens / operations
        # While one prompt is read the others wait: each request pays for all prompts of its company.
        seconds = (at_once * prompt + required.answer_tokens * step) / reached
        latency = seconds * _P95 * 1000
        if at_once > 1 and required.latency_p95_ms and latency > required.latency_p95_ms:
            break
        if at_once / seconds > chosen[2]:
            chosen = (at_once, latency, at_once / seconds, memory)
    return chosen


def _reasons(
    required: Requirements,
    machine: Machine,
    weights: Weights,
    latency: float,
    replicas: int,
    memory: float,
    at_once: int,
) -> Iterator[Reason]:
    if not at_once:
        yield Reason("memory", f"one request needs {memory:.1f} GB, {machine.name} has {machine.memory_gb:g}")
        return
    if CLASSES.index(machine.data_class) < CLASSES.index(required.data_class):
        text = (
            f"{machine.name} may process data of class {machine.data_class}, {required.data_class} is asked"
        )
        yield Reason("data_class", text)
    if required.offline and not machine.offline:
        yield Reason("offline", f"{machine.name} does not answer while the network is gone")
    if required.latency_p95_ms and latency > required.latency_p95_ms:
        text = f"95 % of requests would take up to {latency:,.1f} ms, {required.latency_p95_ms:g} are asked"
        yield Reason("latency", text)
    if weights.loss_gap > required.allowed_loss:
        text = (
            f"{weights.quantization} costs {weights.loss_gap:.3f} nats, {required.allowed_loss:g} are allowed"
        )
        yield Reason("quality", text)
    if replicas > _MOST_REPLICAS:
        text = f"{required.peak:g} requests a second need {replicas} × {machine.name}"
        yield Reason("throughput", text)


def _deciding(option: Option, ranked: Sequence[Option], required: Requirements) -> str:
    """The requirement without which something cheaper would do; else the one with the least room."""
    if option.reasons:
        return option.reasons[0].requirement
    cheaper = [
        each for each in ranked if each.cost_per_month < option.cost_per_month and len(each.reasons) == 1
    ]
    if cheaper:
        return min(cheaper, key=lambda each: each.cost_per_month).reasons[0].requirement
    room = {"throughput": 1 - required.peak / option.capacity}
    if required.latency_p95_ms:
        room["latency"] = 1 - option.latency_p95_ms / required.latency_p95_ms
    if required.budget_per_month:
        room["budget"] = 1 - option.cost_per_month / required.budget_per_month
    return min(room, key=lambda name: room[name])


def _why_not(ranked: Sequence[Option], required: Requirements) -> str:
    if not ranked:
        return "No: the price table has no machine whose engine serves one of the measured formats."
    broken = [{reason.requirement for reason in each.reasons} for each in ranked]
    everywhere = set.intersection(*broken)
    nearest = ranked[0]
    why = "; ".join(reason.text for reason in nearest.reasons)
    start = (
        f"No, because no machine of the price table fulfils {' and '.join(sorted(everywhere))}"
        if everywhere
        else "No, because no machine of the price table fulfils all requirements together"
    )
    where = f"{nearest.machine.name} with {nearest.engine} and {nearest.weights.quantization}"
    return f"{start}. Nearest is {where}: {why}."
