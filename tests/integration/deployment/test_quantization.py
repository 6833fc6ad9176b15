"""Quantization is measured: each stored form through its engine; the smallest that loses little is taken."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import pytest
from sartor_datasets.reference_outputs import write_reference_outputs
from sartor_deployment.build.choose import Variant, smallest
from sartor_deployment.build.quantize import quantize
from sartor_deployment.build.weights import build
from sartor_platform.errors import FailedPrecondition

from tests.integration.deployment.conftest import reference_outputs
from tests.tiny_model import make_tiny_model

CONVERTER = Path(sys.prefix) / "share" / "sartor" / "converter"
pytestmark = pytest.mark.skipif(not CONVERTER.exists(), reason="the converter is not installed")
KINDS = ["F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"]


def quiet(_fraction: float, **_figures: Any) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def task(
    tiny_base: Path, adapters: Sequence[Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the build job is given."""
    references = tmp_path_factory.mktemp("references") / "references.jsonl"
    write_reference_outputs(references, "v", reference_outputs(tiny_base, adapters[0]))
    return {
        "base": str(tiny_base), "version": str(adapters[0]),
        "quantization": "AUTO", "converter": str(CONVERTER),
        "references": str(references), "context_length": 256, "slots": 2, "threads": 1, "max_tokens": 500,
        "budget_seconds": 10.0, "allowed_loss": 0.02, "top1_agreement": 0.8,
    }  # fmt: skip


def test_all_forms_are_measured_and_the_smallest_good_one_is_taken(
    task: dict[str, Any], tmp_path: Path
) -> None:
    """Sizes fall from form to form; the file that comes out is the one marked, and nothing else is left."""
    result = build(task, tmp_path, quiet)  # type: ignore[arg-type]
    table = {each["quantization"]: each for each in result["variants"]}
    assert list(table) == KINDS
    assert not [each["error"] for each in table.values() if each["error"]]
    sizes = [table[kind]["size_bytes"] for kind in KINDS]
    assert sizes == sorted(sizes, reverse=True)
    assert all(each["tokens_per_second"] > 0 for each in table.values())
    assert all(each["memory_bytes_per_second"] > 0 for each in table.values())
    assert abs(table["F16"]["loss_gap"]) < 0.01
    (chosen,) = [each for each in table.values() if each["chosen"]]
    assert chosen["loss_gap"] <= 0.02
    assert chosen["size_bytes"] < table["F16"]["size_bytes"]
    assert Path(result["weights"]).stat().st_size == chosen["size_bytes"]
    kept = {path.name for path in tmp_path.glob("*.gguf")}
    assert kept == {"merged-F16.gguf", f"merged-{chosen['quantization']}.gguf"}


def test_where_none_is_good_enough_the_losses_are_told(task: dict[str, Any], tmp_path: Path) -> None:
    """Each form's figure is in the message."""
    with pytest.raises(FailedPrecondition) as caught:
        build({**task, "top1_agreement": 1.01}, tmp_path, quiet)  # type: ignore[arg-type]
    assert caught.value.reason == "NO_QUANTIZATION_FITS"
    assert all(kind in caught.value.message for kind in KINDS)


def test_a_quantized_file_keeps_every_key_and_the_exact_output_layer(
    task: dict[str, Any], tmp_path: Path
) -> None:
    """Chat template, tokenizer and vectors come through; matrices are what was asked for."""
    result = build({**task, "quantization": "Q5_1"}, tmp_path, quiet)  # type: ignore[arg-type]
    reader = gguf.GGUFReader(result["weights"])
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["token_embd.weight"] == "F16"
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    assert kinds["blk.0.ffn_up.weight"] == "Q5_1"
    assert "tokenizer.chat_template" in reader.fields
    assert result["variants"] == []
    with pytest.raises(ValueError, match="cannot be made here"):
        quantize(tmp_path / "a", tmp_path / "b", "Q4_K_M")


def test_the_choice_is_the_smallest_inside_both_bounds() -> None:
    """Neither one that loses too much, nor one that broke."""
    table = [
        Variant("F16", 100, loss_gap=0.0, top1_agreement=1.0),
        Variant("Q8_0", 60, loss_gap=0.01, top1_agreement=0.99),
        Variant("Q5_1", 50, loss_gap=0.01, top1_agreement=0.9),
        Variant("Q4_1", 40, loss_gap=0.2, top1_agreement=0.99),
        Variant("Q4_0", 30, error="it crashed"),
    ]
    assert smallest(table, allowed_loss=0.02, top1_agreement=0.97) is table[1]
    assert smallest(table, allowed_loss=0.5, top1_agreement=0.97) is table[3]
    assert smallest(table[3:], allowed_loss=0.02, top1_agreement=0.97) is None


def test_an_adapter_of_another_base_is_refused(
    task: dict[str, Any], adapters: Sequence[Path], tmp_path: Path
) -> None:
    """Before anything is converted; the message says what does not fit."""
    other = make_tiny_model(tmp_path / "other", hidden=64)
    (tmp_path / "job").mkdir()
    with pytest.raises(FailedPrecondition) as caught:
        build({**task, "base": str(other), "quantization": "Q8_0"}, tmp_path / "job", quiet)  # type: ignore[arg-type]
    assert caught.value.reason == "ADAPTER_INVALID"
    assert not list((tmp_path / "job").glob("*.gguf"))
