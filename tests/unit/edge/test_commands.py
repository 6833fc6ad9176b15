"""`python -m sartor_edge`: what goes wrong is said without numbers of the system."""

from __future__ import annotations

from pathlib import Path

import pytest
from sartor_edge.__main__ import main


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, and the path first."""
    private = tmp_path / "gone" / "private.pem"
    assert main(["keygen", "--private", str(private), "--public", str(tmp_path / "public.pem")]) == 1
    assert capsys.readouterr().err == f"{private}: No such file or directory\n"


def test_a_key_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first stays as it is."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    asked = ["keygen", "--private", str(private), "--public", str(public)]
    assert main(asked) == 0
    first = private.read_bytes()
    assert main(asked) == 1
    assert private.read_bytes() == first
    assert capsys.readouterr().err == f"{private}: File exists\n"
