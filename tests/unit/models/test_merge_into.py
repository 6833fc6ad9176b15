"""An adapter merged into a loaded model gives what the merged folder gives."""

import json

import torch
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
from sartor_models.load import load_model
from sartor_models.merge import merge, merge_into

from tests.tiny_model import make_tiny_model


def test_merging_in_memory_and_on_disk_agree(tmp_path):
    """Every weight is the same, so an evaluated model is the one that is exported."""
    base = make_tiny_model(tmp_path / "base")
    model = add_lora(load_model(base, torch.float32), LoraAdapter(rank=4, alpha=8), seed=3)
    for weight in adapter_weights(model).values():
        torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(1))
    save_adapter(
        tmp_path / "adapter", LoraAdapter(rank=4, alpha=8), adapter_weights(model), base_model="tiny"
    )
    merge(base, tmp_path / "adapter", tmp_path / "merged", dtype=torch.float32)
    loaded = load_model(base, torch.float32)
    before = loaded.model.layers[0].mlp.up_proj.weight.clone()
    merge_into(loaded, tmp_path / "adapter")
    expected = dict(load_model(tmp_path / "merged", torch.float32).named_parameters())
    assert not torch.equal(before, loaded.model.layers[0].mlp.up_proj.weight)
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, expected[name]), name


def test_ranks_and_scales_of_single_layers_are_merged_as_peft_reads_them(tmp_path):
    """rank_pattern, alpha_pattern, the root of rsLoRA: merged or apart, the model says the same."""
    base = make_tiny_model(tmp_path / "base")
    plain = LoraAdapter(rank=4, alpha=8, targets=("q_proj", "down_proj", "up_proj"), kind="rslora")
    model = add_lora(load_model(base, torch.float32), plain, seed=3)
    weights = dict(adapter_weights(model))
    for name, weight in weights.items():
        torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(len(name)))
        if "q_proj" in name:
            weights[name] = weight[:2] if "lora_A" in name else weight[:, :2]
    save_adapter(tmp_path / "adapter", plain, weights, base_model="tiny")
    file = tmp_path / "adapter" / "adapter_config.json"
    patterns = {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"layers.1.mlp.down_proj": 3, "up_proj": 16},
    }
    file.write_text(json.dumps({**json.loads(file.read_text()), **patterns}))
    tokens = torch.arange(3, 40)[None]
    apart = load_model(base, torch.float32, tmp_path / "adapter")(tokens).logits
    merged = load_model(base, torch.float32)
    without = merged(tokens).logits
    merge_into(merged, tmp_path / "adapter")
    assert not torch.allclose(without, apart, atol=0.1)
    assert torch.allclose(merged(tokens).logits, apart, atol=1e-4)
