"""The child's work, from files to files: what it trains, saves, reports, and how its errors read."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sartor_datasets.arrow import CuratedRecord
from sartor_datasets.curated import CuratedWriter
from sartor_datasets.manifests import (
    BaseModelManifest,
    CuratedManifest,
    ManifestFile,
    ModelVersionManifest,
    ObjectReference,
    base_model_digest,
)
from sartor_datasets.records import Message, Record, content_id
from sartor_platform.errors import SartorError
from sartor_training.child import prepare_base_model, train
from sartor_training.model_card import model_card

from tests.tiny_model import make_tiny_model


class Told:
    """Keeps what the work reports."""

    def __init__(self) -> None:
        self.stages: list[str] = []
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
        self.stages.append(stage)
        self.figures |= figures

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


def _data(folder: Path, rows: int = 12) -> Path:
    folder.mkdir()
    with CuratedWriter(folder) as writer:
        for number in range(rows):
            turns = (Message("user", f"Where is order {number}?"), Message("assistant", "On its way."))
            identity = content_id(kind="chat", messages=turns, text="", label="", attributes={})
            record = Record(
                record_id=identity,
                record_key=identity,
                op="upsert",
                kind="chat",
                messages=turns,
                text="",
                label="",
                attributes={},
                subject_key="",
                source="projects/p/sources/s",
                position=str(number),
                event_time=datetime.now(UTC),
            )
            split = "validation" if number % 4 == 0 else "train"
            writer.write(CuratedRecord(record, split, identity, "en", 10))
    return folder


def _task(tiny: Path, folder: Path, **recipe: Any) -> dict[str, Any]:
    return {
        "base": str(tiny),
        "base_model": "projects/p/baseModels/tiny",
        "data": str(_data(folder / "data")),
        "output": str(folder / "output"),
        "recipe": {"rank": 4, "tokens_per_batch": 64, "epochs": 2, "checkpoint_every_steps": 3, **recipe},
        "threads": 1,
    }


def test_it_trains_from_files_to_files(tiny: Path, tmp_path: Path) -> None:
    told = Told()
    result = train(_task(tiny, tmp_path), tmp_path, told)
    assert result["files"] == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "events.out.tfevents.training",
        "training_log.json",
    ]
    assert result["recipe"]["epochs"] == 2
    assert result["metrics"]["training_rows"] == 9
    assert result["metrics"]["validation_rows"] == 3
    assert result["library_versions"]["torch"]
    config = json.loads((tmp_path / "output" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "projects/p/baseModels/tiny"
    log = json.loads((tmp_path / "output" / "training_log.json").read_text())
    assert len(log["steps"]) == result["metrics"]["steps"] + 1
    assert told.stages[0] == "loading"
    assert "epoch 2 of 2" in told.stages
    assert told.figures["tokens"] == result["metrics"]["tokens"]
    assert {message["type"] for message in told.sent} == {"checkpoint", "steps"}
    steps = [step for message in told.sent if message["type"] == "steps" for step in message["steps"]]
    assert [step["step"] for step in steps] == list(range(1, int(result["metrics"]["steps"]) + 1))
    assert {"loss", "learning_rate", "gradient_norm", "memory_bytes"} <= set(steps[0])
    saved = [message for message in told.sent if message["type"] == "checkpoint"]
    assert Path(saved[0]["path"]).is_relative_to(tmp_path)


def test_a_model_without_a_chat_template_is_a_permanent_failure(tiny: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(tiny, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(SartorError) as caught:
        train(_task(bare, tmp_path), tmp_path, Told())
    assert caught.value.reason == "NO_CHAT_TEMPLATE"
    assert not caught.value.transient


def test_preparing_tells_what_a_manifest_says(tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "source")
    result = prepare_base_model({"source": str(source), "output": str(tmp_path / "out")}, tmp_path, Told())
    files = tuple(ManifestFile(f["path"], _reference(f["sha256"])) for f in result["files"])
    assert result["digest"] == base_model_digest(files)


def test_a_broken_model_file_is_a_permanent_failure(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"no")
    with pytest.raises(SartorError) as caught:
        prepare_base_model(
            {"source": str(tmp_path / "broken.gguf"), "output": str(tmp_path / "o")}, tmp_path, Told()
        )
    assert caught.value.reason == "GGUF_UNREADABLE"


def _reference(sha256: str = "0" * 64) -> ObjectReference:
    return ObjectReference("s3://sartor/key", sha256, 1)


def test_the_model_card_names_base_data_recipe_and_results() -> None:
    files = (ManifestFile("config.json", _reference()),)
    digest = base_model_digest(files)
    base = BaseModelManifest(
        name="projects/p/baseModels/b",
        reference="hub:org/model",
        digest=digest,
        files=files,
        architecture="LlamaForCausalLM",
        context_length=512,
        vocabulary_size=100,
        license="apache-2.0",
        chat_template=True,
    )
    data = CuratedManifest(
        name="projects/p/curations/c",
        snapshot="projects/p/datasets/d/snapshots/s",
        dataset="projects/p/datasets/d",
        files=(),
        policy_revision=3,
        base_model=base.name,
        base_model_digest=digest,
        create_time=datetime.now(UTC),
    )
    version = ModelVersionManifest(
        name="projects/p/models/m/versions/1",
        training_job="projects/p/trainingJobs/j",
        method="sft",
        base_model=base.name,
        base_model_digest=digest,
        curation=data.name,
        snapshot=data.snapshot,
        recipe={"adapter": "lora", "rank": 16},
        files=(),
        metrics={"validation_loss": 1.25, "steps": 40.0},
        library_versions={"torch": "2.13.0"},
        seed=0,
        create_time=datetime.now(UTC),
    )
    card = model_card(version, base, data)
    assert card.startswith("---\nbase_model: hub:org/model\nlicense: apache-2.0\n")
    for fact in (
        digest,
        data.name,
        data.snapshot,
        "policy revision 3",
        "1.2500",
        "| Optimizer steps | 40 |",
        "`16`",
        "2.13.0",
    ):
        assert fact in card
