"""What is refused before an engine starts: a file that is not whole, and one the machine cannot hold."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from sartor_deployment.agent.memory import available_bytes, check_fits
from sartor_deployment.build.gguf_file import GgufCorrupt, read_gguf
from sartor_deployment.resources import EngineSettings
from sartor_platform.errors import DataLoss, FailedPrecondition


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small but whole GGUF file."""
    path = tmp_path / "weights.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(30)
    writer.add_embedding_length(576)
    writer.add_head_count(9)
    writer.add_head_count_kv(3)
    writer.add_token_list(["a", "b", "c"])
    writer.add_tensor("token_embd.weight", np.ones((3, 64), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_cache_of_a_known_model_is_counted_right(weights: Path) -> None:
    """SmolLM2-135M: 30 layers, 3 heads of 64 for keys and for values, two bytes each."""
    read = read_gguf(weights)
    assert read.kv_bytes_per_token() == 30 * 3 * (64 + 64) * 2
    assert read.vocabulary == 3
    assert read.tensors == 1


@pytest.mark.parametrize("keep", [0, 3, 20, 200, -1])
def test_a_file_that_breaks_off_is_told(weights: Path, keep: int) -> None:
    """Wherever it does."""
    data = weights.read_bytes()
    weights.write_bytes(data[:keep] if keep >= 0 else data[: 64 + data.rindex(b"token_embd")])
    with pytest.raises(GgufCorrupt):
        read_gguf(weights)
    with pytest.raises(DataLoss) as caught:
        check_fits(weights, EngineSettings(), spare_bytes=0)
    assert caught.value.reason == "GGUF_CORRUPT"


def test_an_engine_without_memory_is_refused_with_the_numbers(weights: Path) -> None:
    """Weights, cache and what is free; a little less context fits."""
    with pytest.raises(FailedPrecondition, match="key-value cache 189 for 4 slots of 2048 tokens") as caught:
        check_fits(weights, EngineSettings(), spare_bytes=0, free_bytes=200_000_000)
    assert caught.value.reason == "ENGINE_NEEDS_MEMORY"
    assert int(caught.value.metadata["free_bytes"]) == 200_000_000
    check_fits(weights, EngineSettings(context_length=256), spare_bytes=0, free_bytes=200_000_000)
    assert available_bytes() > 0
