"""The object store on the real S3 server: digests on the way in, checked on the way out."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sartor_platform.errors import DigestMismatch, InvalidArgument, ObjectNotFound, SartorError, Unavailable
from sartor_platform.object_cache import ObjectCache
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
    """More than one part, streamed in and out."""
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


class Gate:
    """Passes bytes on to a server while it is open; what is sent meanwhile waits."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").rpartition(":")
        self._target = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.open = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.open.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.open.set()
        self._listening.close()


def test_a_store_that_takes_nothing_stops_the_sender_and_loses_nothing(
    settings: PlatformSettings, unique_name: str
) -> None:
    """A stream is drawn only as fast as it is stored: what waits in memory does not grow with the stream."""
    gate = Gate(settings.s3_endpoint)
    gate.open.set()
    store = ObjectStore(replace(settings, s3_endpoint=gate.address))
    store.ensure_bucket()
    gate.open.clear()
    chunk, chunks = b"x" * 1024 * 1024, 240
    drawn: list[int] = []

    def stream() -> Iterator[bytes]:
        for number in range(chunks):
            drawn.append(number)
            yield chunk

    try:
        with ThreadPoolExecutor(1) as sender:
            sent = sender.submit(store.put_stream, f"{unique_name}/slow", stream())
            before = -1
            while len(drawn) != before:
                before = len(drawn)
                time.sleep(1.0)
            stopped_at = len(drawn)
            gate.open.set()
            reference = sent.result(timeout=60)
    finally:
        gate.close()
    assert 0 < stopped_at < chunks / 2
    assert reference.size_bytes == chunks * len(chunk)
    assert reference.sha256 == hashlib.sha256(chunk * chunks).hexdigest()
    store.remove(reference.uri)


def test_a_cached_file_that_is_in_use_is_never_fetched_twice(
    store: ObjectStore, unique_name: str, tmp_path: Path
) -> None:
    """Who asks next gets the same file on disk, however full the cache is; what nobody uses makes room."""
    cache = ObjectCache(store, tmp_path / "cache", limit_bytes=1500)
    used, idle, later = (store.put_bytes(f"{unique_name}/{n}", bytes([n]) * 1000) for n in range(3))
    first = cache.fetch(used, tmp_path / "engine-1")
    cache.fetch(idle, tmp_path / "job").unlink()
    cache.fetch(later, tmp_path / "engine-2")
    kept = {path.name for path in (tmp_path / "cache").glob("*/*")}
    assert kept == {used.sha256, later.sha256}
    assert cache.fetch(used, tmp_path / "engine-3").samefile(first)
