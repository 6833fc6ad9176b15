"""A GGUF file read back into the parts of a safetensors folder: config, weights and tokenizer. Runs none of
its content."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from sartor_models.errors import ModelError

_MODEL_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""What llama.cpp calls a layer's part, and what transformers does."""
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
# Computed, not learned: the model library makes it from rope_parameters.
_IGNORED = frozenset({"rope_freqs.weight"})
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_SPLIT = _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
_CONTROL, _USER_DEFINED = 3, 4


class GgufModel:
    """One GGUF file of a supported architecture.

    Raises:
        ModelError: GGUF_UNREADABLE or GGUF_UNSUPPORTED, at construction or where the unsupported part is
        asked for.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._reader = GGUFReader(path)
        except (ValueError, OSError, KeyError, IndexError) as error:
            raise ModelError(
                f"{path.name} is not a readable GGUF file: {error}", reason="GGUF_UNREADABLE"
            ) from error
        self.architecture = str(self._value("general.architecture", ""))
        if self.architecture not in _MODEL_TYPES:
            raise _unsupported(f"architecture {self.architecture!r}; supported are {', '.join(_MODEL_TYPES)}")
        if self._value(f"{self.architecture}.expert_count", 0):
            raise _unsupported("a mixture of experts")

    @property
    def license(self) -> str:
        return str(self._value("general.license", ""))

    @property
    def chat_template(self) -> str:
        return str(self._value("tokenizer.chat_template", ""))

    def config(self) -> dict[str, Any]:
        """config.json as the transformers library reads it."""
        heads = int(self._own("attention.head_count"))
        hidden = int(self._own("embedding_length"))
        names = {tensor.name for tensor in self._reader.tensors}
        rope: dict[str, Any] = {
            "rope_type": "default",
            "rope_theta": float(self._own("rope.freq_base", 10000.0)),
        }
        if "rope_freqs.weight" in names or self._own("rope.scaling.type", "none") != "none":
            raise _unsupported("scaled rotary positions: use the safetensors folder of this model")
        return {
            "model_type": _MODEL_TYPES[self.architecture],
            "vocab_size": len(self._value("tokenizer.ggml.tokens", [])),
            "hidden_size": hidden,
            "intermediate_size": int(self._own("feed_forward_length")),
            "num_hidden_layers": int(self._own("block_count")),
            "num_attention_heads": heads,
            "num_key_value_heads": int(self._own("attention.head_count_kv", heads)),
            "head_dim": int(self._own("attention.key_length", hidden // heads)),
            "max_position_embeddings": int(self._own("context_length")),
            "rms_norm_eps": float(f"{float(self._own('attention.layer_norm_rms_epsilon')):.6g}"),
            "rope_parameters": rope,
            "hidden_act": "silu",
            "attention_bias": "blk.0.attn_q.bias" in names,
            "tie_word_embeddings": "output.weight" not in names,
            "bos_token_id": self._value("tokenizer.ggml.bos_token_id", None),
            "eos_token_id": self._value("tokenizer.ggml.eos_token_id", None),
            "pad_token_id": self._value("tokenizer.ggml.padding_token_id", None),
        }

    def tensors(self) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.float32]]]]:
        """Every weight by its transformers name, as float32."""
        heads = int(self._own("attention.head_count"))
        groups = int(self._own("attention.head_count_kv", heads))
        for tensor in self._reader.tensors:
            if tensor.name in _IGNORED:
                continue
            weight = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
            if self.architecture == "llama" and ".attn_q." in tensor.name:
                weight = _unpermuted(weight, heads)
            if self.architecture == "llama" and ".attn_k." in tensor.name:
                weight = _unpermuted(weight, groups)
            yield _name(tensor.name), np.array(weight, order="C")

    def tokenizer(self) -> Tokenizer:
        """The byte-level BPE tokenizer of this file."""
        if self._value("tokenizer.ggml.model", "") != "gpt2":
            raise _unsupported(
                f"tokenizer {self._value('tokenizer.ggml.model', '')!r}: use the safetensors folder of this "
                f"model"
            )
        tokens: list[str] = self._value("tokenizer.ggml.tokens", [])
        kinds: list[int] = self._value("tokenizer.ggml.token_type", [1] * len(tokens))
        merges = [tuple(merge.split(" ", 1)) for merge in self._value("tokenizer.ggml.merges", [])]
        tokenizer = Tokenizer(
            models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)
        )
        tokenizer.pre_tokenizer = _pre_tokenizer(str(self._value("tokenizer.ggml.pre", "default")))
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(
            [
                AddedToken(t, normalized=False, special=True)
                for t, kind in zip(tokens, kinds, strict=True)
                if kind == _CONTROL
            ]
        )
        tokenizer.add_tokens(
            [
                AddedToken(t, normalized=False)
                for t, kind in zip(tokens, kinds, strict=True)
                if kind == _USER_DEFINED
            ]
        )
        return tokenizer

    def _own(self, key: str, *default: Any) -> Any:
        return self._value(f"{self.architecture}.{key}", *default)

    def _value(self, key: str, *default: Any) -> Any:
        field = self._reader.get_field(key)
        if field is None:
            if default:
                return default[0]
            raise ModelError(
                f"The GGUF file lacks the field {key}.", reason="GGUF_UNREADABLE", metadata={"field": key}
            )
        return field.contents()


def _name(gguf_name: str) -> str:
    stem, _, kind = gguf_name.rpartition(".")
    if stem in _TOP:
        return f"{_TOP[stem]}.{kind}"
    block, _, part = stem.removeprefix("blk.").partition(".")
    if part not in LAYER_NAMES:
        raise _unsupported(f"a tensor called {gguf_name}")
    return f"model.layers.{block}.{LAYER_NAMES[part]}.{kind}"


def _unpermuted(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Undo llama.cpp's interleaving of the two rotary halves of each head."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _pre_tokenizer(name: str) -> pre_tokenizers.PreTokenizer:
    if name in ("default", "gpt-2", "gpt2"):
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    split = {
        "llama-bpe": _LLAMA3_SPLIT,
        "llama3": _LLAMA3_SPLIT,
        "llama-v3": _LLAMA3_SPLIT,
        "qwen2": _QWEN2_SPLIT,
    }.get(name)
    if split is None:
        raise _unsupported(f"pre-tokenizer {name!r}: use the safetensors folder of this model")
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _unsupported(what: str) -> ModelError:
    return ModelError(f"This GGUF file has {what}.", reason="GGUF_UNSUPPORTED", metadata={"part": what})
