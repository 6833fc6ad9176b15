"""Whether a new engine fits beside the one that serves, before it is started."""

from __future__ import annotations

import contextlib
import json
import shlex
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_SPARE_BYTES = 64 * 2**20
_HEAD_BYTES = 64 * 2**20
_NUMBERS = {4: "<I", 5: "<i", 10: "<Q", 11: "<q"}
_ARRAY = 9


class NoMemory(Exception):
    """The new engine does not fit now; the message has the numbers. Nothing was started."""


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of an engine: its weights, the cache of its context, and its buffers."""

    weights: int
    cache: int
    buffers: int

    @property
    def all(self) -> int:
        """Together."""
        return self.weights + self.cache + self.buffers


@dataclass(frozen=True, slots=True)
class Service:
    """The commands by which the device's service manager stops and starts what serves."""

    stop: str
    start: str


def need_of(bundle: Path) -> Need:
    """What the engine of a bundle takes, by its weights' head and its settings. Both are under its signature.

    The cache is that of sixteen bits for every layer: more than engines take that look back only so far. The
    buffers are those of llama.cpp's default batch of 512 tokens, and what a process needs anyway.
    """
    settings = json.loads((bundle / "engine.json").read_text(encoding="utf-8"))
    weights = bundle / "weights.gguf"
    with weights.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    kind = _architecture(head)
    heads = _number(head, f"{kind}.attention.head_count", 1)
    width = _number(head, f"{kind}.embedding_length", 0) // max(heads, 1)
    both = sum(_number(head, f"{kind}.attention.{name}_length", width) for name in ("key", "value"))
    token = _number(head, f"{kind}.block_count", 0) * _number(head, f"{kind}.attention.head_count_kv", heads)
    widest = _number(head, "tokenizer.ggml.tokens", 0) + 8 * _number(head, f"{kind}.feed_forward_length", 0)
    tokens = int(settings["context_length"]) * int(settings["slots"])
    return Need(weights.stat().st_size, token * both * 2 * tokens, 512 * 4 * widest + 64 * 2**20)


@contextlib.contextmanager
def room(
    bundle: Path, live: Path | None, service: Service | None = None, free: Callable[[], int] | None = None
) -> Iterator[None]:
    """While the block runs, the engine of `bundle` may; where both do not fit, the live one is stopped.

    Args:
        live: the bundle that may be serving.
        service: stopped meanwhile only where that helps, and started again whatever happens.
        free: bytes that can be had; what the system says, if not given.
    Raises:
        NoMemory: it does not fit.
    """
    free = free or available_bytes
    need, held = need_of(bundle), Need(0, 0, 0)
    if live is not None and live != bundle and _is_mapped(live / "weights.gguf"):
        held = need_of(live)
    # What is mapped of a file the system calls free; it is not, while what serves reads it.
    there = max(free() - held.weights, 0)
    if _fits(need, there):
        yield
        return
    error = NoMemory(_told(need, there, beside=held.all > 0))
    if service is None or not _fits(need, there + held.all):
        raise error
    _call(service.stop, f"{error} what serves could not be stopped")
    try:
        if not _fits(need, free()):
            raise NoMemory(_told(need, free(), beside=False))
        yield
    finally:
        _call(service.start, "what serves could not be started again")


def available_bytes() -> int:
    """What can be had without swapping, of the machine or of this container; much where neither says."""
    free = 2**63
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, KeyError):  # "max" is no number: then there is no limit
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        free = min(free, most - used + int(told["file"]) - int(told["shmem"]))
    return max(free, 0)


def _fits(need: Need, there: int) -> bool:
    return need.all + _SPARE_BYTES <= there


def _told(need: Need, there: int, *, beside: bool) -> str:
    return (
        f"its engine needs {_mb(need.all)} MB (weights {_mb(need.weights)}, cache {_mb(need.cache)}, buffers"
        f" {_mb(need.buffers)}) and {_mb(_SPARE_BYTES)} MB must stay free, but only {_mb(there)} MB are there"
        + (" beside what serves" if beside else "")
        + "; nothing changed. Free memory, or name commands for --make-room."
    )


def _is_mapped(path: Path) -> bool:
    """Whether a process that may be looked at has the file in its memory."""
    name = str(path.resolve())
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            if name in maps.read_text(errors="replace"):
                return True
    return False


def _call(command: str, what: str) -> None:
    try:
        subprocess.run(shlex.split(command), check=True, stdin=subprocess.DEVNULL)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise NoMemory(f"{what}: {error}") from error


def _architecture(head: bytes) -> str:
    at = _after(head, "general.architecture")
    if at < 0:
        return ""
    _, length = struct.unpack_from("<IQ", head, at)
    return head[at + 12 : at + 12 + length].decode("ascii", "replace")


def _number(head: bytes, key: str, default: int) -> int:
    """A whole number, or how many an array holds; the default where neither is there."""
    at = _after(head, key)
    with contextlib.suppress(struct.error):
        (kind,) = struct.unpack_from("<I", head, at) if at >= 0 else (-1,)
        if kind in _NUMBERS:
            return int(struct.unpack_from(_NUMBERS[kind], head, at + 4)[0])
        if kind == _ARRAY and key.startswith("tokenizer."):
            return int(struct.unpack_from("<Q", head, at + 8)[0])
    return default


def _after(head: bytes, key: str) -> int:
    """Where what follows a key begins, or -1."""
    name = struct.pack("<Q", len(key)) + key.encode()
    at = head.find(name)
    return at + len(name) if at >= 0 else -1


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f}"
