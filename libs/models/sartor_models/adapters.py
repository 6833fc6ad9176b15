"""Low-rank adapters in peft's format: put on a model, and written in safetensors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """LoRA (Hu et al. 2021): W + alpha/rank * B A. `targets` are names of linear layers.

    `kind` is lora; rslora (Kalajdzievski 2023), which divides by the root of the rank; or dora (Liu et al.
    2024),
    which also learns the length of each of the weight's rows.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEARS
    kind: str = "lora"


def add_lora(model: Any, adapter: LoraAdapter, seed: int) -> Any:
    """`model` with trainable LoRA weights in its own dtype and everything else frozen. B begins at zero: no
    change yet."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,  # a float is fine
        lora_dropout=adapter.dropout,
        bias="none",
        target_modules=list(adapter.targets),
        task_type="CAUSAL_LM",
        use_rslora=adapter.kind == "rslora",
        use_dora=adapter.kind == "dora",
    )
    return get_peft_model(model, config, autocast_adapter_dtype=False).get_base_model()


def adapter_weights(model: Any) -> dict[str, torch.nn.Parameter]:
    """The adapter's parameters by their name in the model."""
    return {name: parameter for name, parameter in model.named_parameters() if ".lora_" in name}


def save_adapter(
    folder: Path, adapter: LoraAdapter, weights: Mapping[str, torch.Tensor], *, base_model: str
) -> None:
    """Write `weights` (as `adapter_weights` names them) so that peft, vLLM and llama.cpp's converter can
    read them.

    Args:
        base_model: what adapter_config.json names as the base; a name, never a path of this machine.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {_stored_name(name): tensor.detach().contiguous().cpu() for name, tensor in weights.items()}
    save_file(dict(sorted(tensors.items())), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": adapter.dropout,
        "target_modules": sorted(adapter.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": adapter.kind == "rslora",
        "use_dora": adapter.kind == "dora",
    }
    (folder / "adapter_config.json").write_text(
        json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def _stored_name(name: str) -> str:
    """A parameter's name in an adapter's file: without the adapter's own name, and a magnitude is no module
    there."""
    stored = f"base_model.model.{name.replace('.default', '')}"
    return stored.removesuffix(".weight") if "lora_magnitude_vector" in stored else stored
