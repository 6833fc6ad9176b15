"""A LoRA adapter as llama.cpp reads it beside its base model's GGUF file: GGUF of type "adapter".

Per changed tensor `T` of the base there are `T.lora_a` [rank, in] and `T.lora_b` [out, rank]; llama.cpp adds
alpha / rank * B A x where alpha is one number for the file, or B A x where it is 0. Which tensors there are,
and their shapes, is read from the base file itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor_platform.errors import FailedPrecondition

from sartor_deployment.build.gguf_file import GgufFile, read_gguf

if TYPE_CHECKING:
    import torch
    from sartor_models.low_rank import LowRank

_ROTARY_INTERLEAVED = frozenset({"llama", "smollm3"})
"""Where llama.cpp stores queries and keys with the two rotary halves of each head interleaved."""
_LARGEST_HALF = 65504.0


def why_not_shareable(version: Path) -> str:
    """Why a version cannot be served as an adapter on a shared base, in a few words; "" where it can be."""
    if (version / "output_layer.json").exists():
        return "it says labels or numbers, and is not served by llama.cpp"
    config_file = version / "adapter_config.json"
    if not config_file.exists():
        return "it holds full weights, not an adapter"
    config: Mapping[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
    if config.get("use_dora"):
        return "llama.cpp does not read DoRA's lengths of rows"
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        return "it changes biases, which llama.cpp's adapters have no place for"
    trained_whole = config.get("modules_to_save") or config.get("trainable_token_indices")
    if trained_whole:
        return f"it trains whole layers beside its matrices: {', '.join(map(str, trained_whole))}"
    return ""


def write_adapter(version: Path, base: Path, to: Path) -> None:
    """Write the adapter in the folder `version` (peft's format) for the base model's GGUF file `base`.

    Raises:
        FailedPrecondition: ADAPTER_NOT_SHAREABLE: llama.cpp cannot read such an adapter;
            ADAPTER_INVALID: it cannot be read; ADAPTER_MISMATCH: it is of another base model.
    """
    import gguf
    from sartor_models.errors import ModelError
    from sartor_models.low_rank import read_adapter

    why = why_not_shareable(version)
    if why:
        raise not_shareable(why)
    try:
        changes = read_adapter(version)
    except ModelError as error:
        raise FailedPrecondition(str(error), reason=error.reason, metadata=error.metadata) from error
    told = read_gguf(base)
    architecture = str(told.keys["general.architecture"])
    names = _tensor_names(architecture, changes, told)
    alpha = _alpha(changes)
    writer = gguf.GGUFWriter(to, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for layer, change in changes.items():
        b = change.b.float() if alpha else change.b.float() * change.scale
        if architecture in _ROTARY_INTERLEAVED:
            b = _interleaved(b, layer, told)
        writer.add_tensor(f"{names[layer]}.lora_a", _stored(change.a.float()))
        writer.add_tensor(f"{names[layer]}.lora_b", _stored(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_belongs(adapter: GgufFile, base: GgufFile) -> None:
    """Whether an adapter's file is one for this base's file, by what both say of themselves.

    Raises:
        FailedPrecondition: ADAPTER_MISMATCH, with what does not fit.
    """
    if adapter.keys.get("general.type") != "adapter":
        raise _mismatch("the file is no adapter")
    ours, theirs = (str(each.keys.get("general.architecture", "")) for each in (adapter, base))
    if ours != theirs:
        raise _mismatch(f"it is for a model of architecture {ours}, the base is {theirs}")
    for name, shape in adapter.shapes.items():
        changed, _, part = name.rpartition(".lora_")
        weight = base.shapes.get(changed)
        if weight is None:
            raise _mismatch(f"the base has no {changed or name}")
        at = 0 if part == "a" else 1
        if len(shape) != 2 or shape[at] != weight[at]:
            raise _mismatch(f"{name} is {shape}, which does not fit the base's {weight}")


def not_shareable(why: str) -> FailedPrecondition:
    """The error that says so, and what to do."""
    return FailedPrecondition(
        f"this version cannot be served as an adapter on a shared base: {why}; set `weights: merged` (or"
        " `auto`) in the project file's deployment",
        reason="ADAPTER_NOT_SHAREABLE",
    )


def _mismatch(what: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the adapter is of another base model: {what}; deploy the version again: then both are built anew",
        reason="ADAPTER_MISMATCH",
    )


def _tensor_names(architecture: str, changes: Mapping[str, LowRank], base: GgufFile) -> dict[str, str]:
    """The base file's name of each changed weight, which has the shape that the change has."""
    import gguf

    known = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    if architecture not in known:
        raise not_shareable(f"architecture {architecture} is not known to the gguf package")
    mapped = gguf.get_tensor_name_map(known[architecture], base.layers)
    names = {}
    for layer, change in changes.items():
        stem = mapped.get_name(layer)
        shape = base.shapes.get(f"{stem}.weight")
        if stem is None or shape is None:
            raise _mismatch(f"the base has no {layer}")
        if shape != change.shape[::-1]:
            raise _mismatch(f"{layer} is {shape[::-1]} there, the adapter changes {change.shape}")
        names[layer] = f"{stem}.weight"
    return names


def _alpha(changes: Mapping[str, LowRank]) -> float:
    """The one alpha of all layers; 0 where they differ: then each B is multiplied with its own scale."""
    found = {change.scale * change.rank for change in changes.values()}
    return found.pop() if len(found) == 1 else 0.0


def _interleaved(b: torch.Tensor, layer: str, base: GgufFile) -> torch.Tensor:
    """Rows of B in llama.cpp's order, where the layer makes queries or keys."""
    heads = {"q_proj": "attention.head_count", "k_proj": "attention.head_count_kv"}.get(
        layer.rpartition(".")[2]
    )
    if heads is None:
        return b
    count = base.own(heads) or base.own("attention.head_count")
    rows = b.shape[0]
    return b.reshape(count, 2, rows // count // 2, -1).swapaxes(1, 2).reshape(rows, -1)


def _stored(matrix: torch.Tensor) -> Any:
    """In sixteen bits, unless that is too narrow."""
    fits = bool(matrix.abs().max() <= _LARGEST_HALF)
    return matrix.contiguous().numpy().astype("float16" if fits else "float32")
