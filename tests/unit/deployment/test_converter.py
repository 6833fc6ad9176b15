"""The converter: which pre-tokenizer a tokenizer has, and that the two `gguf` packages stay apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sartor_deployment.build.converter import convert
from sartor_deployment.build.converter_main import pre_tokenizer_name
from sartor_platform.errors import FailedPrecondition

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
CONVERTER = Path(sys.prefix) / "share" / "sartor" / "converter"
needs_converter = pytest.mark.skipif(not CONVERTER.is_dir(), reason="the converter is not installed")


@pytest.mark.parametrize(
    ("described", "name"),
    [
        (BYTES, "gpt-2"),
        ({"type": "Sequence", "pretokenizers": [BYTES]}, "gpt-2"),
        (
            {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES]},
            "smollm",
        ),
        (
            {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, BYTES]},
            None,
        ),
        ({**BYTES, "add_prefix_space": True}, None),
        ({"type": "Metaspace"}, None),
        (None, None),
    ],
)
def test_the_pre_tokenizer_is_told_from_tokenizer_json(
    described: dict[str, Any] | None, name: str | None
) -> None:
    """Only what llama.cpp has exactly; anything else stays unknown."""
    assert pre_tokenizer_name({"pre_tokenizer": described}) == name


def test_a_missing_converter_says_what_to_do(tmp_path: Path) -> None:
    """No stack trace."""
    with pytest.raises(FailedPrecondition) as caught:
        convert(tmp_path, tmp_path, tmp_path / "out.gguf", "Q8_0")
    assert caught.value.reason == "CONVERTER_MISSING"
    assert "make setup" in caught.value.message


@needs_converter
def test_both_gguf_packages_work_each_in_its_place() -> None:
    """PyPI's is what we import; the converter's is what the converter imports."""
    ours = subprocess.run(
        [sys.executable, "-c", "import gguf; print(gguf.__file__, gguf.GGUFReader.__name__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "site-packages" in ours.stdout
    theirs = subprocess.run(
        [sys.executable, "-P", "-c", "import gguf; print(gguf.__file__, gguf.GGUFWriter.__name__)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(CONVERTER)},
    )
    assert str(CONVERTER) in theirs.stdout


@needs_converter
def test_a_model_the_converter_refuses_is_a_clear_error(tmp_path: Path) -> None:
    """Its last words are in the message."""
    (tmp_path / "config.json").write_text('{"architectures": ["NoSuchModel"], "model_type": "none"}')
    with pytest.raises(FailedPrecondition) as caught:
        convert(CONVERTER, tmp_path, tmp_path / "out.gguf", "Q8_0")
    assert caught.value.reason == "CONVERSION_FAILED"
