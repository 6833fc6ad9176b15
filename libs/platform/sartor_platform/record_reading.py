"""Makes the Kafka client read any message: one with a header key that is no UTF-8 would stop it for ever.

The client raises in the middle of its poll, at each poll again, so that nothing behind the message is ever
read. Here such a key becomes readable, byte by byte, and the message goes on to where events are judged.
"""

from __future__ import annotations

from typing import Any


def read_any_header() -> None:
    """Mend the client's reader, once in a process."""
    from kafka.record.default_records import DefaultRecordBatch

    strict = DefaultRecordBatch._read_msg
    if getattr(strict, "reads_any_header", False):
        return

    def read(batch: Any, *args: Any) -> Any:
        start = batch._pos
        while True:
            try:
                return strict(batch, *args)
            except UnicodeDecodeError as error:
                at = _header_key(batch._buffer, start, bytes(error.object))
                batch._buffer[at : at + len(error.object)] = bytes(
                    byte if byte < 0x80 else 0x3F for byte in error.object
                )
                batch._pos = start

    read.reads_any_header = True  # type: ignore[attr-defined]
    DefaultRecordBatch._read_msg = read


def _header_key(buffer: bytearray, position: int, wrong: bytes) -> int:
    """Where the key lies that could not be read: of the first header with these bytes as its key."""
    from kafka.record.util import decode_varint

    for _ in range(4):  # length, attributes, time and offset
        _, position = decode_varint(buffer, position)
    for _ in range(2):  # key and value
        length, position = decode_varint(buffer, position)
        position += max(length, 0)
    headers, position = decode_varint(buffer, position)
    for _ in range(headers):
        length, position = decode_varint(buffer, position)
        if buffer[position : position + length] == wrong:
            return position
        position += length
        length, position = decode_varint(buffer, position)
        position += max(length, 0)
    raise ValueError("no header of the record has this key")
