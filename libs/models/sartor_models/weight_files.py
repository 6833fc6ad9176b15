"""Weights in bfloat16 as safetensors files of bounded size, as the model library expects them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from sartor_models.errors import ModelError

WEIGHTS_PER_FILE_BYTES = 2 << 30


class WeightWriter:
    """Collects tensors as bfloat16 and writes files of about `file_bytes`, with an index where there are
    several."""

    def __init__(self, folder: Path, file_bytes: int = WEIGHTS_PER_FILE_BYTES) -> None:
        self._folder = folder
        self._file_bytes = file_bytes
        self._pending: dict[str, torch.Tensor] = {}
        self._bytes = 0
        self._parts: list[tuple[Path, list[str]]] = []
        self._parameters = 0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        if not torch.isfinite(tensor).all():
            raise ModelError(
                f"The weight {name} holds values that are not finite.",
                reason="WEIGHTS_CORRUPT",
                metadata={"tensor": name},
            )
        if self._bytes >= self._file_bytes:
            self._flush()
        self._pending[name] = tensor.to(torch.bfloat16).contiguous()
        self._bytes += 2 * tensor.numel()
        self._parameters += tensor.numel()

    def close(self) -> int:
        """Finish the files and return the number of parameters."""
        self._flush()
        if len(self._parts) == 1:
            self._parts[0][0].rename(self._folder / "model.safetensors")
            return self._parameters
        weight_map = {}
        for number, (path, names) in enumerate(self._parts, start=1):
            final = f"model-{number:05d}-of-{len(self._parts):05d}.safetensors"
            path.rename(self._folder / final)
            weight_map.update(dict.fromkeys(names, final))
        index = {"metadata": {"total_size": 2 * self._parameters}, "weight_map": weight_map}
        (self._folder / "model.safetensors.index.json").write_text(
            json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
        return self._parameters

    def _flush(self) -> None:
        if self._pending:
            path = self._folder / f"part-{len(self._parts):05d}"
            save_file(self._pending, path, metadata={"format": "pt"})
            self._parts.append((path, sorted(self._pending)))
        self._pending, self._bytes = {}, 0
