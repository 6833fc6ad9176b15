"""A key-value cache that grows in place: a step of generation writes one column instead of copying all of
them.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_SPARE_COLUMNS = 64
_STEP_COLUMNS = 16
"""A step of one token reads columns in multiples of this, those to come masked: each new length would have
products of its own prepared and kept, a megabyte for every token."""


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """DynamicLayer whose keys and values are views of a longer buffer, written where there is room."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers: dict[str, torch.Tensor] = {}
        self.keys = self._append("keys", key_states)
        self.values = self._append("values", value_states)
        columns = self._read_columns(self.keys.shape[-2], key_states.shape[-2])
        return self._buffers["keys"][..., :columns, :], self._buffers["values"][..., :columns, :]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        columns, offset = super().get_mask_sizes(query_length)
        return self._read_columns(columns, query_length), offset

    @staticmethod
    def _read_columns(columns: int, query_length: int) -> int:
        return -(-columns // _STEP_COLUMNS) * _STEP_COLUMNS if query_length == 1 else columns

    def _append(self, name: str, states: torch.Tensor) -> torch.Tensor:
        held: torch.Tensor = getattr(self, name)
        length = held.shape[-2] if held.numel() else 0
        end = length + states.shape[-2]
        buffer = self._buffers.get(name)
        in_place = buffer is not None and held.numel() and held.data_ptr() == buffer.data_ptr()
        if buffer is None or not in_place or buffer.shape[0] != states.shape[0] or buffer.shape[-2] < end:
            rows, heads, _, width = states.shape
            buffer = states.new_zeros(rows, heads, self._read_columns(end, 1) + _SPARE_COLUMNS, width)
            if length:
                buffer[..., :length, :] = held
            self._buffers[name] = buffer
        buffer[..., length:end, :] = states
        return buffer[..., :end, :]


class GrowingCache(Cache):  # type: ignore[misc]
    """For models whose layers all attend with softmax, which are those that Sartor loads."""

    def __init__(self, model: Any) -> None:
        super().__init__(layers=[_GrowingLayer() for _ in range(model.config.num_hidden_layers)])

    @property
    def columns(self) -> int:
        return int(self.layers[0].get_seq_length())

    def with_rows(self, rows: int) -> "GrowingCache":
        """A new cache of `rows` rows that each begin with the one row held here; this one stays as it is."""
        copy = GrowingCache.__new__(GrowingCache)
        Cache.__init__(copy, layers=[_GrowingLayer() for _ in self.layers])
        ours: Any
        theirs: Any
        for ours, theirs in zip(copy.layers, self.layers, strict=True):
            ours.lazy_initialization(theirs.keys, theirs.values)
            ours._buffers = {}
            ours.keys = theirs.keys.expand(rows, -1, -1, -1)
            ours.values = theirs.values.expand(rows, -1, -1, -1)
        return copy

    def drop_columns(self, count: int) -> None:
        """Forget the last `count` columns."""
        if count:
            self.crop(-count)
