"""A tiny model and rows for the tests of training."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sartor_datasets.arrow import CuratedRecord
from sartor_datasets.curated import CuratedWriter
from sartor_datasets.records import Message, Record, content_id

from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared tiny model."""
    from sartor_models.base import prepare

    folder = tmp_path_factory.mktemp("prepared")
    prepare(make_tiny_model(tmp_path_factory.mktemp("source")), folder)
    return folder


def write_curated(folder: Path, records: list[dict[str, Any]]) -> Path:
    """Curated data of these records; each names its split, kind and content."""
    folder.mkdir()
    with CuratedWriter(folder) as writer:
        for number, given in enumerate(records):
            content = {
                "kind": given["kind"],
                "messages": tuple(Message(*turn) for turn in given.get("messages", ())),
                "text": given.get("text", ""),
                "label": given.get("label", ""),
                "chosen": given.get("chosen", ""),
                "rejected": given.get("rejected", ""),
                "attributes": {},
            }
            record = Record(
                record_id=content_id(**content),
                record_key=f"row-{number}",
                source="projects/p/sources/s",
                position=str(number),
                event_time=datetime.now(UTC),
                **content,
            )
            writer.write(CuratedRecord(record, given["split"], f"c{number}", "en", 10))
    return folder


def task_of(base: Path, data: Path, folder: Path, **recipe: Any) -> dict[str, Any]:
    """A task as the worker stages it."""
    return {
        "base": str(base),
        "base_model": "projects/p/baseModels/tiny",
        "data": str(data),
        "output": str(folder / "output"),
        "recipe": {"tokens_per_batch": 128, "checkpoint_every_steps": 4, **recipe},
        "threads": 1,
    }


class Told:
    """Keeps what the work reports."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self.sent: list[dict[str, Any]] = []

    def __call__(
        self,
        fraction: float,
        *,
        stage: str = "",
        eta_seconds: float | None = None,
        message: str = "",
        **figures: float,
    ) -> None:
        assert 0 <= fraction <= 1
        self.figures |= figures

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def checkpoints(self) -> list[str]:
        """Paths of what was saved on the way."""
        return [message["path"] for message in self.sent if message["type"] == "checkpoint"]
