"""Bucket notifications as S3 defined them and MinIO, Ceph and others send them: objects come, change and go.

They differ in spelling. Event names come with and without `s3:`. Keys are query-escaped by S3
("red+flower.jpg") and MinIO ("users%2FABC"), raw from Ceph. The size is a number, a text or missing. See
"Event message structure" in the Amazon S3 user guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from sartor_ingestion.adapters.messages import BadMessage, Message, ObjectNotice, Said, json_of, object_at

_WRITTEN = ("objectcreated:", "objectrestore:completed")
# Removed by somebody or by a rule of the bucket; Ceph has words of its own for the second.
_REMOVED = ("objectremoved:", "lifecycleexpiration:", "objectlifecycle:expiration:current")
_NOTHING_REMOVED = ("objectremoved:noop",)
_MARKED = "deletemarkercreated"
_NO_DATA = ("objectcreated:putretention", "objectcreated:putlegalhold", "objectcreated:puttagging")


def read(message: Message) -> Said:
    """The objects that were written and removed. Accesses and test events say nothing.

    Raises:
        BadMessage: BAD_MESSAGE, BAD_NOTIFICATION.
    """
    if message.value is None:
        return Said()
    notification = json_of(message.value, "bucket notification")
    if str(notification.get("Event", "")).startswith("s3:TestEvent"):
        return Said()
    records = notification.get("Records")
    if not isinstance(records, list):
        raise BadMessage(
            "BAD_NOTIFICATION", "a bucket notification has a list of Records; this message has none"
        )
    named = [(_event(record), record) for record in records if isinstance(record, Mapping)]
    return Said(
        objects=tuple(
            _notice(record, name) for name, record in named if _is_written(name) or _is_removed(name)
        )
    )


def _event(record: Mapping[str, Any]) -> str:
    return str(record.get("eventName", "")).lower().removeprefix("s3:")


def _is_written(name: str) -> bool:
    return name.startswith(_WRITTEN) and not name.startswith(_NO_DATA)


def _is_removed(name: str) -> bool:
    return name.startswith(_REMOVED) and not name.startswith(_NOTHING_REMOVED)


def _notice(record: Mapping[str, Any], name: str) -> ObjectNotice:
    bucket = object_at(record, "s3", "bucket").get("name")
    found = object_at(record, "s3", "object")
    key = found.get("urlDecodedKey") or found.get("key")
    if not isinstance(bucket, str) or not isinstance(key, str) or not bucket or not key:
        raise BadMessage(
            "BAD_NOTIFICATION", "a record names no bucket or no key: s3.bucket.name, s3.object.key"
        )
    if not found.get("urlDecodedKey") and not str(record.get("eventSource", "")).startswith("ceph"):
        key = unquote_plus(key, errors="strict")
    if _is_removed(name):
        # In a bucket with versions, one is removed for good, or a marker hides them all.
        version = str(found.get("versionId") or "") if _MARKED not in name else ""
        return ObjectNotice(f"s3://{bucket}/{key}", "" if version == "null" else version, removed=True)
    tag = found.get("eTag") or found.get("etag") or found.get("ETag") or ""
    version = str(found.get("versionId") or tag or found.get("sequencer") or "")
    return ObjectNotice(f"s3://{bucket}/{key}", version, _size(found.get("size")))


def _size(value: Any) -> int:
    try:
        return max(int(value), 0)
    except (TypeError, ValueError):
        return 0
