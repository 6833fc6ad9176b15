"""Facts about staging a base model into the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sartor_datasets.manifests import BaseModelManifest, ManifestFile, ObjectReference, base_model_digest
from sartor_datasets.model_files import stage_base_model


def a_model(store: Path) -> BaseModelManifest:
    files = []
    for path, data in (("config.json", b"{}"), ("tokenizer/tokenizer.json", b"[]")):
        sha256 = hashlib.sha256(data).hexdigest()
        (store / sha256).write_bytes(data)
        files.append(ManifestFile(path, ObjectReference(f"s3://b/{sha256}", sha256, len(data))))
    return BaseModelManifest(
        name="projects/p/baseModels/b",
        reference="package:b",
        digest=base_model_digest(files),
        files=tuple(files),
        architecture="Llama",
        context_length=1,
        vocabulary_size=1,
        license="",
        chat_template=False,
    )


def test_a_base_model_is_staged_once_under_its_digest(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    model, fetched = a_model(store), []

    def fetch(reference: ObjectReference) -> Path:
        fetched.append(reference.uri)
        return store / reference.sha256

    for _ in range(2):
        folder = stage_base_model(fetch, model, tmp_path / "cache")
        assert folder == tmp_path / "cache" / model.digest
    assert (folder / "tokenizer" / "tokenizer.json").read_bytes() == b"[]"
    assert len(fetched) == 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [model.digest]


def test_a_model_that_cannot_be_fetched_leaves_nothing_behind(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    model = a_model(store)

    def fetch(reference: ObjectReference) -> Path:
        raise ConnectionError("store is away")

    with pytest.raises(ConnectionError):
        stage_base_model(fetch, model, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
