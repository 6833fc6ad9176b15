"""Where a training is: with weights and optimizer all that a checkpoint needs. And what ends it early."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sartor_models.errors import ModelError

_SPIKE_WINDOW = 20
_SPIKE_LEAST = 1.0  # nats above the median: near zero a factor alone means nothing
_NAMED_ROWS = 8


@dataclass(slots=True)
class Course:
    """Step, tokens and the best validation so far, and every step's figures."""

    step: int = 0
    tokens: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    misses: int = 0
    parts: int = 1
    recomputes: bool = False
    history: list[dict[str, float]] = field(default_factory=list)

    def to_state(self) -> dict[str, Any]:
        """JSON values for a checkpoint."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "best_step": self.best_step,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "misses": self.misses,
            "parts": self.parts,
            "recomputes": self.recomputes,
            "history": list(self.history),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Course:
        """The course that a checkpoint kept."""
        names = ("step", "tokens", "best_step", "misses", "parts", "recomputes")
        best = math.inf if state["best_loss"] is None else state["best_loss"]
        kept = {name: state[name] for name in names if name in state}
        return cls(**kept, best_loss=best, history=list(state["history"]))

    def judge(self, loss: float) -> bool:
        """Whether this validation loss is the best so far."""
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.misses = loss, self.step, 0
            return True
        self.misses += 1
        return False

    def check_loss(self, loss: float, norm: float, factor: float, rows: Sequence[str]) -> None:
        """A loss that is no number, or far above what it was, ends the training.

        Raises:
            ModelError: LOSS_NOT_FINITE or LOSS_SPIKE, with the step and the rows of its batch.
        """
        recent = [entry["loss"] for entry in self.history[-_SPIKE_WINDOW:] if "loss" in entry]
        if not (math.isfinite(loss) and math.isfinite(norm)):
            reason, told = "LOSS_NOT_FINITE", f"is no number any more ({loss:g}, gradient norm {norm:g})"
        elif factor and len(recent) >= _SPIKE_WINDOW - 1 and _is_spike(loss, recent, factor):
            reason, told = (
                "LOSS_SPIKE",
                f"rose to {loss:.3f} from a median of {statistics.median(recent):.3f}",
            )
        else:
            return
        named = ", ".join(rows[:_NAMED_ROWS]) + (" and more" if len(rows) > _NAMED_ROWS else "")
        raise ModelError(
            f"The loss {told} at step {self.step + 1}, in the batch of the rows {named}. Look at these rows; "
            "where they are sound, lower learning_rate or lengthen the warm-up.",
            reason=reason,
            metadata={"step": str(self.step + 1), "rows": ",".join(rows[:50])},
        )


def _is_spike(loss: float, recent: Sequence[float], factor: float) -> bool:
    median = statistics.median(recent)
    return loss > factor * median and loss - median > _SPIKE_LEAST


def memory_bytes(device: str) -> int:
    """What the training holds now: of the accelerator's memory, or of this process's."""
    if device == "cuda":
        return int(torch.cuda.memory_allocated())
    try:
        with open("/proc/self/statm", encoding="ascii") as handle:
            return int(handle.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
