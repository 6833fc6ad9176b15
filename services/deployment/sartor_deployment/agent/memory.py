"""Whether an engine fits into this machine's memory before it is started."""

from __future__ import annotations

from pathlib import Path

from sartor_platform.errors import DataLoss, FailedPrecondition

from sartor_deployment.build.classifier import engine_bytes, is_packed
from sartor_deployment.build.gguf_file import GgufCorrupt, read_gguf
from sartor_deployment.resources import EngineSettings

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def check_fits(
    weights: Path, settings: EngineSettings, *, spare_bytes: int, free_bytes: int | None = None
) -> None:
    """Refuse an engine that cannot have its memory, before it takes that of others.

    Raises:
        DataLoss: GGUF_CORRUPT.
        FailedPrecondition: ENGINE_NEEDS_MEMORY, with the numbers.
    """
    if is_packed(weights):
        _check(engine_bytes(weights), "the classifier with its runtime", spare_bytes, free_bytes)
        return
    try:
        file = read_gguf(weights)
    except GgufCorrupt as error:
        raise DataLoss(f"the weights are no whole GGUF file: {error}", reason="GGUF_CORRUPT") from error
    needed = file.engine_bytes(settings.context_length, settings.slots)
    cache = file.kv_bytes_per_token() * settings.context_length * settings.slots
    what = (
        f"weights {_mb(file.size_bytes)}, key-value cache {_mb(cache)} for {settings.slots} slots of"
        f" {settings.context_length} tokens"
    )
    _check(needed, what, spare_bytes, free_bytes)


def _check(needed: int, what: str, spare_bytes: int, free_bytes: int | None) -> None:
    free = available_bytes() if free_bytes is None else free_bytes
    if needed + spare_bytes > free:
        raise FailedPrecondition(
            f"the engine needs {_mb(needed)} MB ({what}) and {_mb(spare_bytes)} MB must stay"
            f" free, but only {_mb(free)} MB are; use a smaller quantization, context_length or slots, or"
            " another machine",
            reason="ENGINE_NEEDS_MEMORY",
            metadata={"needed_bytes": str(needed), "free_bytes": str(free)},
        )


def available_bytes() -> int:
    """Memory that can be had without swapping, of the machine or of this container, whichever is less."""
    free = 2**63
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    for limit, used in _CGROUPS:
        try:
            most = Path(limit).read_text(encoding="ascii").strip()
            if most.isdigit():
                free = min(free, max(0, int(most) - int(Path(used).read_text(encoding="ascii"))))
        except OSError:
            continue  # this machine counts otherwise
    return free


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f}"
