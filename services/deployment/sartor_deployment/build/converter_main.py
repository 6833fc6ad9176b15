"""What runs in the converter's process: llama.cpp's converter, one gap closed, the output layer kept exact.

The converter knows a tokenizer's pre-tokenizer by a hash over one text, so it refuses every vocabulary it
has not seen, even where the pre-tokenizer is one that llama.cpp has. Here an unknown hash is answered from
what tokenizer.json itself says. A wrong guess cannot go live: the parity check compares the engine's tokens.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# The split patterns llama.cpp implements under these names (src/llama-vocab.cpp).
_PATTERNS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+",
}


def pre_tokenizer_name(tokenizer: dict[str, Any]) -> str | None:
    """llama.cpp's name of the pre-tokenizer that a tokenizer.json describes, or None without such."""
    described = tokenizer.get("pre_tokenizer") or {}
    parts = described.get("pretokenizers", []) if described.get("type") == "Sequence" else [described]
    kinds = [part.get("type") for part in parts]
    if not parts or kinds[-1] != "ByteLevel" or parts[-1].get("add_prefix_space"):
        return None
    by_regex = parts[-1].get("use_regex", True)
    if kinds == ["ByteLevel"] and by_regex:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and by_regex and parts[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not by_regex and parts[0].get("behavior") == "Isolated":
        pattern = parts[0].get("pattern", {}).get("Regex")
        return next((name for name, known in _PATTERNS.items() if known == pattern), None)
    return None


def main() -> None:
    """Run the converter with this process's arguments."""
    import convert_hf_to_gguf  # type: ignore[import-not-found]
    from conversion.base import TextModel  # type: ignore[import-not-found]

    by_hash = TextModel.get_vocab_base_pre

    def by_hash_or_description(model: Any, tokenizer: Any) -> str:
        try:
            return str(by_hash(model, tokenizer))
        except NotImplementedError:
            described = json.loads((Path(model.dir_model) / "tokenizer.json").read_text(encoding="utf-8"))
            name = pre_tokenizer_name(described)
            if name is None:
                raise
            return name

    TextModel.get_vocab_base_pre = by_hash_or_description
    _keep_output_exact()
    convert_hf_to_gguf.main()


def _keep_output_exact() -> None:
    """The output layer (and the embedding, which many models share with it) stays at sixteen bits.

    Its rounding falls on the logits directly, without any layer to even it out.
    """
    import gguf
    from conversion.base import ModelBase

    by_rule = ModelBase.tensor_force_quant

    def sixteen_bits_or_rule(model: Any, name: str, new_name: str, bid: int | None, n_dims: int) -> Any:
        if new_name in ("output.weight", "token_embd.weight"):
            return gguf.GGMLQuantizationType.F16
        return by_rule(model, name, new_name, bid, n_dims)

    ModelBase.tensor_force_quant = sixteen_bits_or_rule


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The file is written; the interpreter's own end takes a quarter of the time of a small model's.
    os._exit(0)
