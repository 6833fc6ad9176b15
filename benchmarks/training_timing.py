"""What our sides of the training benchmark share: rows, recipe and the clock of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peak import peak_mib
from benchmarks.training_rows import STEPS, TOKENS_PER_BATCH, read_rows

HELD_OUT = 40
RANK = 16


class Clock:
    """Clocks after each step."""

    def __init__(self, before: float = 0.0) -> None:
        self._marks: list[tuple[float, float, float]] = []
        self._before = before

    def stepped(
        self, fraction: float, epoch: float, eta_seconds: float, figures: Mapping[str, float]
    ) -> None:
        """Note the time."""
        self._marks.append((figures["tokens"], time.perf_counter(), time.process_time()))

    def checkpointed(self, checkpoint: Any) -> None:
        """Not measured here."""

    def figures(self) -> dict[str, float]:
        """Tokens a second without the first step, which warms up. What came before the steps counts by its
        share."""
        (first, begun, cpu), (last, ended, cpu_ended) = self._marks[0], self._marks[-1]
        tokens = last - first
        seconds = ended - begun + self._before * tokens
        return {
            "tokens_per_second": tokens / seconds,
            "tokens_per_cpu_second": tokens / (cpu_ended - cpu),
            "memory_mib": peak_mib(),
        }


def lora_recipe(**more: Any) -> Any:
    from sartor_training.recipe import Recipe

    return Recipe(
        **{
            "rank": RANK,
            "alpha": 32.0,
            "learning_rate": 2e-4,
            "epochs": 1,
            "tokens_per_batch": TOKENS_PER_BATCH,
            "early_stopping_patience": 0,
            "max_training_tokens": TOKENS_PER_BATCH * (STEPS + 1),
            "warmup_ratio": 0.0,
            **more,
        }
    )


def chats(work: Path) -> tuple[list[Any], list[Any]]:
    from sartor_models.chat_format import ChatTokens

    rows = [
        ChatTokens(tuple(row["ids"]), tuple(map(bool, row["learned"]))) for row in read_rows(work, "chats")
    ]
    return rows[HELD_OUT:], rows[:HELD_OUT]


def timed(model: Any, parameters: Any, objective: Any, rows: Sequence[Any], recipe: Any) -> dict[str, Any]:
    from sartor_training.methods.loop import Training

    clock = Clock()
    Training(model, parameters, objective, rows, [], recipe, clock).run()
    return clock.figures()
