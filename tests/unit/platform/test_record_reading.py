"""A message that the Kafka client itself cannot read must not stop the partition."""

from __future__ import annotations

from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from sartor_platform.record_reading import read_any_header


def test_header_keys_that_are_no_utf8_are_read_and_what_follows_too() -> None:
    """Key, value and the other headers arrive as they were sent."""
    read_any_header()
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=10_000,
    )  # fmt: skip
    headers = [("good", b"1"), ("WRONG", b"WRONG"), ("WRONG", None), ("ce_id", b"2")]
    builder.append(0, 1000, b"WRONG", b"value", headers)
    builder.append(1, 1000, None, b"next", [("ce_id", b"3")])
    sent = bytes(builder.build()).replace(b"WRONG", b"W\xff\xfeNG")
    first, second = DefaultRecordBatch(sent)
    assert (first.key, first.value) == (b"W\xff\xfeNG", b"value")
    assert first.headers == [("good", b"1"), ("W??NG", b"W\xff\xfeNG"), ("W??NG", None), ("ce_id", b"2")]
    assert (second.value, second.headers) == (b"next", [("ce_id", b"3")])
