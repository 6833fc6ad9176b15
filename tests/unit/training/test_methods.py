"""Each method learns what it is for, from files to files, and goes on bit for bit where it was stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sartor_models.load import load_model, load_tokenizer
from sartor_models.merge import merge_into
from sartor_models.output_layer import OutputLayer, predict
from sartor_platform.errors import SartorError
from sartor_training.child import train

from tests.unit.training.conftest import Told, task_of, write_curated

WORDS = {
    "billing": ["The invoice is wrong", "I paid twice", "Refund my payment", "The bill is too high"],
    "shipping": ["Where is my parcel", "The order did not arrive", "Delivery is late", "Track my package"],
}
SENTENCES = [
    "The pump is bled before the valve is opened.",
    "A loose gasket lets air into the line.",
    "Close the valve, then tighten the gasket by hand.",
    "Air in the line makes the pump run dry.",
]


def _split(number: int) -> str:
    return "validation" if number % 4 == 0 else "train"


def _documents(folder: Path, rows: int = 48) -> Path:
    return write_curated(
        folder,
        [
            {"split": _split(n), "kind": "document", "text": f"{SENTENCES[n % 4]} {SENTENCES[n % 3]} {n}"}
            for n in range(rows)
        ],
    )


def _labelled(folder: Path, label: Any = lambda name: name) -> Path:
    return write_curated(
        folder,
        [
            {"split": _split(n), "kind": "labelled", "text": f"{text} {n}", "label": label(name)}
            for n in range(12)
            for name, texts in WORDS.items()
            for text in texts
        ],
    )


def _preferences(folder: Path) -> Path:
    return write_curated(
        folder,
        [
            {
                "split": _split(n),
                "kind": "preference",
                "messages": [("user", f"Where is order {n}?")],
                "chosen": "It is on its way.",
                "rejected": "No idea.",
            }
            for n in range(32)
        ],
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _again_from(checkpoint: str, task: dict[str, Any], folder: Path) -> Path:
    """The same training in another folder, from a checkpoint of the first."""
    folder.mkdir()
    kept = shutil.copy(checkpoint, folder / "resume.safetensors")
    result = train({**task, "output": str(folder / "output"), "checkpoint": kept}, folder, Told())
    assert result["metrics"]["resumed_at_step"] > 0
    return folder / "output"


def test_preferences_make_the_better_answer_likelier_and_a_resumed_run_gives_the_same(
    tiny: Path, tmp_path: Path
) -> None:
    told = Told()
    recipe = {"method": "dpo", "rank": 4, "learning_rate": 5e-3, "epochs": 4, "tokens_per_batch": 512}
    task = task_of(tiny, _preferences(tmp_path / "data"), tmp_path, **recipe)
    metrics = train(task, tmp_path, told)["metrics"]
    assert metrics["initial_validation_loss"] == pytest.approx(0.6931, abs=1e-3)  # ln 2: no preference yet
    assert metrics["validation_loss"] < 0.5
    assert metrics["validation_accuracy"] == 1.0
    assert metrics["validation_margin"] > 0
    again = _again_from(told.checkpoints()[0], task, tmp_path / "again")
    weights = "adapter_model.safetensors"
    assert _digest(again / weights) == _digest(tmp_path / "output" / weights)


def test_a_preference_without_two_answers_teaches_nothing_and_too_many_are_refused(
    tiny: Path, tmp_path: Path
) -> None:
    one_sided = {"split": "train", "kind": "preference", "messages": [("user", "Hi")], "chosen": "Hello"}
    data = write_curated(tmp_path / "data", [one_sided] * 3)
    with pytest.raises(SartorError) as caught:
        train(task_of(tiny, data, tmp_path, method="dpo"), tmp_path, Told())
    assert caught.value.reason == "ROWS_TEACH_NOTHING"
    assert caught.value.metadata["rows_without_labels"] == "3"


def test_documents_are_read_on_and_general_text_is_measured(tiny: Path, tmp_path: Path) -> None:
    general = write_curated(
        tmp_path / "general",
        [
            {"split": _split(n), "kind": "document", "text": f"Wo ist meine Bestellung {n}?"}
            for n in range(240)
        ],
    )
    recipe = {
        "method": "continued_pretraining",
        "rank": 4,
        "learning_rate": 1e-2,
        "epochs": 6,
        "max_length": 64,
        "replay_curation": "projects/p/curations/general",
        "replay_share": 0.25,
        "early_stopping_patience": 0,
    }
    task = task_of(tiny, _documents(tmp_path / "data"), tmp_path, **recipe) | {"replay": str(general)}
    metrics = train(task, tmp_path, Told())["metrics"]
    assert metrics["validation_loss"] < 0.8 * metrics["initial_validation_loss"]
    assert metrics["general_loss"] < metrics["initial_general_loss"]
    own = metrics["tokens_per_epoch"]
    assert metrics["tokens"] / 6 == pytest.approx(own / 0.75, rel=0.1)


def test_a_model_from_scratch_has_its_own_tokenizer_and_size(tiny: Path, tmp_path: Path) -> None:
    told = Told()
    recipe = {
        "method": "from_scratch",
        "vocabulary_size": 400,
        "parameters": 150_000,
        "epochs": 6,
        "learning_rate": 5e-3,
        "max_length": 64,
    }
    task = task_of(tiny, _documents(tmp_path / "data"), tmp_path, **recipe)
    metrics = train(task, tmp_path, told)["metrics"]
    assert metrics["validation_loss"] < 0.8 * metrics["initial_validation_loss"]
    assert metrics["parameters"] == pytest.approx(150_000, rel=0.35)
    made = tmp_path / "output"
    tokenizer = load_tokenizer(made)
    assert 257 < tokenizer.vocabulary_size <= 400
    assert tokenizer.decode(tokenizer.encode("Öffnen Sie das Ventil.")) == "Öffnen Sie das Ventil."
    assert load_model(made).config.vocab_size == tokenizer.vocabulary_size
    again = _again_from(told.checkpoints()[0], task, tmp_path / "again")
    assert _digest(again / "model.safetensors") == _digest(made / "model.safetensors")


def test_an_output_layer_tells_labels_apart_with_calibrated_probabilities(tiny: Path, tmp_path: Path) -> None:
    recipe = {"method": "output_layer", "rank": 8, "learning_rate": 1e-2, "epochs": 6, "balance_labels": True}
    metrics = train(task_of(tiny, _labelled(tmp_path / "data"), tmp_path, **recipe), tmp_path, Told())[
        "metrics"
    ]
    assert metrics["validation_accuracy"] > 0.9
    assert 0.05 <= metrics["temperature"] <= 20
    made = tmp_path / "output"
    layer = OutputLayer.load(made)
    assert layer.labels == ("billing", "shipping")
    assert layer.temperature == metrics["temperature"]
    model = load_model(tiny, adapter=made)
    found = predict(model, load_tokenizer(tiny), layer, ["Refund my payment 77", "Track my package 78"])
    assert [answer.labels for answer in found] == [("billing",), ("shipping",)]
    assert sum(found[0].probabilities.values()) == pytest.approx(1.0)


def test_several_labels_a_text_and_none(tiny: Path, tmp_path: Path) -> None:
    data = _labelled(tmp_path / "data", lambda name: "urgent|money" if name == "billing" else "")
    recipe = {"method": "output_layer", "output_layer": "multi_label", "learning_rate": 1e-2, "epochs": 6}
    metrics = train(task_of(tiny, data, tmp_path, **recipe), tmp_path, Told())["metrics"]
    assert metrics["validation_accuracy"] > 0.9
    layer = OutputLayer.load(tmp_path / "output")
    assert layer.labels == ("money", "urgent")
    model = load_model(tiny, adapter=tmp_path / "output")
    found = predict(model, load_tokenizer(tiny), layer, ["I paid twice 5", "Delivery is late 5"])
    assert [answer.labels for answer in found] == [("money", "urgent"), ()]


def test_numbers_are_predicted_in_their_own_unit(tiny: Path, tmp_path: Path) -> None:
    data = _labelled(tmp_path / "data", lambda name: "120.5" if name == "billing" else "80")
    recipe = {"method": "output_layer", "output_layer": "regression", "learning_rate": 1e-2, "epochs": 6}
    metrics = train(task_of(tiny, data, tmp_path, **recipe), tmp_path, Told())["metrics"]
    assert metrics["validation_error"] < 10
    model = load_model(tiny, adapter=tmp_path / "output")
    layer = OutputLayer.load(tmp_path / "output")
    low, high = predict(model, load_tokenizer(tiny), layer, ["Where is my parcel 3", "I paid twice 3"])
    assert low.value is not None
    assert high.value is not None
    assert high.value - low.value > 20


def test_words_where_numbers_belong_are_refused(tiny: Path, tmp_path: Path) -> None:
    recipe = {"method": "output_layer", "output_layer": "regression"}
    with pytest.raises(SartorError, match="no number") as caught:
        train(task_of(tiny, _labelled(tmp_path / "data"), tmp_path, **recipe), tmp_path, Told())
    assert caught.value.reason == "LABELS_UNUSABLE"


def _conversations(folder: Path) -> Path:
    turns = [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Where is order 4?"),
        ("assistant", "On its way."),
    ]
    rows = []
    for number in range(24):
        last = ("assistant", f"On its way. {number}")
        rows.append({"split": _split(number), "kind": "chat", "messages": [*turns[:-1], last]})
    return write_curated(folder, rows)


@pytest.mark.parametrize("adapter", ["rslora", "dora"])
def test_other_adapters_learn_and_load_and_merge_to_the_same_model(
    adapter: str, tiny: Path, tmp_path: Path
) -> None:
    recipe = {"adapter": adapter, "rank": 4, "learning_rate": 1e-2, "epochs": 3}
    metrics = train(task_of(tiny, _conversations(tmp_path / "data"), tmp_path, **recipe), tmp_path, Told())[
        "metrics"
    ]
    assert metrics["validation_loss"] < 0.8 * metrics["initial_validation_loss"]
    row = torch.arange(5, 25)[None]
    merged = load_model(tiny, torch.float32)
    with torch.no_grad():
        plain = merged(row).logits
        merge_into(merged, tmp_path / "output")
        beside = load_model(tiny, torch.float32, adapter=tmp_path / "output")(row).logits
        assert torch.allclose(merged(row).logits, beside, atol=2e-2)
        assert not torch.allclose(plain, beside, atol=2e-2)


def test_four_bits_without_a_gpu_are_refused_with_what_to_write(tiny: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SartorError, match="adapter: lora") as caught:
        train(task_of(tiny, _conversations(tmp_path / "data"), tmp_path, adapter="qlora"), tmp_path, Told())
    assert caught.value.reason == "GPU_NEEDED"


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_an_earlier_version_is_taught_on(adapter: str, tiny: Path, tmp_path: Path) -> None:
    data = _conversations(tmp_path / "data")
    recipe = {"adapter": adapter, "rank": 4, "learning_rate": 5e-3, "epochs": 2}
    first = train(task_of(tiny, data, tmp_path, **recipe), tmp_path, Told())["metrics"]
    later = tmp_path / "later"
    later.mkdir()
    task = task_of(tiny, data, later, **recipe) | {"start": str(tmp_path / "output")}
    second = train(task, later, Told())["metrics"]
    assert second["initial_validation_loss"] == pytest.approx(first["validation_loss"], rel=0.02)
    other = {**task["recipe"], "rank": 8, "adapter": "lora"}
    with pytest.raises(SartorError) as caught:
        train({**task, "recipe": other, "output": str(later / "other")}, later, Told())
    assert caught.value.reason == "START_UNUSABLE"


def test_a_base_model_without_a_template_takes_a_named_one_that_travels_along(
    tiny: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(tiny, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    data = _conversations(tmp_path / "data")
    recipe = {"chat_template": "plain", "rank": 4, "learning_rate": 1e-2, "epochs": 1}
    result = train(task_of(bare, data, tmp_path, **recipe), tmp_path, Told())
    assert "chat_template.jinja" in result["files"]
    assert 0 < result["metrics"]["supervised_tokens_per_epoch"] < result["metrics"]["tokens_per_epoch"]
    with pytest.raises(SartorError) as caught:
        train(task_of(tiny, data, tmp_path / "own", **recipe), tmp_path, Told())
    assert caught.value.reason == "CHAT_TEMPLATE_KNOWN"


def test_every_turn_of_the_assistant_is_learned_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    from sartor_training.child import sources_of
    from sartor_training.quoting import quoted
    from sartor_training.recipe import Recipe

    task = task_of(tiny, _conversations(tmp_path / "data"), tmp_path, rank=4, epochs=2)
    quote = quoted(sources_of(task, tmp_path), Recipe.from_mapping(task["recipe"]), "cpu", Told())
    sample = quote["audit"]["samples"][0]
    learned = [text for text, on in sample if on]
    assert [text.split("<")[0].rstrip("0123456789 ") for text in learned] == ["Hello", "On its way."]
    assert "".join(text for text, _ in sample).count("<|im_start|>user") == 2
    assert json.dumps(quote)
    assert quote["steps"] > 0
    assert quote["tokens_per_second"] > 0
    assert quote["peak_memory_bytes"] > 10_000_000
    assert quote["audit"]["refusal"] == ""
