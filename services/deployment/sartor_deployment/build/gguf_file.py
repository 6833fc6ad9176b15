"""What a GGUF file says of itself, and whether all of it is there. Standard library only.

Layout as in ggml's docs/gguf.md: magic, version, counts, key-value pairs, tensor descriptions, aligned data.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_BLOCKS = {  # type → (weights in a block, bytes of a block), as in ggml.c
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 30: (1, 2),
}  # fmt: skip
_MOST_KEYS, _MOST_TENSORS, _MOST_STRING = 100_000, 1_000_000, 64 * 2**20


class GgufCorrupt(Exception):
    """The file is not a whole GGUF file; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class GgufFile:
    """The key-value pairs (arrays only as their length), the tensors' shapes, and the file's size in bytes.

    Shapes are in ggml's order: the columns of a matrix first.
    """

    keys: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    size_bytes: int

    def own(self, name: str, default: int = 0) -> int:
        """A number that the architecture calls so, such as block_count."""
        value = self.keys.get(f"{self.keys.get('general.architecture', '')}.{name}", default)
        return int(value) if isinstance(value, int | float) else default

    @property
    def layers(self) -> int:
        """How many blocks follow each other."""
        return self.own("block_count")

    def kv_bytes_per_token(self) -> int:
        """Bytes of key-value cache that a token of context takes at sixteen bits."""
        heads = self.own("attention.head_count", 1)
        kv_heads = self.own("attention.head_count_kv", heads)
        head = self.own("embedding_length") // max(heads, 1)
        key, value = self.own("attention.key_length", head), self.own("attention.value_length", head)
        return self.layers * kv_heads * (key + value) * 2

    @property
    def vocabulary(self) -> int:
        """Tokens the model knows."""
        return int(self.keys.get("tokenizer.ggml.tokens", 0))

    def working_bytes(self, context_length: int, slots: int) -> int:
        """Memory an engine needs beside the weights: the key-value cache of all slots, and its buffers.

        The buffers are those of llama.cpp's default batch: 512 rows of logits and of the widest layer, in
        four bytes, and what a process needs anyway.
        """
        buffers = 512 * 4 * (self.vocabulary + 8 * self.own("feed_forward_length")) + 64 * 2**20
        return self.kv_bytes_per_token() * context_length * slots + buffers


def read_gguf(path: Path) -> GgufFile:
    """Read the head of a file, and compare its length with what its tensors need.

    Raises:
        GgufCorrupt: what is wrong.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            return _read(file, size)
    except (struct.error, UnicodeDecodeError, OverflowError, KeyError) as error:
        raise GgufCorrupt(f"the file ends or breaks off in its header ({size} bytes)") from error


def _read(file: BinaryIO, size: int) -> GgufFile:
    if file.read(4) != b"GGUF":
        raise GgufCorrupt("it does not begin as a GGUF file does")
    version, tensors, pairs = _unpack(file, "<IQQ")
    if version not in (2, 3) or pairs > _MOST_KEYS or tensors > _MOST_TENSORS:
        raise GgufCorrupt(f"its header is nonsense: version {version}, {tensors} tensors, {pairs} keys")
    keys = {}
    for _ in range(pairs):
        name = _string(file)
        (kind,) = _unpack(file, "<I")
        keys[name] = _value(file, kind)
    needed = 0
    shapes = {}
    for _ in range(tensors):
        name = _string(file)
        (dimensions,) = _unpack(file, "<I")
        shape = _unpack(file, f"<{min(dimensions, 8)}Q")
        shapes[name] = shape
        kind, offset = _unpack(file, "<IQ")
        if kind in _BLOCKS:
            weights, block = _BLOCKS[kind]
            count = 1
            for each in shape:
                count *= each
            needed = max(needed, offset + count // weights * block)
    alignment = int(keys.get("general.alignment", 32))
    start = -(-file.tell() // alignment) * alignment
    if size < start + needed:
        raise GgufCorrupt(f"it has {size} bytes, its tensors need {start + needed}")
    if not tensors:
        raise GgufCorrupt("it holds no tensors")
    return GgufFile(keys, shapes, size)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _unpack(file, _SCALARS[kind])[0]
    inner, count = _unpack(file, "<IQ")
    if inner == _STRING:
        for _ in range(count):
            (length,) = _unpack(file, "<Q")
            file.seek(_checked(length), 1)
    elif inner == _ARRAY:
        for _ in range(count):
            _value(file, _ARRAY)
    else:
        file.seek(_checked(count * struct.calcsize(_SCALARS[inner])), 1)
    return count


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    return file.read(_checked(length)).decode()


def _checked(length: int) -> int:
    if length > _MOST_STRING:
        raise GgufCorrupt(f"a part of its header claims {length} bytes")
    return int(length)


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
