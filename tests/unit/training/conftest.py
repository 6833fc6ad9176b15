"""A tiny model and rows for the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared tiny model."""
    from sartor_models.base import prepare

    folder = tmp_path_factory.mktemp("prepared")
    prepare(make_tiny_model(tmp_path_factory.mktemp("source")), folder)
    return folder
