"""A base model is found by its reference, prepared once and identified by its bytes; anything that could run
code is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sartor_models.base import prepare
from sartor_models.errors import ModelError
from sartor_models.references import locate, parse
from sartor_models.weight_files import WeightWriter


@pytest.mark.parametrize(
    "text", ["", "smollm2", "package:", "hub:justaname", "file:relative", "hub:a/../b", "http://x/y"]
)
def test_what_is_no_reference_is_told_the_three_forms(text: str) -> None:
    with pytest.raises(ModelError, match="package:NAME") as caught:
        parse(text)
    assert caught.value.reason == "BAD_REFERENCE"


def test_a_package_that_is_not_installed_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pip install no-such-model") as caught:
        locate(parse("package:no-such-model"), tmp_path, tmp_path)
    assert caught.value.reason == "PACKAGE_NOT_INSTALLED"


def test_an_installed_package_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        locate(parse("package:pytest"), tmp_path, tmp_path)
    assert caught.value.reason == "NO_MODEL_IN_PACKAGE"


def test_a_model_package_is_found_in_its_own_target_folder(tmp_path: Path) -> None:
    (tmp_path / "some_model").mkdir()
    (tmp_path / "some_model" / "weights.gguf").touch()
    assert locate(parse("package:some-model"), tmp_path, tmp_path).name == "weights.gguf"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere") as caught:
        locate(parse(f"file:{tmp_path}/nowhere"), tmp_path)
    assert caught.value.reason == "FILE_NOT_FOUND"


def test_an_unreachable_hub_says_what_works_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="file:/PATH") as caught:
        locate(parse("hub:some/model"), tmp_path)
    assert caught.value.reason == "HUB_UNREACHABLE"


def test_preparing_twice_gives_the_same_digest(tiny_source: Path, tmp_path: Path) -> None:
    first, second = prepare(tiny_source, tmp_path / "a"), prepare(tiny_source, tmp_path / "b")
    assert first == second
    assert first.architecture == "LlamaForCausalLM"
    assert first.chat_template
    assert first.context_length == 512
    assert {file.path for file in first.files} == {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors",
    }


@pytest.mark.parametrize("key", ["auto_map", "quantization_config", "_attn_implementation", "made_up"])
def test_unknown_config_keys_are_refused_by_name(tiny_source: Path, tmp_path: Path, key: str) -> None:
    folder = shutil.copytree(tiny_source, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: {"AutoModel": "evil.Model"}}))
    with pytest.raises(ModelError, match=key) as caught:
        prepare(folder, tmp_path / "out")
    assert caught.value.reason == "CONFIG_KEYS_REFUSED"


def test_another_architecture_is_refused(tiny_source: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_source, tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError) as caught:
        prepare(folder, tmp_path / "out")
    assert caught.value.reason == "ARCHITECTURE_UNSUPPORTED"


def test_pickled_weights_are_never_read(tiny_source: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_source, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="never read") as caught:
        prepare(folder, tmp_path / "out")
    assert caught.value.reason == "MODEL_FILES_MISSING"


def test_a_damaged_gguf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(ModelError) as caught:
        prepare(tmp_path / "bad.gguf", tmp_path / "out")
    assert caught.value.reason == "GGUF_UNREADABLE"


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    import torch

    with pytest.raises(ModelError, match="w holds"):
        WeightWriter(tmp_path).add("w", torch.tensor([float("nan")]))


def test_large_models_are_written_in_parts_with_an_index(tiny: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from sartor_models.load import load_model

    folder = shutil.copytree(tiny, tmp_path / "parts")
    (folder / "model.safetensors").unlink()
    weights = load_file(tiny / "model.safetensors")
    writer = WeightWriter(folder, file_bytes=50_000)
    for name, tensor in weights.items():
        writer.add(name, tensor)
    writer.close()
    assert len(list(folder.glob("*.safetensors"))) > 1
    for name, tensor in load_model(folder, torch.bfloat16).state_dict().items():
        if name in weights:
            assert torch.equal(tensor, weights[name])
