"""An upload: a header, then the bytes, straight into the object store; then an import of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from sartor.ingestion.v1 import dataset_pb2
from sartor.ingestion.v1 import ingestion_service_pb2 as messages
from sartor_datasets.manifests import ObjectReference
from sartor_platform import log, principal
from sartor_platform.errors import (
    FieldViolation,
    InvalidArgument,
    ResourceExhausted,
    SartorError,
    Unavailable,
)
from sartor_platform.idempotency import once
from sartor_platform.jobs import job_of
from sartor_platform.names import new_id
from sartor_platform.runtime import Runtime
from sqlalchemy.exc import DBAPIError

from sartor_ingestion import service_messages
from sartor_ingestion.reach import Reach
from sartor_ingestion.resources import SOURCE
from sartor_ingestion.store import uploads
from sartor_ingestion.usecases import imports


def receive(runtime: Runtime, parts: Iterator[messages.UploadRecordsRequest]) -> dataset_pb2.Import:
    """Store the bytes and leave them for an import job.

    Raises:
        InvalidArgument: BAD_UPLOAD, DIGEST_MISMATCH, or a bad name; nothing is kept.
        NotFound: SOURCE_NOT_FOUND, before any byte is stored.
        ResourceExhausted: UPLOAD_TOO_LARGE.
        Unavailable: UPLOAD_INTERRUPTED, the client went away.
    """
    header = _header(parts)
    project = SOURCE.parse(header.source, field="header.source")["project"]
    key = f"{project}/uploads/{new_id()}"
    uri = runtime.objects.uri(key)
    with runtime.database.transaction() as tx:
        imports.on_duty(tx, header.source)
        uploads.begin(tx, uri)
    kept = False
    try:
        stored = runtime.objects.put_stream(key, _chunks(parts, runtime.settings.upload_limit_bytes))
        _check_digest(header, stored)
        answer = _start(runtime, header, stored)
        kept = answer.object.uri == uri
        return answer
    finally:
        if not kept:  # refused, or a repeat of a call that was answered already
            _discard(runtime, uri)


def _discard(runtime: Runtime, uri: str) -> None:
    try:
        runtime.objects.remove(uri)
        with runtime.database.transaction() as tx:
            uploads.forget(tx, uri)
    except (SartorError, DBAPIError) as error:  # the call's own fault is told; the sweep comes later
        log.get().warning("upload.left_for_the_sweep", uri=uri, error=log.brief(error))


def _start(runtime: Runtime, header: messages.UploadHeader, stored: ObjectReference) -> dataset_pb2.Import:
    # The digest stands for the body: the same request_id with other bytes is another request.
    request = messages.UploadHeader()
    request.CopyFrom(header)
    request.sha256 = stored.sha256
    arriving = imports.Arriving(
        source=header.source,
        uri=stored.uri,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        file_name=header.file_name,
        format=service_messages.data_format(header.format),
        validate_only=header.validate_only,
    )

    def make() -> dataset_pb2.Import:
        if not uploads.settle(tx, stored.uri):
            message = "the upload took so long that it was given up; send it in smaller files"
            raise Unavailable(message, reason="UPLOAD_INTERRUPTED")
        started = imports.start_import(tx, arriving, principal.current(), Reach.of(runtime.settings))
        return service_messages.import_message(started, job_of(tx.connection, started.name))

    with runtime.database.transaction() as tx:
        return once(tx, header.request_id, request, make, dataset_pb2.Import)


def _header(parts: Iterator[messages.UploadRecordsRequest]) -> messages.UploadHeader:
    first = _next(parts)
    if first is None or first.WhichOneof("part") != "header":
        raise _bad_upload("header", "must be the first message of an upload")
    header: messages.UploadHeader = first.header
    if len(header.file_name) > 1024:
        raise _bad_upload("header.file_name", "must have at most 1024 characters")
    if service_messages.data_format(header.format).isdigit():
        raise _bad_upload("header.format", "must be a format that this service knows")
    return header


def _chunks(parts: Iterator[messages.UploadRecordsRequest], limit_bytes: int) -> Iterator[bytes]:
    size = 0
    while (part := _next(parts)) is not None:
        if part.WhichOneof("part") != "chunk":
            raise _bad_upload("chunk", "must be in every message of an upload after the first")
        size += len(part.chunk)
        if size > limit_bytes:
            message = f"the file is larger than {limit_bytes} bytes; split it, or put it into an object store"
            raise ResourceExhausted(message, reason="UPLOAD_TOO_LARGE")
        yield part.chunk


def _next(parts: Iterator[Any]) -> Any:
    try:
        return next(parts, None)
    except grpc.RpcError as error:
        message = "the upload ended before its last chunk; send it again"
        raise Unavailable(message, reason="UPLOAD_INTERRUPTED") from error


def _check_digest(header: messages.UploadHeader, stored: ObjectReference) -> None:
    if header.sha256 and header.sha256 != stored.sha256:
        raise InvalidArgument(
            f"these bytes have SHA-256 {stored.sha256}, not the header's {header.sha256}; send them again",
            reason="DIGEST_MISMATCH",
            metadata={"expected": header.sha256, "actual": stored.sha256},
            violations=[FieldViolation("header.sha256", "is not the digest of the bytes")],
        )


def _bad_upload(field: str, description: str) -> InvalidArgument:
    violation = FieldViolation(field, description)
    return InvalidArgument(f"{field} {description}", reason="BAD_UPLOAD", violations=[violation])
