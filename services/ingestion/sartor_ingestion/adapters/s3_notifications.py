"""Bucket notifications as S3 defined them and MinIO, Ceph and others send them: each new object is imported.

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
_NO_DATA = ("objectcreated:putretention", "objectcreated:putlegalhold", "objectcreated:puttagging")


def read(message: Message) -> Said:
    """The objects that were written. Removals, accesses and test events say nothing.

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
    return Said(objects=tuple(_notice(record) for record in records if _is_written(record)))


def _is_written(record: Any) -> bool:
    name = str(record.get("eventName", "")).lower().removeprefix("s3:") if isinstance(record, Mapping) else ""
    return name.startswith(_WRITTEN) and not name.startswith(_NO_DATA)


def _notice(record: Mapping[str, Any]) -> ObjectNotice:
    bucket = object_at(record, "s3", "bucket").get("name")
    found = object_at(record, "s3", "object")
    key = found.get("urlDecodedKey") or found.get("key")
    if not isinstance(bucket, str) or not isinstance(key, str) or not bucket or not key:
        raise BadMessage(
            "BAD_NOTIFICATION", "a record names no bucket or no key: s3.bucket.name, s3.object.key"
        )
    if not found.get("urlDecodedKey") and not str(record.get("eventSource", "")).startswith("ceph"):
        key = unquote_plus(key, errors="strict")
    tag = found.get("eTag") or found.get("etag") or found.get("ETag") or ""
    version = str(found.get("versionId") or tag or found.get("sequencer") or "")
    return ObjectNotice(f"s3://{bucket}/{key}", version, _size(found.get("size")))


def _size(value: Any) -> int:
    try:
        return max(int(value), 0)
    except (TypeError, ValueError):
        return 0
