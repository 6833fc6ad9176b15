"""llama.cpp's own converter, in a process of its own: its `gguf` must not meet the one transformers uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sartor_platform import log
from sartor_platform.errors import FailedPrecondition

_MAIN = Path(__file__).with_name("converter_main.py")
_MAGIC = b"GGUF"
_LINES_SHOWN = 3


def convert(converter: Path, model: Path, weights: Path, quantization: str) -> None:
    """Convert the safetensors folder `model` into the file `weights`.

    Args:
        quantization: Q8_0 or F16.
    Raises:
        FailedPrecondition: CONVERTER_MISSING, or CONVERSION_FAILED with the converter's last words.
    """
    if not (converter / "convert_hf_to_gguf.py").is_file():
        raise FailedPrecondition(
            f"llama.cpp's converter is not in {converter}; run `make setup`, or set SARTOR_CONVERTER_DIR",
            reason="CONVERTER_MISSING",
        )
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            str(_MAIN),
            str(model),
            "--outtype",
            quantization.lower(),
            "--outfile",
            str(weights),
        ],
        env=_environment(converter),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode or not _is_gguf(weights):
        log.get().error("converter.failed", status=done.returncode, output=done.stdout[-4000:])
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()][-_LINES_SHOWN:]
        raise FailedPrecondition(
            f"llama.cpp's converter cannot convert this model: {' | '.join(lines)[-600:]}",
            reason="CONVERSION_FAILED",
            metadata={"status": str(done.returncode)},
        )


def _environment(converter: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "SARTOR_"))
    }
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1"}
    return {**kept, **offline, "PYTHONPATH": str(converter), "TRANSFORMERS_VERBOSITY": "error"}


def _is_gguf(weights: Path) -> bool:
    try:
        with weights.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except FileNotFoundError:
        return False
