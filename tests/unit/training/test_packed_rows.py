"""Rows packed behind one another give what rows padded beside one another give: losses and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora
from sartor_models.chat_format import ChatTokens
from sartor_models.load import load_model
from sartor_models.output_layer import OutputLayer
from sartor_models.packed_rows import pack_rows, packs
from sartor_training.methods.dpo import Preference, PreferenceLoss
from sartor_training.methods.next_token import NextToken
from sartor_training.methods.output_layer import LabelledRow, OutputLayerLoss


def _rows() -> list[ChatTokens]:
    generator = torch.Generator().manual_seed(2)
    rows = []
    for length in (9, 3, 17, 1, 5):
        ids = tuple(torch.randint(0, 300, (length,), generator=generator).tolist())
        rows.append(ChatTokens(ids, tuple(position % 3 != 1 for position in range(length))))
    return rows


def _objective(tiny: Path, kind: str) -> tuple[Any, Any, Sequence[Any]]:
    model = add_lora(load_model(tiny, torch.float32), LoraAdapter(rank=4, alpha=8.0), seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in adapter_weights(model).items():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    rows = _rows()
    if kind == "sft":
        return model, NextToken(model), rows
    if kind == "dpo":
        return model, PreferenceLoss(model, 0.1), [Preference(rows[0], rows[2]), Preference(rows[4], rows[1])]
    torch.manual_seed(0)
    layer = OutputLayer("single_label", ("a", "b"), 64)
    return (
        model,
        OutputLayerLoss(model, layer),
        [LabelledRow(row.ids, (float(n % 2),)) for n, row in enumerate(rows)],
    )


@pytest.mark.parametrize("kind", ["sft", "dpo", "output_layer"])
def test_packed_rows_give_the_loss_and_the_gradients_of_padded_ones(kind: str, tiny: Path) -> None:
    found = []
    for packed in (False, True):
        model, objective, rows = _objective(tiny, kind)
        if packed:
            assert pack_rows(model)
        assert packs(model) == packed
        loss, _ = objective.loss(rows)
        loss.backward()
        found.append((loss.item(), {n: p.grad for n, p in adapter_weights(model).items()}))
    (expected, wanted), (loss, gradients) = found
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, gradient in wanted.items():
        assert gradient is not None
        other = gradients[name]
        assert other is not None
        assert torch.allclose(gradient, other, atol=1e-6 + 1e-4 * gradient.abs().max().item()), name


def test_a_row_sees_nothing_of_its_neighbours(tiny: Path) -> None:
    model, objective, rows = _objective(tiny, "sft")
    pack_rows(model)
    alone = [objective.loss([row])[0].item() for row in rows[:3]]
    others = [ChatTokens(row.ids, (False,) * len(row.ids)) for row in rows[3:]]
    for row, expected in zip(rows[:3], alone, strict=True):
        assert objective.loss([others[0], row, others[1]])[0].item() == pytest.approx(expected, rel=1e-5)


def test_a_model_that_packs_is_asked_for_nothing_else(tiny: Path) -> None:
    from sartor_models.heads import hidden_states

    model, _, _ = _objective(tiny, "sft")
    pack_rows(model)
    with pytest.raises(ValueError, match="packed_states"):
        hidden_states(model, torch.tensor([[1, 2, 3]]))
