"""The object store on the real S3 server: digests on the way in, checked on the way out."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from sartor_platform.errors import DigestMismatch, InvalidArgument, ObjectNotFound, SartorError, Unavailable
from sartor_platform.objects import PART_BYTES, ObjectReference, ObjectStore
from sartor_platform.settings import PlatformSettings


@pytest.fixture
def store(settings: PlatformSettings) -> ObjectStore:
    store = ObjectStore(settings)
    store.ensure_bucket()
    return store


def test_what_is_put_comes_back_with_its_digest(store: ObjectStore, unique_name: str, tmp_path: Path) -> None:
    """A file, bytes and a stream of chunks give the same reference to the same content."""
    data = b"some bytes" * 1000
    file = tmp_path / "file"
    file.write_bytes(data)
    of_file = store.put_file(f"{unique_name}/file", file)
    of_bytes = store.put_bytes(f"{unique_name}/bytes", data)
    of_stream = store.put_stream(
        f"{unique_name}/stream", (data[at : at + 7] for at in range(0, len(data), 7))
    )
    for reference in (of_file, of_bytes, of_stream):
        assert (reference.sha256, reference.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert store.get_bytes(reference) == data
    assert store.stat(of_file.uri).size_bytes == len(data)
    assert list(store.list_keys(f"{unique_name}/")) == [
        f"{unique_name}/{name}" for name in ("bytes", "file", "stream")
    ]


def test_an_object_of_several_parts_survives(store: ObjectStore, unique_name: str, tmp_path: Path) -> None:
    """More than one part of 64 MiB, streamed in and out."""
    block = bytes(range(256)) * 4096
    blocks = PART_BYTES // len(block) + 3
    reference = store.put_stream(f"{unique_name}/large", (block for _ in range(blocks)))
    assert reference.size_bytes == blocks * len(block)
    path = store.get_file(reference, tmp_path / "deep" / "large")
    assert path.stat().st_size == reference.size_bytes
    store.remove(reference.uri)


def test_a_wrong_digest_is_found_on_read_and_leaves_no_file(
    store: ObjectStore, unique_name: str, tmp_path: Path
) -> None:
    """The file appears only when it is whole and right; the error names both digests."""
    reference = store.put_bytes(f"{unique_name}/x", b"one")
    wrong = replace(reference, sha256="0" * 64)
    with pytest.raises(DigestMismatch) as caught:
        store.get_file(wrong, tmp_path / "x")
    assert caught.value.reason == "DIGEST_MISMATCH"
    assert caught.value.metadata["expected"] == "0" * 64
    assert caught.value.metadata["actual"] == reference.sha256
    assert list(tmp_path.iterdir()) == []


def test_a_missing_object_is_named(store: ObjectStore, unique_name: str, settings: PlatformSettings) -> None:
    """Reading, and asking for its size, say OBJECT_NOT_FOUND; removing it is no error."""
    uri = f"s3://{settings.s3_bucket}/{unique_name}/nothing"
    with pytest.raises(ObjectNotFound) as caught:
        store.get_bytes(ObjectReference(uri, "0" * 64, 0))
    assert caught.value.reason == "OBJECT_NOT_FOUND"
    with pytest.raises(ObjectNotFound):
        store.stat(uri)
    store.remove(uri)


@pytest.mark.parametrize("uri", ["http://bucket/key", "s3://bucket", "s3:///key", "file:///etc/passwd"])
def test_only_s3_addresses_are_read(store: ObjectStore, uri: str) -> None:
    """Anything else is refused before any request."""
    with pytest.raises(InvalidArgument) as caught:
        store.stat(uri)
    assert caught.value.reason == "BAD_OBJECT_URI"


def test_a_store_that_is_away_is_transient_and_a_wrong_key_is_not(settings: PlatformSettings) -> None:
    """So jobs wait for the one and fail with the other."""
    reference = ObjectReference("s3://sartor/x", "0" * 64, 0)
    with pytest.raises(Unavailable):
        ObjectStore(replace(settings, s3_endpoint="127.0.0.1:1")).get_bytes(reference)
    with pytest.raises(SartorError) as caught:
        ObjectStore(replace(settings, s3_secret_key="wrong")).get_bytes(reference)
    assert caught.value.reason == "OBJECT_STORE_REFUSED"
    assert not caught.value.transient
