"""One tiny model for all tests of the model library."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors folder as a user would have it."""
    return make_tiny_model(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def tiny(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, prepared."""
    from sartor_models.base import prepare

    folder = tmp_path_factory.mktemp("prepared")
    prepare(tiny_source, folder)
    return folder
