"""A model's output layer for labels or numbers instead of words: what it says of a text, and how it is
kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sartor_models.batches import length_bucketed, padded
from sartor_models.errors import ModelError
from sartor_models.heads import hidden_states
from sartor_models.tokenizer import ChatTokenizer

KINDS = ("single_label", "multi_label", "regression")
LABEL_SEPARATOR = "|"
_WEIGHTS, _DESCRIPTION = "output_layer.safetensors", "output_layer.json"
_FORMAT = 1
_MAX_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of a text. `probabilities` has one entry a label; a regression has none.

    `tokens` were read of the text; the rest was cut where it is `truncated`.
    """

    labels: tuple[str, ...]
    probabilities: dict[str, float]
    value: float | None = None
    tokens: int = 0
    truncated: bool = False


class OutputLayer(torch.nn.Module):
    """A linear layer in float32 on the state of a text's last token.

    Args:
        labels: in the order of the outputs; none for a regression.
        temperature: divides the scores before they become probabilities.
        mean, scale: of the numbers that a regression was taught, which it learns in standard units.
        max_length: tokens of a text that it was taught on; a longer one is cut.
    """

    def __init__(
        self,
        kind: str,
        labels: tuple[str, ...],
        width: int,
        *,
        temperature: float = 1.0,
        mean: float = 0.0,
        scale: float = 1.0,
        max_length: int = _MAX_LENGTH,
    ) -> None:
        super().__init__()
        self.kind, self.labels, self.temperature = kind, labels, temperature
        self.mean, self.scale, self.max_length = mean, scale, max_length
        self.outputs = len(labels) or 1
        self.weight = torch.nn.Parameter(torch.randn(self.outputs, width) * width**-0.5 * 0.1)
        self.bias = torch.nn.Parameter(torch.zeros(self.outputs))

    def forward(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Scores [rows, outputs] of `states` [rows, tokens, width], padded on the right to `lengths`."""
        last = states[torch.arange(len(states), device=states.device), lengths - 1].float()
        return torch.nn.functional.linear(last, self.weight, self.bias)

    def target(self, label: str | float) -> tuple[float, ...] | None:
        """What the outputs should be for a label, for labels joined by "|", or for a number; None for labels
        that are not known."""
        if isinstance(label, float):
            return ((label - self.mean) / self.scale,)
        if self.kind == "single_label":
            return (float(self.labels.index(label.strip())),) if label.strip() in self.labels else None
        found = {part.strip() for part in label.split(LABEL_SEPARATOR) if part.strip()}
        return tuple(float(name in found) for name in self.labels) if found <= set(self.labels) else None

    def words(self, target: Sequence[float]) -> str:
        """A target as people read it."""
        if self.kind == "regression":
            return f"{target[0] * self.scale + self.mean:g}"
        if self.kind == "single_label":
            return self.labels[int(target[0])]
        return (
            LABEL_SEPARATOR.join(name for name, on in zip(self.labels, target, strict=True) if on) or "none"
        )

    def take_over(self, earlier: "OutputLayer") -> None:
        """Begin with the weights of an earlier version's layer.

        Raises:
            ModelError: LABELS_CHANGED.
        """
        if (earlier.kind, earlier.labels, earlier.weight.shape) != (
            self.kind,
            self.labels,
            self.weight.shape,
        ):
            raise ModelError(
                "The earlier version's output layer knows other labels "
                f"({', '.join(earlier.labels) or earlier.kind}); train anew, without start_from.",
                reason="LABELS_CHANGED",
            )
        self.mean, self.scale = earlier.mean, earlier.scale
        with torch.no_grad():
            self.weight.copy_(earlier.weight)
            self.bias.copy_(earlier.bias)

    def predictions(self, scores: torch.Tensor) -> list[Prediction]:
        """What scores mean, with calibrated probabilities."""
        if self.kind == "regression":
            return [Prediction((), {}, value * self.scale + self.mean) for value in scores[:, 0].tolist()]
        scores = scores / self.temperature
        single = self.kind == "single_label"
        found = []
        for row in (torch.softmax(scores, 1) if single else torch.sigmoid(scores)).tolist():
            known = dict(zip(self.labels, row, strict=True))
            best = max(known, key=lambda name: known[name])
            labels = (best,) if single else tuple(name for name, share in known.items() if share > 0.5)
            found.append(Prediction(labels, known))
        return found

    def save(self, folder: Path) -> None:
        """Write weights and description beside a model's or an adapter's files."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})
        description = {
            "format": _FORMAT,
            "kind": self.kind,
            "labels": list(self.labels),
            "temperature": self.temperature,
            "mean": self.mean,
            "scale": self.scale,
            "width": self.weight.shape[1],
            "max_length": self.max_length,
        }
        text = json.dumps(description, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / _DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "OutputLayer":
        """The layer of a version's folder.

        Raises:
            ModelError: OUTPUT_LAYER_INVALID.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            told = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
            if told["format"] != _FORMAT or told["kind"] not in KINDS:
                raise ValueError(f"format {told['format']} of kind {told['kind']!r} is not known")
            layer = cls(
                told["kind"],
                tuple(str(name) for name in told["labels"]),
                int(told["width"]),
                temperature=float(told["temperature"]),
                mean=float(told["mean"]),
                scale=float(told["scale"]),
                max_length=int(told.get("max_length", _MAX_LENGTH)),
            )
            layer.load_state_dict(load_file(folder / _WEIGHTS))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"The output layer of {folder.name} is unreadable: {error}", reason="OUTPUT_LAYER_INVALID"
            ) from error
        return layer


def text_ids(tokenizer: ChatTokenizer, text: str, max_length: int) -> tuple[tuple[int, ...], bool]:
    """Token ids of a text with an end token, on whose state the layer stands; and whether it was cut."""
    ids = tokenizer.encode(text)
    end = tokenizer.eos_ids[:1]
    room = max_length - len(end)
    return (*ids[:room], *end), len(ids) > room


@torch.no_grad()
def predict(
    model: Any,
    tokenizer: ChatTokenizer,
    layer: OutputLayer,
    texts: Sequence[str],
    *,
    max_length: int | None = None,
    tokens_per_batch: int = 4096,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[Prediction]:
    """What a loaded model with its adapter says of each text, in their order.

    Args:
        max_length: tokens that are read of each; as many as the layer was taught on where none is given.
    """
    longest = min(max_length or layer.max_length, tokenizer.context_length)
    rows = [text_ids(tokenizer, text, longest) for text in texts]
    scores = torch.zeros(len(rows), layer.outputs)
    done = 0
    for batch in length_bucketed([len(ids) for ids, _ in rows], tokens_per_batch):
        ids, mask = padded([rows[index][0] for index in batch], 0)
        states = hidden_states(model, ids.to(model.device))
        scores[batch] = layer(states, mask.sum(1).to(states.device)).cpu()
        done += len(batch)
        progress(done / len(rows))
    said = layer.predictions(scores)
    return [replace(one, tokens=len(ids), truncated=cut) for one, (ids, cut) in zip(said, rows, strict=True)]
