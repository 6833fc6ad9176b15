"""The object store: any S3 endpoint through the MinIO client.

Every read is checked against the SHA-256 that names it.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

from sartor_datasets.manifests import ObjectReference

from sartor_platform import fault_points
from sartor_platform.errors import DigestMismatch, InvalidArgument, ObjectNotFound, SartorError, Unavailable
from sartor_platform.settings import PlatformSettings

if TYPE_CHECKING:
    from minio import Minio

__all__ = ["ObjectReference", "ObjectStat", "ObjectStore"]

PART_BYTES = 64 * 1024 * 1024
STREAM_PART_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_GONE = ("NoSuchKey", "NoSuchBucket", "NoSuchObject", "ResourceNotFound")


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What the store knows of an object without reading it."""

    uri: str
    size_bytes: int


class ObjectStore:
    """Objects under keys that we make. Threads may share it; the client is made at first use."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._lock = threading.Lock()
        self._client: Minio | None = None

    def put_file(self, key: str, path: Path) -> ObjectReference:
        """Store a file; its digest is taken while it is read."""
        with path.open("rb") as file:
            return self._put(key, file, os.fstat(file.fileno()).st_size)

    def put_bytes(self, key: str, data: bytes) -> ObjectReference:
        """Store bytes."""
        return self._put(key, io.BytesIO(data), len(data))

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> ObjectReference:
        """Store chunks as they come, up to 156 GiB; a few parts of 16 MiB are held in memory at most.

        They are drawn as fast as the store takes them: a slow store slows the sender down.
        """
        return self._put(key, cast(BinaryIO, _Chunks(chunks)), -1, STREAM_PART_BYTES)

    def get_file(self, reference: ObjectReference, path: Path) -> Path:
        """Download to `path`, which appears only when the whole object is there and its digest is right.

        Raises:
            ObjectNotFound: OBJECT_NOT_FOUND.
            DigestMismatch: DIGEST_MISMATCH.
            Unavailable: OBJECT_STORE_UNAVAILABLE.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            with partial.open("wb") as file:
                for chunk in self.stream(reference):
                    file.write(chunk)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def get_bytes(self, reference: ObjectReference) -> bytes:
        """The object's bytes; raises as `get_file`."""
        return b"".join(self.stream(reference))

    def stream(self, reference: ObjectReference) -> Iterator[bytes]:
        """The object's bytes in chunks. A wrong digest is raised after the last one; raises as `get_file`."""
        digest = hashlib.sha256()
        for chunk in self._read(reference.uri):
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != reference.sha256 and not fault_points.switched_off(
            fault_points.DIGEST_CHECK
        ):
            raise DigestMismatch(
                f"{reference.uri} is not the object it should be: its SHA-256 is {digest.hexdigest()},"
                f" expected {reference.sha256}; write it again and refer to it by its own digest",
                metadata={"uri": reference.uri, "expected": reference.sha256, "actual": digest.hexdigest()},
            )

    def digest(self, uri: str) -> str:
        """SHA-256 in hex of an object that came without one: it is read once for it; raises as `get_file`."""
        digest = hashlib.sha256()
        for chunk in self._read(uri):
            digest.update(chunk)
        return digest.hexdigest()

    def stat(self, uri: str) -> ObjectStat:
        """Size of an object; raises ObjectNotFound or Unavailable."""
        bucket, key = _address(uri)
        with _store_errors(uri):
            return ObjectStat(uri, int(self._minio().stat_object(bucket, key).size or 0))

    def remove(self, uri: str) -> None:
        """Delete an object; one that is gone already is no error."""
        bucket, key = _address(uri)
        with _store_errors(uri):
            self._minio().remove_object(bucket, key)

    def list_objects(self, uri_prefix: str) -> Iterator[tuple[ObjectStat, str]]:
        """The objects under a prefix of any bucket, in order, each with its entity tag."""
        bucket, _, prefix = uri_prefix.removeprefix("s3://").partition("/")
        with _store_errors(uri_prefix):
            for item in self._minio().list_objects(bucket, prefix=prefix, recursive=True):
                stat = ObjectStat(f"s3://{bucket}/{item.object_name}", int(item.size or 0))
                yield stat, str(item.etag or "").strip('"')

    def copy_to(self, uri: str, path: Path) -> ObjectReference:
        """Download an object that came without a digest; raises as `get_file`."""
        digest = hashlib.sha256()
        size = 0
        with path.open("wb") as file:
            for chunk in self._read(uri):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        return ObjectReference(uri, digest.hexdigest(), size)

    def list_keys(self, prefix: str) -> Iterator[str]:
        """The keys under a prefix, in order."""
        with _store_errors(self.uri(prefix)):
            for item in self._minio().list_objects(self._bucket, prefix=prefix, recursive=True):
                yield str(item.object_name)

    def ensure_bucket(self) -> None:
        """Create our bucket where it does not exist."""
        with _store_errors(self.uri("")):
            if not self._minio().bucket_exists(self._bucket):
                self._minio().make_bucket(self._bucket, location=self._settings.s3_region)

    def uri(self, key: str) -> str:
        """The URI of a key in our bucket."""
        return f"s3://{self._bucket}/{key}"

    def _read(self, uri: str) -> Iterator[bytes]:
        bucket, key = _address(uri)
        with _store_errors(uri):
            response = self._minio().get_object(bucket, key)
            try:
                yield from response.stream(_CHUNK_BYTES)
            finally:
                response.close()
                response.release_conn()

    def _put(self, key: str, data: BinaryIO, length: int, part_bytes: int = PART_BYTES) -> ObjectReference:
        reader = _Hashing(data)
        with _store_errors(self.uri(key)):
            self._minio().put_object(
                self._bucket,
                key,
                cast(BinaryIO, reader),
                length,
                part_size=part_bytes,
                num_parallel_uploads=2,
            )
        return ObjectReference(self.uri(key), reader.digest.hexdigest(), reader.size)

    def _minio(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _client(self._settings)
            return self._client


def _client(settings: PlatformSettings) -> Any:
    import urllib3
    from minio import Minio

    pool: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED"} if settings.s3_secure else {}
    http = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=60),
        maxsize=16,
        retries=urllib3.Retry(
            total=4, backoff_factor=0.2, backoff_jitter=0.2, status_forcelist=[500, 502, 503, 504]
        ),
        **pool,
    )
    return Minio(
        settings.s3_endpoint.removeprefix("http://").removeprefix("https://").rstrip("/"),
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        secure=settings.s3_secure,
        region=settings.s3_region,
        http_client=http,
    )


