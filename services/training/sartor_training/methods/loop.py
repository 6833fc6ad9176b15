"""The loop of every training: steps, validation, the best weights, checkpoints. What is taught and how it is
judged is the method's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from sartor_models.checkpoints import Checkpoint

from sartor_training.methods.course import Course, memory_bytes
from sartor_training.methods.method import Objective
from sartor_training.methods.optimizer import MasterAdamW
from sartor_training.methods.passes import Passes
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


class Training:
    """One training. `run` gives the outcome; the same arguments give the same weights, bit for bit on one
    machine.

    Args:
        parameters: the weights to be taught, by name; everything else must be frozen.
        validation: may be empty: then nothing stops early and the last weights are the best.
        resume: a checkpoint of the same training; one of another recipe or other data is passed over.
        names: of the training rows, for an error that is about a batch; their numbers where none are given.
        cached: tensors to be kept with each checkpoint.
    """

    def __init__(
        self,
        model: Any,
        parameters: Mapping[str, torch.nn.Parameter],
        objective: Objective,
        train: Sequence[Any],
        validation: Sequence[Any],
        recipe: Recipe,
        observer: Observer,
        resume: Checkpoint | None = None,
        *,
        names: Sequence[str] = (),
        cached: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        lengths = [objective.length(row) for row in train]
        self.recipe = recipe.fitted(sum(lengths), model.device.type)
        self._model, self._parameters, self._observer = model, parameters, observer
        self._train, self._validation, self._names = train, validation, names
        self._cached = dict(cached or {})
        self.plan = plan_steps(lengths, self.recipe)
        self._total_tokens = sum(step.tokens for step in self.plan)
        torch.manual_seed(recipe.seed)
        self._passes = Passes(model, parameters, objective)
        self.optimizer = MasterAdamW(parameters, recipe.weight_decay)
        self._course = Course()
        self._best: dict[str, torch.Tensor] = {}
        self._marks: list[tuple[float, int]] = []
        if resume is not None and resume.state.get("training") == self._fingerprint():
            self._restore(resume)

    @property
    def step(self) -> int:
        """Steps done; before `run` it is 0, or the step of the checkpoint."""
        return self._course.step

    @property
    def steps(self) -> int:
        """Steps planned."""
        return len(self.plan)

    @property
    def tokens(self) -> int:
        """Real tokens trained on so far, padding not counted."""
        return self._course.tokens

    @property
    def planned_tokens(self) -> int:
        """Real tokens of all steps."""
        return self._total_tokens

    def run(self) -> Outcome:
        """Train to the end, or until validation no longer improves.

        Raises:
            ModelError: LOSS_NOT_FINITE or LOSS_SPIKE with the step and its rows, OUT_OF_MEMORY with what to
            lower.
        """
        if not self._course.history and self._validation:
            self._course.history.append({"step": 0, **self._validate()})
        self._marks = [(time.perf_counter(), self._course.tokens)]
        stopped = self._enough()
        while self._course.step < len(self.plan) and not stopped:
            stopped = self._advance(self.plan[self._course.step])
        return self._outcome(stopped)

    def _advance(self, step: Step) -> bool:
        """One step with all that belongs to it; True where it is time to stop early."""
        course, recipe = self._course, self.recipe
        rate = learning_rate(course.step, len(self.plan), recipe)
        loss, others = self._passes.backward([self._train[index] for index in step.rows])
        norm = self.optimizer.step(rate, recipe.max_gradient_norm)
        course.check_loss(loss, norm, recipe.loss_spike_factor, self._named(step))
        course.step += 1
        course.tokens += step.tokens
        figures = {"loss": loss, "learning_rate": rate, "gradient_norm": norm, **others}
        if step.validate and self._validation:
            figures |= self._validate()
            if course.judge(figures["validation_loss"]):
                self._best = self._current()
        course.history.append({"step": course.step, "epoch": step.epoch, "tokens": course.tokens, **figures})
        self._tell(step, figures)
        stop = self._enough()
        if course.step % recipe.checkpoint_every_steps == 0 and course.step < len(self.plan) and not stop:
            self._observer.checkpointed(self._checkpoint())
        return stop

    def _validate(self) -> dict[str, float]:
        loss, others = self._passes.mean(self._validation, 2 * self.recipe.tokens_per_batch)
        return {"validation_loss": loss, **{f"validation_{name}": value for name, value in others.items()}}

    def _enough(self) -> bool:
        patience = self.recipe.early_stopping_patience
        return bool(patience) and self._course.misses >= patience

    def _named(self, step: Step) -> list[str]:
        return [self._names[index] if self._names else str(index) for index in step.rows]

    def _current(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    def _tell(self, step: Step, figures: Mapping[str, float]) -> None:
        self._marks = [*self._marks[-_RATE_STEPS:], (time.perf_counter(), self._course.tokens)]
        (first, before), (last, now) = self._marks[0], self._marks[-1]
        rate = (now - before) / max(last - first, 1e-9)
        left = self._total_tokens - self._course.tokens
        known = [entry["validation_loss"] for entry in self._course.history if "validation_loss" in entry]
        shown = {**({"validation_loss": known[-1]} if known else {}), **figures, "tokens_per_second": rate}
        shown |= {"step": self._course.step, "steps": len(self.plan), "tokens": self._course.tokens}
        shown["memory_bytes"] = memory_bytes(self._model.device.type)
        self._observer.stepped(self._course.tokens / self._total_tokens, step.epoch, left / rate, shown)

    def _outcome(self, stopped: bool) -> Outcome:
        course = self._course
        losses = [entry["loss"] for entry in course.history if "loss" in entry]
        metrics = {
            "steps": course.step,
            "planned_steps": len(self.plan),
            "tokens": course.tokens,
            "stopped_early": float(stopped),
            "training_loss": sum(losses[-5:]) / len(losses[-5:]),
            "parts_of_a_batch": self._passes.parts,
            "recomputed_activations": float(self._passes.recomputes),
        }
        if self._validation:
            metrics |= {
                f"initial_{name}": value for name, value in course.history[0].items() if name != "step"
            }
            best = next((entry for entry in course.history if entry["step"] == course.best_step), {})
            metrics |= {name: value for name, value in best.items() if name.startswith("validation_")}
            metrics["best_step"] = course.best_step
        return Outcome(self._best or self._current(), metrics, course.history)

    def _fingerprint(self) -> str:
        """Which training this is: a checkpoint of another one must not be continued."""
        shape = ",".join(
            f"{name}{tuple(parameter.shape)}" for name, parameter in sorted(self._parameters.items())[:4]
        )
        rows = f"{len(self._train)}|{len(self._validation)}|{self._total_tokens}"
        return f"{self.recipe.to_mapping()}|{rows}|{shape}"

    def _checkpoint(self) -> Checkpoint:
        tensors = {**self.optimizer.tensors(), "random/torch": torch.get_rng_state()}
        if self._model.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        tensors |= {f"cached/{name}": tensor for name, tensor in self._cached.items()}
        self._course.parts, self._course.recomputes = self._passes.parts, self._passes.recomputes
        return Checkpoint(tensors, {"training": self._fingerprint(), **self._course.to_state()})

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.optimizer.restore(checkpoint.tensors)
        torch.set_rng_state(checkpoint.tensors["random/torch"])
        if "random/cuda" in checkpoint.tensors:
            torch.cuda.set_rng_state(checkpoint.tensors["random/cuda"])
        self._best = checkpoint.part("best")
        self._course = Course.from_state(checkpoint.state)
        self._passes.parts = self._course.parts
        if self._course.recomputes:
            self._passes.recompute()
