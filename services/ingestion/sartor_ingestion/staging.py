"""What an import reads: fetched before its child runs; and which rows are of which object."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import log
from sartor_platform.errors import FailedPrecondition, ObjectNotFound
from sartor_platform.worker import JobContext

from sartor_ingestion.formats.archives import path_problem
from sartor_ingestion.rejection import Rejection
from sartor_ingestion.resources import Import
from sartor_ingestion.store import known_objects

MAX_PREFIX_OBJECTS = 100_000


def staged(context: JobContext, found: Import, source_id: int) -> dict[str, Any]:
    """Fetch the file, the objects that were notified, or what lies under a prefix.

    Raises:
        FailedPrecondition: PREFIX_TOO_LARGE, PREFIX_EMPTY.
        ObjectNotFound: the one file is not there.
    """
    if context.job.payload.get("objects"):
        return _notified(context, found, context.job.payload["objects"])
    if found.uri.endswith("/"):
        return _below(context, found, source_id)
    sha256 = found.sha256 or context.runtime.objects.digest(found.uri)
    path = context.fetch(ObjectReference(found.uri, sha256, found.size_bytes))
    return {"file": str(path)}


def _notified(context: JobContext, found: Import, objects: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Fetch the objects that were notified; one that is gone meanwhile is left out."""
    folder = context.folder / "prefix"
    folder.mkdir()
    files: list[dict[str, str]] = []
    digest = hashlib.sha256()
    size = 0
    for uri, version in objects:
        path = folder / str(len(files))
        key = uri.removeprefix(found.uri)
        try:
            copied = context.runtime.objects.copy_to(uri, path)
        except ObjectNotFound:
            log.get().info("object.gone", uri=uri)
            continue
        size += copied.size_bytes
        digest.update(f"{uri}\0{copied.sha256}\n".encode())
        files.append({"path": str(path), "name": key, "uri": uri, "version": version})
        context.report(0.0, stage="fetching", objects=len(files))
    staged = {"files": files, "sha256": digest.hexdigest(), "size_bytes": size}
    (context.folder / "prefix.json").write_text(json.dumps(staged), encoding="utf-8")
    return {"files": files}


def _below(context: JobContext, found: Import, source_id: int) -> dict[str, Any]:
    """Fetch the objects under a prefix that were not taken in this version already.

    Raises:
        FailedPrecondition: PREFIX_TOO_LARGE, PREFIX_EMPTY.
    """
    limit = context.runtime.settings.prefix_limit_bytes
    folder = context.folder / "prefix"
    folder.mkdir()
    with context.runtime.database.read() as connection:
        known = {} if found.validate_only else known_objects.known(connection, source_id, found.uri)
    files: list[dict[str, str]] = []
    digest = hashlib.sha256()
    size = listed = 0
    for stat, tag in context.runtime.objects.list_objects(found.uri):
        key = stat.uri.removeprefix(found.uri)
        listed += 1
        if stat.uri.endswith("/") or known.get(stat.uri) == tag or path_problem(key):
            continue
        size += stat.size_bytes
        if size > limit or len(files) == MAX_PREFIX_OBJECTS:
            message = f"more than {limit} bytes or {MAX_PREFIX_OBJECTS} objects lie under {found.uri}"
            raise FailedPrecondition(f"{message}; import it in parts", reason="PREFIX_TOO_LARGE")
        path = folder / str(len(files))
        copied = context.runtime.objects.copy_to(stat.uri, path)
        digest.update(f"{stat.uri}\0{copied.sha256}\n".encode())
        files.append({"path": str(path), "name": key, "uri": stat.uri, "version": tag})
        context.report(0.0, stage="fetching", objects=len(files))
    if not listed:
        raise FailedPrecondition(f"no object lies under {found.uri}; check the prefix", reason="PREFIX_EMPTY")
    staged = {"files": files, "sha256": digest.hexdigest(), "size_bytes": size}
    (context.folder / "prefix.json").write_text(json.dumps(staged), encoding="utf-8")
    return {"files": files}


def fetched(context: JobContext, found: Import) -> tuple[ObjectReference, dict[str, str]]:
    """The file's reference, complete now that it was fetched; of a prefix, its objects and their versions."""
    if found.uri.endswith("/"):
        staged = json.loads((context.folder / "prefix.json").read_text(encoding="utf-8"))
        versions = {file["uri"]: file["version"] for file in staged["files"]}
        return ObjectReference(found.uri, staged["sha256"], staged["size_bytes"]), versions
    (path,) = (context.folder / "objects").iterdir()
    return ObjectReference(found.uri, path.name, path.stat().st_size), {}


def rows_of(found: Import, objects: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """How the positions of each object's rows begin. An upload is no object that could change."""
    if "/uploads/" in found.uri:
        return {}
    rows: dict[str, tuple[str, ...]] = {found.uri: (f"{found.name}#",)}
    if not found.uri.endswith("/"):
        return rows
    keys = {uri: _as_position(uri.removeprefix(found.uri)) for uri in objects}
    return {uri: (f"{found.name}#{key}:", f"{found.name}#{key}/") for uri, key in keys.items()}


def broken(rows_of: dict[str, tuple[str, ...]], rejected: int, rejections: list[Rejection]) -> set[str]:
    """The objects that have rejected rows; not all rejections are kept."""
    if rejected > len(rejections):
        return set(rows_of)
    bad = [_as_position(one.position) for one in rejections]
    return {uri for uri, begin in rows_of.items() if any(each.startswith(begin) for each in bad)}


def _as_position(key: str) -> str:
    """As `import_rows` writes it."""
    return key.encode("ascii", "backslashreplace").decode()
