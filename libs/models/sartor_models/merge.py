"""Merge an adapter into its base model: one plain safetensors folder that any engine or converter can
read."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from sartor_models.errors import ModelError
from sartor_models.load import _check_folder
from sartor_models.low_rank import LowRank, read_adapter
from sartor_models.versions import own_text_files

_COPIED = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def merge(base: Path, adapter: Path, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write base + adapter into the empty `folder`; the products are made in float32 and rounded once.

    Args:
        dtype: of the weights written. float16 keeps three bits more of each weight than bfloat16 at the same
        size, which a
            later quantisation to 8 bits profits from; weights beyond its range are refused.
    Raises:
        ModelError: ADAPTER_INVALID where the adapter does not fit, WEIGHTS_OUT_OF_RANGE.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    _check_folder(base)
    folder.mkdir(parents=True, exist_ok=True)
    changes = read_adapter(adapter)
    unused = set(changes)
    for shard in sorted(base.glob("*.safetensors")):
        merged = {}
        with safe_open(shard, framework="pt") as handle:
            for name in sorted(handle.keys()):
                layer = name.removesuffix(".weight")
                weight = handle.get_tensor(name)
                if layer in unused:
                    unused.remove(layer)
                    weight = _merged(weight, changes[layer], name)
                merged[name] = _rounded(weight, dtype, name)
        save_file(merged, folder / shard.name, metadata={"format": "pt"})
    if unused:
        raise ModelError(
            f"The adapter changes layers that the base model lacks: {', '.join(sorted(unused)[:3])}.",
            reason="ADAPTER_INVALID",
        )
    _write_rest(base, folder, dtype)
    for name in own_text_files(adapter):  # a chat template that the base model lacks
        shutil.copyfile(adapter / name, folder / name)


@torch.no_grad()
def merge_into(model: Any, adapter: Path) -> None:
    """Add the adapter's change to the weights of a loaded plain model, in place, rounded once to its dtype.

    Raises:
        ModelError: ADAPTER_INVALID where the adapter does not fit.
    """
    parameters = dict(model.named_parameters())
    for layer, change in read_adapter(adapter).items():
        name = f"{layer}.weight"
        if name not in parameters:
            raise ModelError(
                f"The adapter changes a layer that the base model lacks: {name}.", reason="ADAPTER_INVALID"
            )
        weight = parameters[name]
        weight.copy_(_merged(weight, change, name))


def _merged(weight: torch.Tensor, change: LowRank, name: str) -> torch.Tensor:
    """W + scale * B A in float32; of DoRA its rows are brought to the learned lengths (Liu et al. 2024, eq.
    5)."""
    if change.shape != tuple(weight.shape):
        raise ModelError(
            f"The adapter's shape does not fit {name}: is it made for another base model?",
            reason="ADAPTER_INVALID",
        )
    a, b = (each.to(weight.device).float() for each in (change.a, change.b))
    changed = torch.addmm(weight.float(), b, a, alpha=change.scale)
    if change.lengths is None:
        return changed
    lengths = change.lengths.to(weight.device).float()
    merged: torch.Tensor = changed * (lengths / changed.norm(dim=1))[:, None]
    return merged


def _rounded(weight: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    if dtype == torch.float16 and weight.abs().max() > torch.finfo(torch.float16).max:
        raise ModelError(
            f"{name} does not fit into float16; merge into bfloat16.",
            reason="WEIGHTS_OUT_OF_RANGE",
            metadata={"tensor": name},
        )
    return weight.to(dtype).contiguous()


def _write_rest(base: Path, folder: Path, dtype: torch.dtype) -> None:
    for name in (*_COPIED, "model.safetensors.index.json"):
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
