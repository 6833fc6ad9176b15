"""The faster layers give the model library's results: outputs and gradients, in float32 to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora
from sartor_models.heads import hidden_states
from sartor_models.load import load_model
from sartor_training.methods.fast_layers import speed_up


def _model(tiny: Path, dtype: torch.dtype, **options: Any) -> Any:
    model = add_lora(load_model(tiny, dtype), LoraAdapter(rank=4, alpha=8.0, **options), seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in adapter_weights(model).items():
        if "lora_B" in name:
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.1).to(dtype)
    for layer in model.model.layers:
        layer.input_layernorm.weight.data.uniform_(0.5, 1.5, generator=generator)
    return model.train()


def _pass(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    states = hidden_states(model, ids)
    torch.manual_seed(3)
    (states.float() * torch.randn(states.shape)).sum().backward()
    taught = {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    return states.detach(), {name: gradient for name, gradient in taught.items() if gradient is not None}


def _same(tiny: Path, dtype: torch.dtype, tolerance: float, full: bool = False) -> None:
    ids = torch.randint(0, 300, (3, 17), generator=torch.Generator().manual_seed(2))
    slow, fast = _model(tiny, dtype), _model(tiny, dtype)
    if full:
        for model in (slow, fast):
            model.requires_grad_(True)
    speed_up(fast)
    (expected, wanted), (actual, gradients) = _pass(slow, ids), _pass(fast, ids)
    assert torch.allclose(expected.float(), actual.float(), atol=tolerance, rtol=tolerance)
    assert wanted.keys() == gradients.keys()
    for name, gradient in wanted.items():
        scale = gradient.float().abs().max().item() or 1.0
        assert (gradient.float() - gradients[name].float()).abs().max().item() <= tolerance * scale, name


def test_outputs_and_gradients_are_the_librarys(tiny: Path) -> None:
    _same(tiny, torch.float32, 2e-5)


def test_in_bfloat16_they_differ_by_rounding_only(tiny: Path) -> None:
    _same(tiny, torch.bfloat16, 6e-2)


def test_layers_that_read_the_same_input_are_one_product_that_holds_nothing_twice(tiny: Path) -> None:
    model = _model(tiny, torch.float32)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    speed_up(model)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    block = model.model.layers[0].self_attn
    storage = {
        getattr(block, name).base_layer.weight.untyped_storage().data_ptr()
        for name in ("q_proj", "k_proj", "v_proj")
    }
    assert len(storage) == 1
    assert hasattr(model.model.layers[0].mlp, "sartor_linears")


def test_dora_keeps_the_librarys_layers(tiny: Path) -> None:
    model = add_lora(load_model(tiny), LoraAdapter(rank=4, kind="dora"), seed=0)
    speed_up(model)
    assert "forward" not in vars(model.model.layers[0].self_attn.q_proj)


def test_where_all_weights_are_taught_every_one_gets_its_gradient(tiny: Path) -> None:
    _same(tiny, torch.float32, 2e-5, full=True)


def test_rows_beyond_the_longest_take_the_librarys_attention(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fast_layers", "fast_attention"):
        monkeypatch.setattr(f"sartor_training.methods.{name}.LONGEST_ROW", 4)
    _same(tiny, torch.float32, 2e-5)


def test_padding_on_the_right_changes_nothing(tiny: Path) -> None:
    model = _model(tiny, torch.float32)
    speed_up(model)
    ids = torch.randint(0, 300, (1, 9), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        alone = hidden_states(model, ids)
        padded = hidden_states(model, torch.cat([ids, torch.zeros(1, 5, dtype=torch.long)], 1))[:, :9]
    assert torch.allclose(alone, padded, atol=1e-5)


def test_a_layer_with_dropout_stays_as_it_is(tiny: Path) -> None:
    model = _model(tiny, torch.float32, dropout=0.1)
    speed_up(model)
    layer = model.model.layers[0].self_attn.q_proj
    assert "forward" not in vars(layer)
