"""Generation, scoring, merging and checkpoints agree with the model library and do not depend on the
batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
from sartor_models.batches import length_bucketed
from sartor_models.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from sartor_models.errors import ModelError
from sartor_models.generate import generate
from sartor_models.load import load_model
from sartor_models.merge import merge
from sartor_models.scoring import ScoreItem, score

PROMPTS = [[5, 9, 12], [7], [30, 31, 32, 33, 34, 35, 36, 37], [99, 98], [5, 9, 12, 200, 201]]


@pytest.fixture(scope="module")
def model(tiny: Path) -> Any:
    return load_model(tiny, torch.float32)


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    """An adapter that changes the model noticeably."""
    lora = LoraAdapter(rank=4, alpha=8.0)
    tuned = add_lora(load_model(tiny, torch.float32), lora, seed=1)
    generator = torch.Generator().manual_seed(2)
    weights = {n: torch.randn(w.shape, generator=generator) * 0.2 for n, w in adapter_weights(tuned).items()}
    save_adapter(tmp_path / "adapter", lora, weights, base_model="tiny")
    return tmp_path / "adapter"


def test_generation_does_not_depend_on_the_batch(model: Any) -> None:
    together = generate(model, PROMPTS, eos_ids=(2,), pad_id=2, max_new_tokens=12)
    alone = [generate(model, [p], eos_ids=(2,), pad_id=2, max_new_tokens=12)[0] for p in PROMPTS]
    assert together == alone


def test_generation_equals_the_model_librarys_greedy_search(model: Any) -> None:
    ids = torch.tensor([PROMPTS[2]])
    expected = model.generate(
        ids, max_new_tokens=10, do_sample=False, pad_token_id=2, eos_token_id=2, use_cache=True
    )
    answer = generate(model, [PROMPTS[2]], eos_ids=(2,), pad_id=2, max_new_tokens=10)[0]
    assert list(answer.ids) == [token for token in expected[0, 8:].tolist() if token != 2]


def test_an_answer_stops_at_the_end_token_and_its_row_leaves_the_batch(model: Any) -> None:
    free = generate(model, PROMPTS, eos_ids=(), pad_id=2, max_new_tokens=12)
    stop = free[0].ids[3]
    answers = generate(model, PROMPTS, eos_ids=(stop,), pad_id=2, max_new_tokens=12)
    for unbounded, answer in zip(free, answers, strict=True):
        cut = unbounded.ids.index(stop) if stop in unbounded.ids else None
        assert answer.ids == unbounded.ids[:cut]
        assert answer.finished == (cut is not None)


def test_scores_are_the_log_probabilities_of_a_full_forward_pass(model: Any) -> None:
    items = [ScoreItem(prompt, (4, 8, 15)[: 1 + number % 3]) for number, prompt in enumerate(PROMPTS)]
    for item, result in zip(items, score(model, items, tokens_per_batch=24), strict=True):
        row = torch.tensor([[*item.prompt_ids, *item.answer_ids]])
        with torch.no_grad():
            scores = model(row).logits[0, len(item.prompt_ids) - 1 : -1].log_softmax(-1)
        expected = [scores[i, token].item() for i, token in enumerate(item.answer_ids)]
        assert result.log_probabilities == pytest.approx(expected, abs=1e-4)
        assert result.log_likelihood == pytest.approx(sum(expected), abs=1e-3)
        assert list(result.top1_ids) == scores.argmax(-1).tolist()


def test_merging_gives_the_outputs_of_base_and_adapter(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    merge(tiny, adapter, tmp_path / "merged", dtype=torch.float32)
    apart = load_model(tiny, torch.float32, adapter)
    together = load_model(tmp_path / "merged", torch.float32)
    row = torch.tensor([PROMPTS[2]])
    with torch.no_grad():
        assert torch.allclose(apart(row).logits, together(row).logits, atol=1e-4)
        assert not torch.allclose(load_model(tiny, torch.float32)(row).logits, together(row).logits, atol=0.1)


def test_an_adapter_for_another_base_is_refused(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    from tests.tiny_model import make_tiny_model

    other = make_tiny_model(tmp_path / "other", hidden=32)
    with pytest.raises(ModelError) as caught:
        merge(other, adapter, tmp_path / "merged")
    assert caught.value.reason == "ADAPTER_INVALID"
    with pytest.raises(ModelError) as caught:
        load_model(other, torch.float32, adapter)
    assert caught.value.reason == "ADAPTER_INVALID"


def test_a_pickled_adapter_is_never_read(tiny: Path, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="never read"):
        load_model(tiny, torch.float32, adapter)


def test_an_adapter_that_names_code_is_refused(tiny: Path, adapter: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps(config | {"auto_mapping": {"parent_library": "os"}})
    )
    with pytest.raises(ModelError, match="auto_mapping"):
        load_model(tiny, torch.float32, adapter)


def test_batches_keep_to_the_budget_and_lose_nothing() -> None:
    lengths = [3, 100, 7, 40, 41, 39, 500, 8, 8, 8]
    for seed in (None, 0, 1):
        batches = length_bucketed(lengths, 128, seed=seed)
        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        for batch in batches:
            assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 128
    assert length_bucketed(lengths, 128, seed=3) == length_bucketed(lengths, 128, seed=3)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    tensors = {
        "weights/a": torch.randn(3, 4).bfloat16(),
        "optimizer/exp_avg/a": torch.randn(3, 4),
        "random/torch": torch.get_rng_state(),
    }
    path = save_checkpoint(
        tmp_path / "c.safetensors", Checkpoint(tensors, {"step": 7, "best": 1.25, "order": [3, 1]})
    )
    loaded = load_checkpoint(path)
    assert loaded.state == {"step": 7, "best": 1.25, "order": [3, 1]}
    assert loaded.part("weights").keys() == {"a"}
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in tensors.items())


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.safetensors").write_bytes(b"\x80\x04 not a checkpoint")
    with pytest.raises(ModelError) as caught:
        load_checkpoint(tmp_path / "c.safetensors")
    assert caught.value.reason == "CHECKPOINT_INVALID"
