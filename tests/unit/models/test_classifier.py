"""A version with an output layer is loaded and asked; a version's own files lie over its base's."""

from pathlib import Path

import pytest
import torch
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
from sartor_models.base import save_tuned
from sartor_models.classifier import load_classifier
from sartor_models.errors import ModelError
from sartor_models.load import load_model, load_tokenizer
from sartor_models.merge import merge
from sartor_models.output_layer import OutputLayer, predict
from sartor_models.versions import is_adapter, is_classifier, model_folder

TEXTS = ["Where is my order?", "Reset my password. " * 60, "x"]


def adapter_version(base: Path, folder: Path) -> Path:
    """An adapter that changes what the model says."""
    adapter = LoraAdapter(rank=4, alpha=8)
    model = add_lora(load_model(base), adapter, seed=3)
    for weight in adapter_weights(model).values():
        torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(1))
    save_adapter(folder, adapter, adapter_weights(model), base_model="tiny")
    return folder


def output_layer(folder: Path, kind: str, labels: tuple[str, ...]) -> OutputLayer:
    torch.manual_seed(4)
    layer = OutputLayer(kind, labels, 64, temperature=0.1, mean=50.0, scale=10.0, max_length=40)
    layer.save(folder)
    return layer


@pytest.mark.parametrize("weights", ["adapter", "full"])
def test_a_loaded_classifier_says_what_its_parts_say(weights: str, tiny: Path, tmp_path: Path) -> None:
    version = tmp_path / "version"
    if weights == "adapter":
        model = load_model(tiny, adapter=adapter_version(tiny, version))
    else:
        state = {name: tensor * 1.5 for name, tensor in load_model(tiny).state_dict().items()}
        state.pop("lm_head.weight", None)
        save_tuned(tiny, state, version)
        model = load_model(version)
    layer = output_layer(version, "single_label", ("billing", "shipping", "other"))
    assert is_classifier(version)
    assert is_adapter(version) == (weights == "adapter")
    expected = predict(model, load_tokenizer(tiny), layer, TEXTS)
    classifier = load_classifier(tiny, version)
    found = classifier.predict(TEXTS)
    assert classifier.labels == ("billing", "shipping", "other")
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.labels == theirs.labels
        for name, share in theirs.probabilities.items():
            assert ours.probabilities[name] == pytest.approx(share, abs=0.02)
    assert [said.truncated for said in found] == [False, True, False]
    assert found[1].tokens == classifier.max_length == 40


def test_a_number_and_several_labels(tiny: Path, tmp_path: Path) -> None:
    version = adapter_version(tiny, tmp_path / "number")
    output_layer(version, "regression", ())
    said = load_classifier(tiny, version).predict(TEXTS)
    assert all(one.value is not None and not one.labels and not one.probabilities for one in said)
    several = adapter_version(tiny, tmp_path / "several")
    output_layer(several, "multi_label", ("urgent", "money"))
    for one in load_classifier(tiny, several).predict(TEXTS):
        assert set(one.labels) == {name for name, share in one.probabilities.items() if share > 0.5}


def test_a_version_without_its_output_layer_is_refused(tiny: Path, tmp_path: Path) -> None:
    version = adapter_version(tiny, tmp_path / "version")
    assert not is_classifier(version)
    with pytest.raises(ModelError) as caught:
        load_classifier(tiny, version)
    assert caught.value.reason == "OUTPUT_LAYER_INVALID"


def test_an_adapters_chat_template_is_laid_over_the_base_and_merged_along(tiny: Path, tmp_path: Path) -> None:
    version = adapter_version(tiny, tmp_path / "version")
    assert model_folder(tiny, version, tmp_path / "unused") == tiny
    (version / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!", encoding="utf-8")
    (version / "README.md").write_text("a card", encoding="utf-8")
    laid = model_folder(tiny, version, tmp_path / "laid")
    assert load_tokenizer(laid).template.endswith("!")
    assert not (laid / "adapter_model.safetensors").exists()
    assert not (laid / "README.md").exists()
    load_model(laid, adapter=version)
    merge(tiny, version, tmp_path / "merged")
    assert load_tokenizer(tmp_path / "merged").template.endswith("!")


def test_full_weights_take_the_place_of_the_bases(tiny: Path, tmp_path: Path) -> None:
    state = {name: tensor * 2 for name, tensor in load_model(tiny).state_dict().items()}
    state.pop("lm_head.weight", None)
    save_tuned(tiny, state, tmp_path / "version")
    (tmp_path / "version" / "tokenizer.json").unlink()
    laid = model_folder(tiny, tmp_path / "version", tmp_path / "laid")
    assert (laid / "tokenizer.json").exists()
    assert torch.equal(load_model(laid).model.norm.weight, 2 * load_model(tiny).model.norm.weight)
