"""An adapter merged into a loaded model gives what the merged folder gives."""

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
