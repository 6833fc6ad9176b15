"""A version that says labels or numbers of texts, loaded and ready to be asked.

    if is_classifier(version):                       # sartor_models.versions
        classifier = load_classifier(base, version)  # folders: the prepared base, the version's files
        for said in classifier.predict(["Where is my parcel?"]):
            said.labels, said.probabilities, said.value, said.tokens, said.truncated

Texts go in as they are: no chat template, no instruction. `said.probabilities` are calibrated, one a label
of `classifier.labels`; `said.labels` is the likeliest one (`single_label`), all above one half
(`multi_label`), or none, with `said.value` instead (`regression`). Any number of threads may ask at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sartor_models.load import load_model
from sartor_models.merge import merge_into
from sartor_models.output_layer import OutputLayer, Prediction, predict
from sartor_models.tokenizer import ChatTokenizer, load_tokenizer
from sartor_models.versions import is_adapter


@dataclass(frozen=True, slots=True)
class Classifier:
    """Model, tokenizer and output layer of one version."""

    model: Any
    tokenizer: ChatTokenizer
    layer: OutputLayer

    @property
    def kind(self) -> str:
        """single_label, multi_label or regression."""
        return self.layer.kind

    @property
    def labels(self) -> tuple[str, ...]:
        """What it can say; none for a regression."""
        return self.layer.labels

    @property
    def max_length(self) -> int:
        """Tokens of a text that are read, its end token included; what is longer is cut, as in training."""
        return min(self.layer.max_length, self.tokenizer.context_length)

    def predict(
        self,
        texts: Sequence[str],
        *,
        tokens_per_batch: int = 4096,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> list[Prediction]:
        """What the version says of each text, in their order."""
        return predict(
            self.model,
            self.tokenizer,
            self.layer,
            texts,
            max_length=self.max_length,
            tokens_per_batch=tokens_per_batch,
            progress=progress,
        )


def load_classifier(
    base: Path, version: Path, *, device: str = "cpu", dtype: torch.dtype | None = None
) -> Classifier:
    """The classifier of a version's folder over its base model's.

    An adapter is merged into the weights; full weights are read from the version, the base is not touched.
    Raises:
        ModelError: OUTPUT_LAYER_INVALID, ADAPTER_INVALID, or as `load.load_model`.
    """
    layer = OutputLayer.load(version)
    place = base if is_adapter(version) else version
    model = load_model(place, dtype, device=device)
    if is_adapter(version):
        merge_into(model, version)
    return Classifier(model, load_tokenizer(place), layer.to(device).eval())
