"""A version that says labels or numbers, as one file for its engine: base model and version in a tar.

It is not converted: the engine loads exactly what was evaluated. Standard library only: agents read it too.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from sartor_platform.errors import DataLoss

BASE, VERSION = "base", "version"
_LAYER = "output_layer.json"
_GGUF = b"GGUF"
_MEMORY_FACTOR, _RUNTIME_BYTES = 1.3, 500 * 2**20


def is_classifier_version(version: Path) -> bool:
    """Whether a version's folder has an output layer."""
    return (version / _LAYER).exists()


def pack(base: Path, version: Path, weights: Path) -> Path:
    """Write the file; of full weights the base's own are left out."""
    adapter = (version / "adapter_config.json").exists()
    with tarfile.open(weights, "w") as archive:
        for source in sorted(base.iterdir()):
            if source.is_file() and (adapter or source.suffix != ".safetensors"):
                archive.add(source.resolve(), f"{BASE}/{source.name}")
        for source in sorted(version.iterdir()):
            if source.is_file():
                archive.add(source.resolve(), f"{VERSION}/{source.name}")
    return weights


def is_packed(weights: Path) -> bool:
    """Whether a file is a packed classifier, not a GGUF file."""
    with weights.open("rb") as file:
        return file.read(4) != _GGUF and tarfile.is_tarfile(weights)


def unpack(weights: Path, folder: Path) -> tuple[Path, Path]:
    """The folders of base and version.

    Raises:
        DataLoss: CLASSIFIER_CORRUPT.
    """
    try:
        with tarfile.open(weights) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataLoss(
            f"the weights are no whole classifier: {error}", reason="CLASSIFIER_CORRUPT"
        ) from error
    base, version = folder / BASE, folder / VERSION
    if not is_classifier_version(version):
        raise DataLoss("the weights hold no output layer", reason="CLASSIFIER_CORRUPT")
    return base, version


def engine_bytes(weights: Path) -> int:
    """Memory that its engine takes: the weights, what it computes with, and the runtime."""
    return int(weights.stat().st_size * _MEMORY_FACTOR) + _RUNTIME_BYTES
