"""A LoRA adapter's file read back: the two matrices of each layer it changes, and by how much they count."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sartor_models.errors import ModelError
from sartor_models.load import _check_adapter

_PREFIX = "base_model.model."
_A, _B, _LENGTHS = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"


@dataclass(frozen=True, slots=True)
class LowRank:
    """The change of one layer's weight W: `scale` * B A. a: [rank, in], b: [out, rank].

    `lengths` [out] are what DoRA learns: the rows of W + scale * B A are brought to them.
    """

    a: torch.Tensor
    b: torch.Tensor
    scale: float
    lengths: torch.Tensor | None = None

    @property
    def rank(self) -> int:
        """Rows of a."""
        return int(self.a.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight it changes."""
        return int(self.b.shape[0]), int(self.a.shape[1])


def read_adapter(adapter: Path) -> dict[str, LowRank]:
    """What a LoRA, rsLoRA or DoRA adapter in peft's format changes, by the layer's name in the model.

    Raises:
        ModelError: ADAPTER_INVALID: files missing, another kind of adapter, or tensors that are no such
            matrices.
    """
    from safetensors import safe_open

    _check_adapter(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("fan_in_fan_out"):
        raise _invalid("its matrices are transposed (fan_in_fan_out)")
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as handle:
        tensors = {name: handle.get_tensor(name) for name in sorted(handle.keys())}
    read = {
        name.removesuffix(_A).removeprefix(_PREFIX): _low_rank(name.removesuffix(_A), tensors, config)
        for name in list(tensors)
        if name.endswith(_A)
    }
    if tensors:
        raise _invalid(f"it holds {min(tensors)}, which is no part of LoRA, rsLoRA or DoRA")
    return read


def _low_rank(stem: str, tensors: dict[str, torch.Tensor], config: Mapping[str, Any]) -> LowRank:
    """Takes the layer's tensors out of `tensors`."""
    a, b = tensors.pop(stem + _A), tensors.pop(stem + _B, None)
    layer = stem.removeprefix(_PREFIX)
    if b is None or a.ndim != 2 or b.ndim != 2 or b.shape[1] != a.shape[0]:
        raise _invalid(f"its matrices of {layer} do not belong together")
    alpha = float(_of_pattern(config.get("alpha_pattern") or {}, layer, config["lora_alpha"]))
    rank = int(a.shape[0])
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    return LowRank(a, b, scale, tensors.pop(stem + _LENGTHS, None))


def _of_pattern(patterns: Mapping[str, Any], layer: str, otherwise: Any) -> Any:
    """The value of the first pattern that the end of a layer's name matches, as peft reads them."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", layer)), otherwise)


def _invalid(why: str) -> ModelError:
    return ModelError(f"This adapter cannot be read: {why}.", reason="ADAPTER_INVALID")
