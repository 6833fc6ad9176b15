"""What was measured of a model, and which machines it says something of.

How near an engine comes to its machine's memory bandwidth belongs to the engine and the kind of machine: what
llama.cpp reached on a CPU says nothing of vLLM, or of a GPU. So it holds for its own kind only; for all
others it is assumed, and each option says which of the two it stands on.
"""

from __future__ import annotations

from dataclasses import dataclass

from sartor_deployment.advice.price_table import Machine

ASSUMED_EFFICIENCY = 0.6
_LEAST, _MOST = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Weights:
    """One stored form, measured."""

    quantization: str
    size_bytes: int
    tokens_per_second: float = 0.0
    loss_gap: float = 0.0
    memory_bytes_per_second: float = 0.0
    """Of the machine and at the moment where it was measured; else the model's counts."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of the model. 0 is not known. `engine` and `accelerator` are those of the measurement."""

    weights: tuple[Weights, ...]
    parameters: int
    kv_bytes_per_token: float = 0.0
    context_length: int = 2048
    memory_bytes_per_second: float = 0.0
    flops: float = 0.0
    engine: str = "llama.cpp"
    accelerator: str = ""

    def bandwidth(self, weights: Weights) -> float:
        """Bytes a second that memory gave where this form was measured."""
        return weights.memory_bytes_per_second or self.memory_bytes_per_second

    def says_of(self, machine: Machine, engine: str) -> bool:
        """Whether the measurement was of such an engine on such a kind of machine."""
        return engine == self.engine and bool(machine.accelerator) == bool(self.accelerator)

    @property
    def place(self) -> str:
        """Where it was measured, in words."""
        return f"{self.engine} on {self.accelerator}" if self.accelerator else f"{self.engine} without a GPU"


@dataclass(frozen=True, slots=True)
class Efficiency:
    """The share of what its machine could do that an engine reaches."""

    value: float
    measured: bool


def efficiency(measured: Measured, weights: Weights, machine: Machine, engine: str) -> Efficiency:
    """As measured where the measurement speaks of this kind of machine, else assumed."""
    reached = _reached(measured, weights)
    if not reached or not measured.says_of(machine, engine):
        return Efficiency(ASSUMED_EFFICIENCY, False)
    return Efficiency(reached, True)


def basis(measured: Measured) -> str:
    """What was measured, what it stands for, and what is assumed."""
    scaled = [each for each in measured.weights if _reached(measured, each)]
    alone = [each for each in measured.weights if each.tokens_per_second and each not in scaled]
    rest = f"{ASSUMED_EFFICIENCY:g} is assumed"
    parts = [
        f"{each.quantization} wrote {each.tokens_per_second:,.1f} tokens a second where memory gave"
        f" {measured.bandwidth(each) / 1e9:,.1f} GB a second: efficiency {_reached(measured, each):.2f}"
        for each in scaled
    ]
    parts += [
        f"{each.quantization} wrote {each.tokens_per_second:,.1f} tokens a second, but the memory of that"
        " machine was not measured, so it cannot be scaled"
        for each in alone
    ]
    if not parts:
        return f"No tokens a second were measured: an efficiency of {rest} everywhere."
    text = f"Measured with {measured.place}: {'; '.join(parts)}."
    if not scaled:
        return f"{text} An efficiency of {rest} everywhere."
    return f"{text} It stands for that kind of machine only; for all others {rest}."


def _reached(measured: Measured, weights: Weights) -> float:
    bandwidth = measured.bandwidth(weights)
    if not weights.tokens_per_second or not bandwidth:
        return 0.0
    return min(_MOST, max(_LEAST, weights.tokens_per_second * weights.size_bytes / bandwidth))
