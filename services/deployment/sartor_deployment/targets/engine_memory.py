"""Whether an engine fits into this machine's memory before it is started.

Weights are mapped, not read: the kernel keeps one copy of a file for all engines that map it, and calls that
copy available because it could drop it. So what engines have mapped is counted here, each file once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sartor_platform.errors import DataLoss, FailedPrecondition

from sartor_deployment.build.adapter_gguf import check_belongs
from sartor_deployment.build.classifier import engine_bytes, is_packed
from sartor_deployment.build.gguf_file import GgufCorrupt, GgufFile, read_gguf
from sartor_deployment.resources import EngineSettings

FileId = tuple[int, int]
"""Device and inode: links to one file are that file."""

_CGROUPS = (  # limit, use, and what of the use are pages of files
    ("memory.max", "memory.current", "memory.stat", "file", "shmem"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_cache",
        "total_shmem",
    ),
)


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of one engine: a file that others may map too, and what is its own."""

    file: FileId | None
    file_bytes: int
    own_bytes: int
    parts: str


def need(weights: Path, settings: EngineSettings, adapter: Path | None = None) -> Need:
    """What an engine of these files takes; the files are looked at first.

    Raises:
        DataLoss: GGUF_CORRUPT.
        FailedPrecondition: ADAPTER_MISMATCH.
    """
    if is_packed(weights):
        return Need(None, 0, engine_bytes(weights), "the classifier with its runtime")
    model = _whole(weights, "weights are")
    cache = model.kv_bytes_per_token() * settings.context_length * settings.slots
    parts = (
        f"weights {_mb(model.size_bytes)}, key-value cache {_mb(cache)} for {settings.slots} slots of"
        f" {settings.context_length} tokens"
    )
    own = model.working_bytes(settings.context_length, settings.slots)
    if adapter is not None:
        added = _whole(adapter, "adapter is")
        check_belongs(added, model)
        own += added.size_bytes
        parts += f", adapter {_mb(added.size_bytes)}"
    status = weights.stat()
    return Need((status.st_dev, status.st_ino), model.size_bytes, own, parts)


class EngineMemory:
    """What the engines of this machine hold. Threads share it."""

    def __init__(self, spare_bytes: int, free_bytes: Callable[[], int] | None = None) -> None:
        """`spare_bytes` must stay free; `free_bytes` tells what is, pages of files among it."""
        self._spare_bytes = spare_bytes
        self._free_bytes = free_bytes or available_bytes
        self._lock = threading.Lock()
        self._mapped: dict[FileId, list[int]] = {}  # size, and one for each engine
        self._starting = 0

    @contextmanager
    def hold(self, needed: Need) -> Iterator[Callable[[], None]]:
        """While an engine has it. Call what is given once the engine's own memory is really taken.

        Raises:
            FailedPrecondition: ENGINE_NEEDS_MEMORY, with the numbers.
        """
        with self._lock:
            self._check(needed)
            if needed.file is not None:
                self._mapped.setdefault(needed.file, []).append(needed.file_bytes)
            self._starting += needed.own_bytes
        waiting = [needed.own_bytes]

        def taken() -> None:
            with self._lock:
                if waiting:
                    self._starting -= waiting.pop()

        try:
            yield taken
        finally:
            taken()
            with self._lock:
                if needed.file is not None:
                    self._mapped[needed.file].pop()
                    if not self._mapped[needed.file]:
                        del self._mapped[needed.file]

    def _check(self, needed: Need) -> None:
        free = max(0, self._free_bytes() - self._starting - sum(sizes[0] for sizes in self._mapped.values()))
        mapped = needed.file in self._mapped
        wanted = needed.own_bytes + (0 if mapped else needed.file_bytes)
        if wanted + self._spare_bytes > free:
            parts = needed.parts + ("; its weights are mapped already and not counted" if mapped else "")
            raise FailedPrecondition(
                f"the engine needs {_mb(wanted)} MB ({parts}) and {_mb(self._spare_bytes)} MB must stay"
                f" free, but only {_mb(free)} MB are; use a smaller quantization, context_length or slots, or"
                " another machine",
                reason="ENGINE_NEEDS_MEMORY",
                metadata={"needed_bytes": str(wanted), "free_bytes": str(free)},
            )


def available_bytes() -> int:
    """Memory that can be had without swapping, of the machine or of this container, whichever is less."""
    free = 2**63
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    return min(free, *(container_bytes(Path("/sys/fs/cgroup"), *names) for names in _CGROUPS))


def container_bytes(folder: Path, limit: str, used: str, stat: str, file: str, shared: str) -> int:
    """What a container may still take, pages of files among it; 2**63 without a limit."""
    try:
        most = (folder / limit).read_text(encoding="ascii").strip()
        taken = int((folder / used).read_text(encoding="ascii"))
        figures = dict(line.split() for line in (folder / stat).read_text(encoding="ascii").splitlines())
    except OSError:
        return 2**63  # this machine counts otherwise
    if not most.isdigit():
        return 2**63
    droppable = int(figures.get(file, 0)) - int(figures.get(shared, 0))
    return max(0, int(most) - taken + max(0, droppable))


def _whole(path: Path, what: str) -> GgufFile:
    try:
        return read_gguf(path)
    except GgufCorrupt as error:
        raise DataLoss(f"the {what} no whole GGUF file: {error}", reason="GGUF_CORRUPT") from error


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f}"
