"""Facts about the manifests and their strict JSON."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sartor_datasets.manifests import (
    BaseModelManifest,
    CuratedFile,
    CuratedManifest,
    ManifestFile,
    ModelVersionManifest,
    ObjectReference,
    Segment,
    SnapshotManifest,
    base_model_digest,
)
from sartor_datasets.strict_json import ManifestInvalid

BAD_OBJECT = {"uri": "s3://b/k", "size_bytes": 1, "sha256": "x"}
NOW = datetime(2026, 11, 22, 12, 30, 5, 123456, tzinfo=UTC)


def an_object(name: str = "a") -> ObjectReference:
    return ObjectReference(f"s3://sartor/{name}", hashlib.sha256(name.encode()).hexdigest(), 7)


def a_snapshot() -> SnapshotManifest:
    return SnapshotManifest(
        name="projects/p/datasets/d/snapshots/1",
        dataset="projects/p/datasets/d",
        sequence=1,
        parent="",
        run="01r",
        generation=3,
        segments=(Segment("s1", an_object(), 10),),
        exclusions=None,
        record_count=10,
        create_time=NOW,
    )


def a_base_model() -> BaseModelManifest:
    files = (ManifestFile("b/x.json", an_object("x")), ManifestFile("a.safetensors", an_object("y")))
    return BaseModelManifest(
        name="projects/p/baseModels/b",
        reference="package:b",
        digest=base_model_digest(files),
        files=files,
        architecture="LlamaForCausalLM",
        context_length=2048,
        vocabulary_size=49152,
        license="apache-2.0",
        chat_template=True,
    )


def all_manifests() -> list[SnapshotManifest | CuratedManifest | BaseModelManifest | ModelVersionManifest]:
    return [
        a_snapshot(),
        CuratedManifest(
            name="projects/p/curations/c",
            snapshot="s",
            dataset="d",
            files=(CuratedFile("train", an_object(), 5, 100),),
            policy_revision=2,
            base_model="projects/p/baseModels/b",
            base_model_digest="0" * 64,
            create_time=NOW,
        ),
        a_base_model(),
        ModelVersionManifest(
            name="projects/p/models/m/versions/1",
            training_job="j",
            method="sft",
            base_model="b",
            base_model_digest="0" * 64,
            curation="c",
            snapshot="s",
            recipe={"rank": 16, "nested": {"a": [1, 2]}},
            files=(),
            metrics={"loss": 1.5},
            library_versions={"torch": "2.13.0"},
            seed=1,
            create_time=NOW,
        ),
    ]


@pytest.mark.parametrize("manifest", all_manifests(), ids=lambda m: type(m).__name__)
def test_a_manifest_read_back_is_equal_to_the_one_written(manifest: SnapshotManifest) -> None:
    assert type(manifest).from_json(manifest.to_json()) == manifest


def changed(**fields: object) -> str:
    document = json.loads(a_snapshot().to_json())
    document.update(fields)
    return json.dumps({key: value for key, value in document.items() if value != "DROP"})


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ("not json", ""),
        ("[]", ""),
        (changed(extra=1), "extra"),
        (changed(run="DROP"), "run"),
        (changed(sequence="1"), "sequence"),
        (changed(sequence=True), "sequence"),
        (changed(schema_version=2), "schema_version"),
        (changed(create_time="2026-11-22T12:00:00"), "create_time"),
        (changed(segments=[{"id": "s1", "object": BAD_OBJECT}]), "segments[0].records"),
        (changed(segments=[{"id": "s1", "object": BAD_OBJECT, "records": 1}]), "segments[0].object.sha256"),
    ],
)
def test_a_manifest_that_is_not_exactly_right_is_refused_with_the_path(document: str, path: str) -> None:
    with pytest.raises(ManifestInvalid) as error:
        SnapshotManifest.from_json(document)
    assert error.value.path == path


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\\b"])
def test_a_file_outside_the_folder_of_its_model_cannot_be_named(path: str) -> None:
    with pytest.raises(ManifestInvalid):
        ManifestFile(path, an_object())


def test_the_digest_of_a_base_model_is_that_of_its_sorted_files() -> None:
    x, y = an_object("x").sha256, an_object("y").sha256
    assert (
        a_base_model().digest == hashlib.sha256(f"a.safetensors\0{y}\nb/x.json\0{x}\n".encode()).hexdigest()
    )


def test_a_base_model_whose_digest_is_not_that_of_its_files_is_refused() -> None:
    document = json.loads(a_base_model().to_json())
    document["digest"] = "0" * 64
    with pytest.raises(ManifestInvalid, match="digest"):
        BaseModelManifest.from_json(json.dumps(document))


def test_manifests_and_records_import_nothing_heavy() -> None:
    code = """
import sys, sartor_datasets.manifests, sartor_datasets.records, sartor_datasets.model_files
sys.exit('pyarrow' in sys.modules or 'numpy' in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
