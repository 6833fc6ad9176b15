"""A model that knows nothing yet: a byte-level BPE tokenizer trained on a corpus, and a Llama-style network
of
a given size with random weights."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

END_TOKEN = "<|endoftext|>"  # noqa: S105 - no password
_WIDTH_STEP = 64
_HEAD_WIDTH = 64
_MOST_LAYERS = 64
_INITIAL_SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a Llama-style network with tied embeddings."""

    width: int
    layers: int
    vocabulary: int
    context: int

    @property
    def heads(self) -> int:
        return max(1, self.width // _HEAD_WIDTH)

    @property
    def inner(self) -> int:
        """Width of the gated layer: 8/3 of the model's, as in Llama, in whole steps."""
        return -(-8 * self.width // 3 // _WIDTH_STEP) * _WIDTH_STEP

    @property
    def parameters(self) -> int:
        layer = 4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width
        return self.vocabulary * self.width + self.layers * layer + self.width


def shape_of_size(parameters: int, *, vocabulary: int, context: int) -> ModelShape:
    """The shape nearest to this many parameters. Among near ones that whose width is about 64 times its
    depth, which
    suits small models (Kaplan et al. 2020: the ratio matters little over a wide range)."""
    best: tuple[float, ModelShape] | None = None
    for layers in range(1, _MOST_LAYERS + 1):
        for width in range(_WIDTH_STEP, 64 * _WIDTH_STEP + 1, _WIDTH_STEP):
            shape = ModelShape(width, layers, vocabulary, context)
            miss = abs(shape.parameters - parameters) / parameters
            skew = max(width / layers / 64, 64 * layers / width)
            score = miss + 0.02 * skew
            if best is None or score < best[0]:
                best = score, shape
            if shape.parameters > 2 * parameters:
                break
    assert best is not None
    return best[1]


def write_new_model(
    folder: Path, shape: ModelShape, texts: Iterable[str], *, seed: int, tokenizer_file: bytes = b""
) -> ModelShape:
    """Write config, tokenizer and random weights into `folder`, in the form of a prepared base model.

    Args:
        texts: what the tokenizer learns from; a small corpus may give it fewer tokens than the shape asks
        for.
        tokenizer_file: a tokenizer.json to take instead.
    Returns:
        The shape with the vocabulary as it became.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sartor_models.config_keys import checked_config
    from sartor_models.weight_files import WeightWriter

    folder.mkdir(parents=True, exist_ok=True)
    size = _write_tokenizer(folder, shape, texts, tokenizer_file)
    shape = ModelShape(shape.width, shape.layers, size, shape.context)
    settings: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.width // shape.heads,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "initializer_range": _INITIAL_SPREAD,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    _write_json(folder / "config.json", checked_config(settings) | {"dtype": "bfloat16"})
    _write_json(folder / "generation_config.json", {f"{kind}_token_id": 0 for kind in ("bos", "eos", "pad")})
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in settings.items() if k != "model_type"}))
    writer = WeightWriter(folder)
    for name, parameter in model.named_parameters():
        writer.add(name, parameter.detach())
    writer.close()
    return shape


def _write_tokenizer(folder: Path, shape: ModelShape, texts: Iterable[str], known: bytes) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    path = folder / "tokenizer.json"
    if known:
        path.write_bytes(known)
        tokenizer = Tokenizer.from_file(str(path))
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=shape.vocabulary,
            special_tokens=[END_TOKEN],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.save(str(path), pretty=False)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{f"{kind}_token": END_TOKEN for kind in ("bos", "eos", "pad")},
            "clean_up_tokenization_spaces": False,
            "model_max_length": shape.context,
        },
    )
    return int(tokenizer.get_vocab_size())


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
