"""Supervised fine-tuning: the model learns the assistant's words of curated conversations, and nothing
else."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from sartor_models.batches import length_bucketed, padded
from sartor_models.chat_format import ChatTokens
from sartor_models.checkpoints import Checkpoint
from sartor_models.errors import ModelError
from sartor_models.heads import hidden_states

from sartor_training.methods.loss import cross_entropy
from sartor_training.methods.optimizer import MasterAdamW
from sartor_training.methods.plan import Step, learning_rate, plan_steps
from sartor_training.recipe import Recipe

_RATE_STEPS = 10


class Observer(Protocol):
    """Whoever wants to know how the training goes."""

    def stepped(
        self, fraction: float, epoch: float, eta_seconds: float, figures: Mapping[str, float]
    ) -> None:
        """After each step. `figures`: loss, validation_loss (once known), learning_rate, gradient_norm, …"""

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """Every `checkpoint_every_steps`: a later attempt goes on from it bit for bit."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training made: the best weights in the model's dtype by parameter name, figures, and the course
    it took."""

    weights: Mapping[str, torch.Tensor]
    metrics: Mapping[str, float]
    history: Sequence[Mapping[str, float]]


@dataclass(slots=True)
class _Course:
    """Where the training is; with weights and optimizer it is all that a checkpoint needs."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float = math.inf
    best_step: int = 0
    misses: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class SupervisedFineTuning:
    """One training. `run` gives the outcome; the same arguments give the same weights, bit for bit on one
    machine.

    Args:
        parameters: the weights to be taught, by name; everything else must be frozen.
        validation: may be empty: then nothing stops early and the last weights are the best.
        resume: a checkpoint of the same training; one of another recipe or other data is passed over.
    """

    def __init__(
        self,
        model: Any,
        parameters: Mapping[str, torch.nn.Parameter],
        train: Sequence[ChatTokens],
        validation: Sequence[ChatTokens],
        recipe: Recipe,
        observer: Observer,
        resume: Checkpoint | None = None,
    ) -> None:
        self._model, self._parameters, self._recipe, self._observer = model, parameters, recipe, observer
        self._train, self._validation = train, validation
        self._steps = plan_steps([len(row.ids) for row in train], recipe)
        self._total_tokens = sum(step.tokens for step in self._steps)
        torch.manual_seed(recipe.seed)
        self._optimizer = MasterAdamW(parameters, recipe.weight_decay)
        self._course = _Course()
        self._best: dict[str, torch.Tensor] = {}
        self._marks: list[tuple[float, int]] = []
        if resume is not None and resume.state.get("training") == self._fingerprint():
            self._restore(resume)

    @property
    def step(self) -> int:
        """Steps done; before `run` it is 0, or the step of the checkpoint."""
        return self._course.step

    @property
    def tokens(self) -> int:
        """Real tokens trained on so far, padding not counted."""
        return self._course.tokens

    def run(self) -> Outcome:
        """Train to the end, or until validation no longer improves.

        Raises:
            ModelError: LOSS_NOT_FINITE with the step, OUT_OF_MEMORY with what to lower.
        """
        try:
            if not self._course.history and self._validation:
                self._course.history.append({"step": 0, "validation_loss": self._validate()})
            self._marks = [(time.perf_counter(), self._course.tokens)]
            stopped = self._enough()
            while self._course.step < len(self._steps) and not stopped:
                stopped = self._advance(self._steps[self._course.step])
            return self._outcome(stopped)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            raise ModelError(
                f"Memory ran out at step {self._course.step + 1}. Lower tokens_per_batch "
                f"({self._recipe.tokens_per_batch}) "
                f"or max_length ({self._recipe.max_length}), or give the worker more memory.",
                reason="OUT_OF_MEMORY",
                metadata={"step": str(self._course.step + 1)},
            ) from error

    def _advance(self, step: Step) -> bool:
        """One step with all that belongs to it; True where it is time to stop early."""
        course, recipe = self._course, self._recipe
        rate = learning_rate(course.step, len(self._steps), recipe)
        self._model.train()
        loss = self._loss([self._train[index] for index in step.rows])
        loss.backward()
        norm = self._optimizer.step(rate, recipe.max_gradient_norm)
        self._check_finite(loss.item(), norm, step)
        course.step += 1
        course.tokens += step.tokens
        figures = {"loss": loss.item(), "learning_rate": rate, "gradient_norm": norm}
        if step.validate and self._validation:
            figures["validation_loss"] = self._validate()
            self._judge(figures["validation_loss"])
        course.history.append({"step": course.step, "epoch": step.epoch, "tokens": course.tokens, **figures})
        self._tell(step, figures)
        stop = self._enough()
        if course.step % recipe.checkpoint_every_steps == 0 and course.step < len(self._steps) and not stop:
            self._observer.checkpointed(self._checkpoint())
        return stop

    def _loss(self, rows: Sequence[ChatTokens]) -> torch.Tensor:
        ids, _ = padded([row.ids for row in rows], 0)
        learned, _ = padded([row.supervised for row in rows], 0)
        device = self._model.device
        states = hidden_states(self._model, ids.to(device))[:, :-1]
        chosen = learned[:, 1:].bool().to(device)
        return cross_entropy(states[chosen], self._model.lm_head.weight, ids[:, 1:].to(device)[chosen])

    @torch.no_grad()
    def _validate(self) -> float:
        """Mean loss over the validation split's supervised tokens."""
        self._model.eval()
        total, count = 0.0, 0
        for batch in length_bucketed(
            [len(row.ids) for row in self._validation], 2 * self._recipe.tokens_per_batch
        ):
            rows = [self._validation[index] for index in batch]
            positions = sum(sum(row.supervised[1:]) for row in rows)
            total += self._loss(rows).item() * positions
            count += positions
        return total / count

    def _judge(self, loss: float) -> None:
        course = self._course
        if loss < course.best_loss:
            course.best_loss, course.best_step, course.misses = loss, course.step, 0
            self._best = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        else:
            course.misses += 1

    def _enough(self) -> bool:
        patience = self._recipe.early_stopping_patience
        return bool(patience) and self._course.misses >= patience

    def _check_finite(self, loss: float, norm: float, step: Step) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        raise ModelError(
            f"The loss is no number any more ({loss:g}, gradient norm {norm:g}) at step "
            f"{self._course.step + 1}, epoch "
            f"{step.epoch:.2f}. Lower learning_rate ({self._recipe.learning_rate:g}) or lengthen the "
            f"warm-up.",
            reason="LOSS_NOT_FINITE",
            metadata={"step": str(self._course.step + 1), "rows": ",".join(map(str, step.rows[:50]))},
        )

    def _tell(self, step: Step, figures: Mapping[str, float]) -> None:
        self._marks = [*self._marks[-_RATE_STEPS:], (time.perf_counter(), self._course.tokens)]
        (first, before), (last, now) = self._marks[0], self._marks[-1]
        rate = (now - before) / max(last - first, 1e-9)
        left = self._total_tokens - self._course.tokens
        known = [entry["validation_loss"] for entry in self._course.history if "validation_loss" in entry]
        shown = {**({"validation_loss": known[-1]} if known else {}), **figures, "tokens_per_second": rate}
        shown |= {"step": self._course.step, "steps": len(self._steps), "tokens": self._course.tokens}
        self._observer.stepped(self._course.tokens / self._total_tokens, step.epoch, left / rate, shown)

    def _outcome(self, stopped: bool) -> Outcome:
        course = self._course
        current = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        losses = [entry["loss"] for entry in course.history if "loss" in entry]
        metrics = {
            "steps": course.step,
            "planned_steps": len(self._steps),
            "tokens": course.tokens,
            "stopped_early": float(stopped),
            "training_loss": sum(losses[-5:]) / len(losses[-5:]),
        }
        if self._validation:
            metrics |= {
                "initial_validation_loss": course.history[0]["validation_loss"],
                "validation_loss": course.best_loss,
                "best_step": course.best_step,
            }
        return Outcome(self._best or current, metrics, course.history)

    def _fingerprint(self) -> str:
        """Which training this is: a checkpoint of another one must not be continued."""
        shape = ",".join(
            f"{name}{tuple(parameter.shape)}" for name, parameter in sorted(self._parameters.items())[:4]
        )
        rows = f"{len(self._train)}|{len(self._validation)}|{self._total_tokens}"
        return f"{self._recipe.to_mapping()}|{rows}|{shape}"

    def _checkpoint(self) -> Checkpoint:
        course = self._course
        tensors = {**self._optimizer.tensors(), "random/torch": torch.get_rng_state()}
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        state = {
            "training": self._fingerprint(),
            "step": course.step,
            "tokens": course.tokens,
            "best_step": course.best_step,
            "best_loss": course.best_loss if self._best else None,
            "misses": course.misses,
            "history": list(course.history),
        }
        return Checkpoint(tensors, state)

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self._optimizer.restore(checkpoint.tensors)
        torch.set_rng_state(checkpoint.tensors["random/torch"])
        self._best = checkpoint.part("best")
        self._course = _Course(
            step=state["step"],
            tokens=state["tokens"],
            best_step=state["best_step"],
            misses=state["misses"],
            best_loss=math.inf if state["best_loss"] is None else state["best_loss"],
            history=list(state["history"]),
        )


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or "allocate memory" in text
        or "out of memory" in text
    )
