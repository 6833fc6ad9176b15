"""What is refused before an engine starts: a file that is not whole, and one the machine cannot hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from sartor_deployment.build.gguf_file import GgufCorrupt, read_gguf
from sartor_deployment.resources import EngineSettings
from sartor_deployment.targets.engine_memory import EngineMemory, Need, available_bytes, container_bytes, need
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
    assert read.shapes == {"token_embd.weight": (64, 3)}


@pytest.mark.parametrize("keep", [0, 3, 20, 200, -1])
def test_a_file_that_breaks_off_is_told(weights: Path, keep: int) -> None:
    """Wherever it does."""
    data = weights.read_bytes()
    weights.write_bytes(data[:keep] if keep >= 0 else data[: 64 + data.rindex(b"token_embd")])
    with pytest.raises(GgufCorrupt):
        read_gguf(weights)
    with pytest.raises(DataLoss) as caught:
        need(weights, EngineSettings())
    assert caught.value.reason == "GGUF_CORRUPT"


def test_an_engine_without_memory_is_refused_with_the_numbers(weights: Path) -> None:
    """Weights, cache and what is free; a little less context fits."""
    memory = EngineMemory(0, lambda: 200_000_000)
    with (
        pytest.raises(FailedPrecondition, match="key-value cache 189 for 4 slots of 2048 tokens") as caught,
        memory.hold(need(weights, EngineSettings())),
    ):
        raise AssertionError("it was let in")
    assert caught.value.reason == "ENGINE_NEEDS_MEMORY"
    assert int(caught.value.metadata["free_bytes"]) == 200_000_000
    with memory.hold(need(weights, EngineSettings(context_length=256))):
        pass
    assert available_bytes() > 0


def test_weights_that_an_engine_maps_already_are_counted_once() -> None:
    """However often a file is linked; what other engines hold is not free; an engine that starts counts."""
    base = Need((1, 7), 100, 10, "")
    memory = EngineMemory(0, lambda: 135)
    with memory.hold(base) as taken, memory.hold(base):
        with (
            pytest.raises(FailedPrecondition, match="mapped already"),
            memory.hold(replace(base, own_bytes=16)),
        ):
            raise AssertionError("35 less two engines that start")
        taken()
        with memory.hold(replace(base, own_bytes=16)):
            pass
        with (
            pytest.raises(FailedPrecondition, match="only 0 MB are"),
            memory.hold(replace(base, file=(1, 8))),
        ):
            raise AssertionError("another file needs room of its own")
    with memory.hold(replace(base, file=(1, 8))):
        pass


def test_files_that_a_container_has_read_do_not_fill_it(tmp_path: Path) -> None:
    """The kernel counts their pages as used, and drops them when it must; a shared memory's it cannot."""
    names = ("memory.max", "memory.current", "memory.stat", "file", "shmem")
    for name, text in zip(names, ("1000", "900", "anon 100\nfile 700\nshmem 50\n"), strict=False):
        (tmp_path / name).write_text(text)
    assert container_bytes(tmp_path, *names) == 750
    (tmp_path / "memory.max").write_text("max")
    assert container_bytes(tmp_path, *names) == 2**63
