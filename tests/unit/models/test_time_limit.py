"""A chat template that does not end is stopped, and the thread it ran in goes on undisturbed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sartor_datasets.records import Message
from sartor_models import tokenizer as tokenizer_module
from sartor_models.errors import ModelError
from sartor_models.time_limit import TimeLimit
from sartor_models.tokenizer import load_tokenizer

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = b %}{% endfor %}{% endfor %}"


def test_an_endless_template_is_stopped(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(tiny, tmp_path / "model")
    (folder / "chat_template.jinja").write_text(ENDLESS, encoding="utf-8")
    monkeypatch.setattr(tokenizer_module, "RENDER_SECONDS", 0.3)
    tokenizer = load_tokenizer(folder)
    for _ in range(2):
        with pytest.raises(ModelError) as caught:
            tokenizer.render([Message("user", "Hi")])
        assert caught.value.reason == "CHAT_TEMPLATE_TIMEOUT"


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    limit = TimeLimit(0.2)
    for _ in range(2000):
        with limit:
            total = sum(range(50))
    assert total == 1225
