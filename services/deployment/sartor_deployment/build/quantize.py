"""From a sixteen-bit GGUF file to one of fewer bits, with the quantizers of the `gguf` package (numpy).

The package can *make* Q8_0, Q5_1, Q5_0, Q4_1 and Q4_0. The K-quants (Q4_K_M, Q5_K_M, …) and the IQ formats
it can only read: they need llama.cpp's own `llama-quantize`, which no wheel brings. As in llama.cpp, vectors
stay as they are; the embedding and the output layer stay at sixteen bits, for their rounding falls on the
logits directly.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

MADE = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
_EXACT = ("token_embd.weight", "output.weight")
_BLOCK = 32


def quantize(
    source: Path, target: Path, quantization: str, done: Callable[[float], None] = lambda _: None
) -> None:
    """Write `source` anew as `target` with its matrices in `quantization`.

    Args:
        done: told the share that is written.
    Raises:
        ValueError: a format that cannot be made.
    """
    import gguf
    import numpy as np

    if quantization not in MADE:
        raise ValueError(f"{quantization} cannot be made here; {', '.join(MADE)} can")
    kind = gguf.GGMLQuantizationType[quantization]
    reader: Any = gguf.GGUFReader(source)
    writer: Any = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    _copy_keys(gguf, reader, writer, quantization)
    sizes = [int(tensor.n_bytes) for tensor in reader.tensors]
    plan = []
    for tensor in reader.tensors:
        whole = len(tensor.shape) > 1 and int(tensor.shape[0]) % _BLOCK == 0 and tensor.name not in _EXACT
        wanted = kind if whole else tensor.tensor_type
        plan.append((tensor, wanted))
        shape = [int(each) for each in reversed(tensor.shape)]
        bytes_shape = gguf.quant_shape_to_byte_shape(shape, wanted) if whole else tensor.data.shape
        size = int(np.prod(bytes_shape)) * (1 if whole else tensor.data.itemsize)
        dtype = np.dtype(np.uint8) if whole else tensor.data.dtype
        writer.add_tensor_info(tensor.name, bytes_shape, dtype, size, wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    written = 0
    for (tensor, wanted), size in zip(plan, sizes, strict=True):
        data = tensor.data
        if wanted != tensor.tensor_type:
            exact = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            data = gguf.quants.quantize(exact, wanted)
        writer.write_tensor_data(data)
        written += size
        done(written / sum(sizes))
    writer.close()


def _copy_keys(gguf: Any, reader: Any, writer: Any, quantization: str) -> None:
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue  # the writer makes these
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        if name == "general.file_type":
            writer.add_file_type(int(gguf.LlamaFileType[f"MOSTLY_{quantization}"]))
            continue
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)
