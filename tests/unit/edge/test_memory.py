"""A new engine is tried only where it fits beside the one that serves, or where that may be stopped."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from sartor_deployment.build.gguf_file import read_gguf
from sartor_edge.engine import EngineFailed
from sartor_edge.memory import NoMemory, Service, available_bytes, need_of, room

SPARE = 64 * 2**20


def bundle(folder: Path) -> Path:
    """What the reckoning reads of a bundle: 30 layers, 3 heads of 64, 2 slots of 1024 tokens."""
    folder.mkdir()
    writer = gguf.GGUFWriter(folder / "weights.gguf", "llama")
    writer.add_block_count(30)
    writer.add_embedding_length(576)
    writer.add_feed_forward_length(1536)
    writer.add_head_count(9)
    writer.add_head_count_kv(3)
    writer.add_token_list(["a", "b", "c"])
    writer.add_tensor("token_embd.weight", np.ones((300, 64), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "engine.json").write_text(json.dumps({"alias": "a", "context_length": 1024, "slots": 2}))
    return folder


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The bundle that is tried."""
    return bundle(tmp_path / "new")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Path]:
    """The bundle that serves: a process has its weights mapped."""
    folder = bundle(tmp_path / "live")
    with (folder / "weights.gguf").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        yield folder


def service(tmp_path: Path) -> Service:
    """Commands that write down when they were called."""
    log = tmp_path / "called"
    return Service(*(f"/bin/sh -c 'echo {word} >> {log}'" for word in ("stop", "start")))


def called(tmp_path: Path) -> list[str]:
    """Which of them were."""
    log = tmp_path / "called"
    return log.read_text().split() if log.exists() else []


def test_the_device_reckons_as_the_place_that_built_the_bundle(new: Path) -> None:
    """Weights, the cache of all slots, and buffers."""
    found, read = need_of(new), read_gguf(new / "weights.gguf")
    assert found.weights == read.size_bytes
    assert found.cache == 30 * 3 * (64 + 64) * 2 * 1024 * 2
    assert found.cache + found.buffers == read.working_bytes(1024, 2)
    assert 0 < available_bytes() < 2**63


def test_what_fits_is_tried_and_what_does_not_is_told_with_the_numbers(new: Path, live: Path) -> None:
    """The pages of what serves are not free, though the system says so."""
    need = need_of(new)
    enough = need.all + SPARE + need_of(live).weights
    with room(new, live, free=lambda: enough):
        pass
    with room(new, None, free=lambda: need.all + SPARE):
        pass
    with (
        pytest.raises(NoMemory, match=r"cache 47, buffers 92\).* only .* beside what serves"),
        room(new, live, free=lambda: enough - 1),
    ):
        pytest.fail("it was tried")


def test_what_serves_is_stopped_only_where_that_helps_and_always_started_again(
    new: Path, live: Path, tmp_path: Path
) -> None:
    """Also when the try fails."""
    need = need_of(new)
    frees = iter([need.weights + SPARE, need.all + SPARE])
    with pytest.raises(EngineFailed), room(new, live, service(tmp_path), lambda: next(frees)):
        fail(called(tmp_path))
    assert called(tmp_path) == ["stop", "start"]
    with pytest.raises(NoMemory), room(new, live, service(tmp_path), lambda: SPARE - 1):
        pytest.fail("it was tried")
    assert called(tmp_path) == ["stop", "start"]
    with (
        pytest.raises(NoMemory, match="could not be stopped"),
        room(new, live, Service("/nonexistent", "true"), lambda: need.weights + SPARE),
    ):
        pytest.fail("it was tried")


def fail(before: list[str]) -> None:
    """As an engine that does not come up, tried after these commands."""
    assert before == ["stop"]
    raise EngineFailed("it ended")