@contextmanager
def _store_errors(uri: str) -> Iterator[None]:
    from minio.error import S3Error
    from urllib3.exceptions import HTTPError

    try:
        yield
    except S3Error as error:
        if error.code in _GONE:
            raise ObjectNotFound(
                f"{uri} does not exist in the object store", metadata={"uri": uri}
            ) from error
        raise _refused(uri, error) from error
    except (HTTPError, ConnectionError) as error:
        raise Unavailable(
            f"the object store did not answer for {uri}: {type(error).__name__}",
            reason="OBJECT_STORE_UNAVAILABLE",
            metadata={"uri": uri},
        ) from error


def _refused(uri: str, error: Any) -> SartorError:
    if error.code in (
        "InternalError",
        "SlowDown",
        "ServiceUnavailable",
        "RequestTimeout",
        "XMinioStorageFull",
    ):
        return Unavailable(
            f"the object store could not serve {uri}: {error.code}",
            reason="OBJECT_STORE_UNAVAILABLE",
            metadata={"uri": uri, "code": error.code},
        )
    return InvalidArgument(
        f"the object store refused {uri}: {error.code}: {error.message}",
        reason="OBJECT_STORE_REFUSED",
        metadata={"uri": uri, "code": str(error.code)},
    )


def _address(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    key = parts.path.lstrip("/")
    if parts.scheme != "s3" or not parts.netloc or not key or parts.query or parts.fragment:
        raise InvalidArgument(
            f"{uri!r} is no object address; write s3://bucket/key",
            reason="BAD_OBJECT_URI",
            metadata={"uri": uri},
        )
    return parts.netloc, key


class _Hashing:
    """A reader that digests what goes through it."""

    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._data.read(size)
        self.digest.update(chunk)
        self.size += len(chunk)
        return chunk


class _Chunks:
    """A reader over chunks of any size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts = [self._rest]
        held = len(self._rest)
        while size < 0 or held < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            held += len(chunk)
        data = b"".join(parts)
        wanted = len(data) if size < 0 else size
        self._rest = data[wanted:]
        return data[:wanted]
