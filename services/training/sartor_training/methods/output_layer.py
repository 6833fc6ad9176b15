"""A new output layer: instead of the next word the model says a label, several labels, or a number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sartor_models.batches import length_bucketed, padded
from sartor_models.errors import ModelError
from sartor_models.heads import hidden_states
from sartor_models.output_layer import LABEL_SEPARATOR, OutputLayer, text_ids
from sartor_models.packed_rows import packed_states, packs
from sartor_models.tokenizer import ChatTokenizer, load_tokenizer

from sartor_training.methods.calibration import calibration_error, fit_temperature
from sartor_training.methods.method import Audit, Prepared, Sources
from sartor_training.methods.rows import Rows, read_rows, spread, validation_sample
from sartor_training.methods.taught_model import Save, load_weights, saver, taught_model
from sartor_training.recipe import Recipe

_PREFIX = "output_layer."
_BATCH_TOKENS = 4096
_MOST_LABELS = 1000


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A text and what is to be said of it: the number of its label, 0 or 1 for each label, or the number in
    standard units. `weight` is how much it counts."""

    ids: tuple[int, ...]
    target: tuple[float, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class OutputLayerLoss:
    """Cross-entropy of one label, binary cross-entropy of each of several, or squared error of a number."""

    model: Any
    layer: OutputLayer

    def length(self, row: LabelledRow) -> int:
        """Tokens of the text."""
        return len(row.ids)

    def positions(self, row: LabelledRow) -> float:
        """The row's weight."""
        return row.weight

    def scores(self, rows: Sequence[LabelledRow]) -> torch.Tensor:
        """float32 [rows, outputs]: before any softmax."""
        if packs(self.model):
            every = packed_states(self.model, [row.ids for row in rows])
            lengths = torch.tensor([len(row.ids) for row in rows], device=every.device)
            last: torch.Tensor = self.layer(every[lengths.cumsum(0) - 1][:, None], torch.ones_like(lengths))
            return last
        ids, mask = padded([row.ids for row in rows], 0)
        states = hidden_states(self.model, ids.to(self.model.device))
        found: torch.Tensor = self.layer(states, mask.sum(1).to(states.device))
        return found

    def loss(self, rows: Sequence[LabelledRow]) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Also `accuracy` (all labels of a row right), or `error`: the mean absolute one in the data's
        unit."""
        scores = self.scores(rows)
        target = torch.tensor([row.target for row in rows], device=scores.device)
        weight = torch.tensor([row.weight for row in rows], device=scores.device)
        functional = torch.nn.functional
        if self.layer.kind == "single_label":
            wanted = target[:, 0].long()
            each = functional.cross_entropy(scores, wanted, reduction="none")
            right = scores.argmax(1) == wanted
        elif self.layer.kind == "multi_label":
            each = functional.binary_cross_entropy_with_logits(scores, target, reduction="none").mean(1)
            right = ((scores > 0) == (target > 0.5)).all(1)
        else:
            each = (scores - target).square()[:, 0]
            error = ((scores - target).abs()[:, 0] * weight).sum() / weight.sum()
            return (each * weight).sum() / weight.sum(), {"error": error.item() * self.layer.scale}
        accuracy = (right.float() * weight).sum() / weight.sum()
        return (each * weight).sum() / weight.sum(), {"accuracy": accuracy.item()}


def prepare(sources: Sources, recipe: Recipe, device: str, cached: Mapping[str, torch.Tensor]) -> Prepared:
    """Labelled records. The set of labels is that of the training split and travels with the version.

    Raises:
        ModelError: LABELS_UNUSABLE, LABELS_CHANGED where an earlier version knows others.
    """
    tokenizer = load_tokenizer(sources.base)
    length = min(recipe.max_length, tokenizer.context_length)
    found = [
        (row["record_key"], row["text"] or _asked(row), row["label"])
        for row in read_rows(sources.data, "train", ["text", "label", "messages"])
        if row["kind"] == "labelled"
    ]
    model, parameters = taught_model(sources, recipe, device)
    layer = _layer(sources, recipe, [label for _, _, label in found], model.config.hidden_size)
    layer.max_length = length
    train = _balanced(_rows(tokenizer, found, layer, length), layer, recipe)
    held_out = [
        (row["record_key"], row["text"] or _asked(row), row["label"])
        for row in read_rows(sources.data, "validation", ["text", "label", "messages"])
        if row["kind"] == "labelled"
    ]
    validation = validation_sample(_rows(tokenizer, held_out, layer, length), train.tokens, recipe.seed)
    layer.to(device)
    parameters |= {f"{_PREFIX}{name}": parameter for name, parameter in layer.named_parameters()}
    objective = OutputLayerLoss(model, layer)
    return Prepared(
        recipe=recipe,
        model=model,
        parameters=parameters,
        objective=objective,
        train=train.rows,
        validation=validation.rows,
        names=train.names,
        audit=Audit(
            rows=len(found),
            tokens=train.tokens,
            supervised_tokens=len(train.rows),
            cut=train.cut,
            without_labels=train.useless,
            samples=[
                [(tokenizer.decode(row.ids), False), (f" → {layer.words(row.target)}", True)]
                for row in spread(train.rows, 3)
            ],
        ),
        save=_calibrated(saver(sources, recipe), objective, parameters, validation.rows),
    )


def _asked(row: Mapping[str, Any]) -> str:
    turns = [turn["content"] for turn in row["messages"] or [] if turn["role"] == "user"]
    return turns[-1] if turns else ""


def _layer(sources: Sources, recipe: Recipe, labels: Sequence[str], width: int) -> OutputLayer:
    if not labels:
        raise ModelError(
            "There are no labelled records in the training split. An output layer learns from records of "
            "kind labelled: map a text and a label.",
            reason="LABELS_UNUSABLE",
        )
    torch.manual_seed(recipe.seed)
    if recipe.output_layer == "regression":
        values = [_number(label) for label in labels]
        mean = sum(values) / len(values)
        scale = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)) or 1.0
        layer = OutputLayer("regression", (), width, mean=mean, scale=scale)
    else:
        split = recipe.output_layer == "multi_label"
        known = {part for label in labels for part in (label.split(LABEL_SEPARATOR) if split else [label])}
        names = tuple(sorted(name.strip() for name in known if name.strip()))
        if not (split or len(names) > 1) or not 0 < len(names) <= _MOST_LABELS:
            raise ModelError(
                f"The training split has {len(names)} different labels; an output layer needs 2 to "
                f"{_MOST_LABELS}. For numbers write output_layer: regression.",
                reason="LABELS_UNUSABLE",
            )
        layer = OutputLayer(recipe.output_layer, names, width)
    if sources.start is not None:
        layer.take_over(OutputLayer.load(sources.start))
    return layer


def _number(label: str) -> float:
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ModelError(
            f"The label {label!r} is no number. For words write output_layer: single_label.",
            reason="LABELS_UNUSABLE",
            metadata={"label": label},
        )
    return value


def _rows(
    tokenizer: ChatTokenizer, found: Sequence[tuple[str, str, str]], layer: OutputLayer, length: int
) -> Rows:
    rows, names = [], []
    cut = useless = 0
    for name, text, label in found:
        target = layer.target(_number(label) if layer.kind == "regression" else label)
        if target is None or not text.strip():
            useless += 1
            continue
        ids, shortened = text_ids(tokenizer, text, length)
        cut += shortened
        rows.append(LabelledRow(ids, target))
        names.append(name)
    return Rows(tuple(rows), cut, useless, tuple(names))


def _balanced(rows: Rows, layer: OutputLayer, recipe: Recipe) -> Rows:
    """Rows weighted so that every label counts the same in all; the mean weight stays 1."""
    if not recipe.balance_labels or layer.kind == "regression":
        return rows
    counts = Counter(row.target for row in rows.rows)
    share = len(rows.rows) / len(counts)
    weighted = tuple(LabelledRow(row.ids, row.target, share / counts[row.target]) for row in rows.rows)
    return Rows(weighted, rows.cut, rows.useless, rows.names)


def _calibrated(
    save: Save,
    objective: OutputLayerLoss,
    parameters: Mapping[str, torch.nn.Parameter],
    validation: Sequence[LabelledRow],
) -> Save:
    """Also fits the temperature on the validation rows, and writes the layer."""

    def saved(weights: Mapping[str, torch.Tensor], folder: Path) -> Mapping[str, float]:
        load_weights(parameters, weights)
        figures = dict(_calibrate(objective, validation))
        figures |= save({n: w for n, w in weights.items() if not n.startswith(_PREFIX)}, folder)
        objective.layer.save(folder)
        return figures

    return saved


@torch.no_grad()
def _calibrate(objective: OutputLayerLoss, rows: Sequence[LabelledRow]) -> Mapping[str, float]:
    layer = objective.layer
    if layer.kind == "regression" or not rows:
        return {}
    objective.model.eval()
    scores = torch.zeros(len(rows), layer.outputs)
    for batch in length_bucketed([len(row.ids) for row in rows], _BATCH_TOKENS):
        scores[batch] = objective.scores([rows[index] for index in batch]).cpu()
    target = torch.tensor([row.target for row in rows])
    layer.temperature = fit_temperature(scores, target, layer.kind)
    return {
        "temperature": layer.temperature,
        "initial_calibration_error": calibration_error(scores, target, layer.kind),
        "calibration_error": calibration_error(scores / layer.temperature, target, layer.kind),
    }
