"""An adapter as llama.cpp reads it: names, order of rows, scales; and what cannot be one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sartor_deployment.build.adapter_gguf import check_belongs, why_not_shareable, write_adapter
from sartor_deployment.build.gguf_file import read_gguf
from sartor_deployment.build.weights import build
from sartor_deployment.resources import EngineSettings
from sartor_deployment.targets.engine_memory import need
from sartor_models.gguf_import import _unpermuted
from sartor_platform.errors import DataLoss, FailedPrecondition, SartorError

LAYERS = {"self_attn.q_proj": (8, 8), "self_attn.k_proj": (4, 8), "mlp.down_proj": (8, 16)}
"""[out, in]: two heads of four, one group."""


def base_file(path: Path, architecture: str = "llama", layers: int = 2, inner: int = 16) -> Path:
    """A base model's GGUF file with these layers."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(layers)
    writer.add_embedding_length(8)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    for layer in range(layers):
        for name, shape in (("attn_q", (8, 8)), ("attn_k", (4, 8)), ("ffn_down", (8, inner))):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.zeros(shape, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def adapter_folder(folder: Path, config: dict[str, Any] | None = None, rank: int = 2) -> Path:
    """An adapter in peft's format on these layers."""
    folder.mkdir()
    torch.manual_seed(1)
    weights = {}
    for layer in range(2):
        for name, (out, size) in LAYERS.items():
            stem = f"base_model.model.model.layers.{layer}.{name}"
            weights[f"{stem}.lora_A.weight"] = torch.randn(rank, size)
            weights[f"{stem}.lora_B.weight"] = torch.randn(out, rank)
    save_file(weights, folder / "adapter_model.safetensors")
    plain = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**plain, **(config or {})}))
    return folder


def written(version: Path, base: Path, to: Path) -> tuple[dict[str, Any], float]:
    """The tensors of the adapter's file, and its alpha."""
    write_adapter(version, base, to)
    reader = gguf.GGUFReader(to)
    tensors = {each.name: np.asarray(each.data, dtype=np.float32) for each in reader.tensors}
    field = reader.get_field("adapter.lora.alpha")
    assert field is not None
    return tensors, float(field.contents())


