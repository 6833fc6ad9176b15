"""The manifests that services hand to each other through the object store. Standard library only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Self

from sartor_datasets import strict_json
from sartor_datasets.strict_json import ManifestInvalid

SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """Bytes in the object store: where (`s3://bucket/key`) and what (SHA-256 in hex, size)."""

    uri: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if "://" not in self.uri:
            raise ManifestInvalid("uri", f"must be an absolute URI, not {self.uri!r}")
        if not _SHA256.fullmatch(self.sha256):
            raise ManifestInvalid("sha256", "must be 64 lowercase hex digits")
        if self.size_bytes < 0:
            raise ManifestInvalid("size_bytes", "must not be negative")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a model: its path inside the model's folder, and its bytes."""

    path: str
    object: ObjectReference

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        if not parts or self.path.startswith("/") or ".." in parts or "\\" in self.path or "\0" in self.path:
            raise ManifestInvalid("path", f"must be a relative path inside the folder, not {self.path!r}")


class _Manifest:
    """JSON in and out, for all manifests."""

    __slots__ = ()

    def to_json(self) -> bytes:
        """UTF-8 JSON; `from_json` gives an equal manifest back."""
        return strict_json.dump(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Raises ManifestInvalid, with the path of the field, for anything but exactly this manifest."""
        return strict_json.load(cls, data)


def _check_version(version: int) -> None:
    if version != SCHEMA_VERSION:
        raise ManifestInvalid("schema_version", f"is {version}; this release reads {SCHEMA_VERSION}")


@dataclass(frozen=True, slots=True)
class Segment:
    """An immutable Parquet file of `records` physical rows (`arrow.RECORD_SCHEMA`)."""

    id: str
    object: ObjectReference
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotManifest(_Manifest):
    """A dataset at one moment: all its segments, less the rows that `exclusions` names.

    `exclusions` is Parquet of (segment: string, row: int32), sorted. `record_count` counts the live rows.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    dataset: str
    sequence: int
    parent: str
    run: str
    generation: int
    segments: tuple[Segment, ...]
    exclusions: ObjectReference | None
    record_count: int
    create_time: datetime

    def __post_init__(self) -> None:
        _check_version(self.schema_version)
        if len({segment.id for segment in self.segments}) != len(self.segments):
            raise ManifestInvalid("segments", "names a segment twice")


@dataclass(frozen=True, slots=True)
class CuratedFile:
    """The Parquet file of one split (`arrow.CURATED_SCHEMA`)."""

    split: str
    object: ObjectReference
    records: int
    tokens: int

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ManifestInvalid("split", f"must be one of {', '.join(SPLITS)}, not {self.split!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CuratedManifest(_Manifest):
    """What curation made of a snapshot, under one revision of its policy. `name` is the curation's."""

    schema_version: int = SCHEMA_VERSION
    name: str
    snapshot: str
    dataset: str
    files: tuple[CuratedFile, ...]
    policy_revision: int
    base_model: str
    base_model_digest: str
    create_time: datetime

    def __post_init__(self) -> None:
        _check_version(self.schema_version)
        if len({file.split for file in self.files}) != len(self.files):
            raise ManifestInvalid("files", "names a split twice")

    def file(self, split: str) -> CuratedFile | None:
        """The file of `split`, or None where the split is empty."""
        return next((file for file in self.files if file.split == split), None)


def base_model_digest(files: Iterable[ManifestFile]) -> str:
    """SHA-256 in hex over the sorted lines `path NUL sha256 LF`: the identity of a folder of files."""
    lines = sorted(f"{file.path}\0{file.object.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModelManifest(_Manifest):
    """A base model as files: safetensors, tokenizer.json, configuration, chat template."""

    schema_version: int = SCHEMA_VERSION
    name: str
    reference: str
    digest: str
    files: tuple[ManifestFile, ...]
    architecture: str
    context_length: int
    vocabulary_size: int
    license: str
    chat_template: bool

    def __post_init__(self) -> None:
        _check_version(self.schema_version)
        expected = base_model_digest(self.files)
        if self.digest != expected:
            raise ManifestInvalid("digest", f"is {self.digest}, but the files make {expected}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionManifest(_Manifest):
    """A tuned model: what it was made from, with what, and its files (adapter or full weights)."""

    schema_version: int = SCHEMA_VERSION
    name: str
    training_job: str
    method: str
    base_model: str
    base_model_digest: str
    curation: str
    snapshot: str
    recipe: Mapping[str, Any]
    files: tuple[ManifestFile, ...]
    metrics: Mapping[str, float]
    library_versions: Mapping[str, str]
    seed: int
    create_time: datetime

    def __post_init__(self) -> None:
        _check_version(self.schema_version)