@pytest.mark.parametrize(("architecture", "interleaved"), [("llama", True), ("qwen2", False)])
def test_queries_and_keys_are_in_the_order_of_the_base(
    tmp_path: Path, architecture: str, interleaved: bool
) -> None:
    """A Llama's rotary halves are interleaved in GGUF, a Qwen's are not; other layers are as they were."""
    version = adapter_folder(tmp_path / "v")
    base = base_file(tmp_path / "base.gguf", architecture)
    tensors, alpha = written(version, base, tmp_path / "adapter.gguf")
    torch.manual_seed(1)
    for layer in range(2):
        for name, heads in (("attn_q", 2), ("attn_k", 1), ("ffn_down", 0)):
            out, size = LAYERS[
                {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj"}.get(name, "mlp.down_proj")
            ]
            a, b = torch.randn(2, size).numpy(), torch.randn(out, 2).numpy()
            stored = tensors[f"blk.{layer}.{name}.weight.lora_b"]
            in_order = _unpermuted(stored, heads) if interleaved and heads else stored
            assert np.allclose(in_order, b, atol=1e-2)
            assert np.allclose(tensors[f"blk.{layer}.{name}.weight.lora_a"], a, atol=1e-2)
    assert alpha == 8
    check_belongs(read_gguf(tmp_path / "adapter.gguf"), read_gguf(base))


def test_scales_that_differ_are_in_the_matrices(tmp_path: Path) -> None:
    """llama.cpp knows one alpha; 0 says that each B has its own scale already."""
    version = adapter_folder(tmp_path / "v", {"alpha_pattern": {"layers.1.mlp.down_proj": 2}})
    tensors, alpha = written(version, base_file(tmp_path / "b.gguf", "qwen2"), tmp_path / "a.gguf")
    assert alpha == 0
    torch.manual_seed(1)
    drawn = [(torch.randn(2, size), torch.randn(out, 2)) for _ in range(2) for out, size in LAYERS.values()]
    assert np.allclose(tensors["blk.0.attn_q.weight.lora_b"], 8 / 2 * drawn[0][1].numpy(), atol=1e-2)
    assert np.allclose(tensors["blk.1.ffn_down.weight.lora_b"], 2 / 2 * drawn[5][1].numpy(), atol=1e-2)


def test_what_is_too_large_for_sixteen_bits_has_more(tmp_path: Path) -> None:
    """No matrix becomes infinite."""
    version = adapter_folder(tmp_path / "v", {"lora_alpha": 1e6, "alpha_pattern": {"k_proj": 1}})
    tensors, _ = written(version, base_file(tmp_path / "b.gguf", "qwen2"), tmp_path / "a.gguf")
    assert all(np.isfinite(each).all() for each in tensors.values())


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "lora_only"}, "biases"),
        ({"modules_to_save": ["embed_tokens"]}, "embed_tokens"),
        (None, "full weights"),
    ],
)
def test_versions_that_cannot_share_a_base_are_refused_with_the_setting_to_change(
    tmp_path: Path, config: dict[str, Any] | None, why: str
) -> None:
    """Before anything is converted."""
    version = adapter_folder(tmp_path / "v", config)
    if config is None:
        (version / "adapter_config.json").unlink()
    assert why in why_not_shareable(version)
    task = {"base": "-", "version": str(version), "quantization": "Q8_0", "converter": "-"}
    with pytest.raises(FailedPrecondition, match="weights: merged") as caught:
        build({**task, "weights_form": "SHARED_BASE"}, tmp_path, lambda *_, **__: None)  # type: ignore[arg-type]
    assert caught.value.reason == "ADAPTER_NOT_SHAREABLE"


@pytest.mark.parametrize(
    ("other", "what"),
    [({"layers": 1}, "no "), ({"inner": 32}, "32"), ({"architecture": "qwen3"}, "architecture")],
)
def test_an_adapter_of_another_base_is_told_apart_before_an_engine_starts(
    tmp_path: Path, other: dict[str, Any], what: str
) -> None:
    """By name, shape or architecture; when it is written, and when it is started."""
    version = adapter_folder(tmp_path / "v")
    base, another = base_file(tmp_path / "base.gguf"), base_file(tmp_path / "other.gguf", **other)
    write_adapter(version, base, tmp_path / "adapter.gguf")
    with pytest.raises(FailedPrecondition, match=what) as caught:
        need(another, EngineSettings(), tmp_path / "adapter.gguf")
    assert caught.value.reason == "ADAPTER_MISMATCH"
    with pytest.raises(FailedPrecondition, match="is no adapter"):
        need(base, EngineSettings(), base)
    if "architecture" not in other:  # the names of both architectures are the same
        with pytest.raises(FailedPrecondition) as caught:
            write_adapter(version, another, tmp_path / "a.gguf")
        assert caught.value.reason == "ADAPTER_MISMATCH"


def test_an_adapter_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """As an engine's file, and as a version's."""
    version = adapter_folder(tmp_path / "v")
    base, adapter = base_file(tmp_path / "base.gguf"), tmp_path / "adapter.gguf"
    write_adapter(version, base, adapter)
    adapter.write_bytes(adapter.read_bytes()[:-40])
    with pytest.raises(DataLoss, match="adapter is no whole GGUF") as caught:
        need(base, EngineSettings(), adapter)
    assert caught.value.reason == "GGUF_CORRUPT"
    lonely = {"base_model.model.model.layers.0.mlp.down_proj.lora_A.weight": torch.ones(2, 16)}
    save_file(lonely, version / "adapter_model.safetensors")
    with pytest.raises(SartorError) as invalid:
        write_adapter(version, base, adapter)
    assert invalid.value.reason == "ADAPTER_INVALID"
