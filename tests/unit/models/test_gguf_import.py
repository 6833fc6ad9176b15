"""A GGUF file gives back the weights, tokenizer and template it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sartor_models.base import prepare
from sartor_models.errors import ModelError


def _write_gguf(source: Path, target: Path, *, architecture: str = "llama", pre: str = "gpt-2") -> Path:
    """The tiny model as llama.cpp's converter writes it: rotary halves interleaved, float32."""
    from gguf import GGUFWriter
    from safetensors.numpy import load_file

    config = json.loads((source / "config.json").read_text())
    vocabulary = json.loads((source / "tokenizer.json").read_text())["model"]
    writer = GGUFWriter(target, architecture)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    writer.add_license("mit")
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if index < 3 else 1 for index in range(len(tokens))])
    writer.add_token_merges([" ".join(merge) for merge in vocabulary["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template((source / "chat_template.jinja").read_text())
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, weight in load_file(source / "model.safetensors").items():
        if name == "model.embed_tokens.weight":
            writer.add_tensor("token_embd.weight", weight)
        elif name == "model.norm.weight":
            writer.add_tensor("output_norm.weight", weight)
        else:
            _, _, block, part = name.removesuffix(".weight").split(".", 3)
            heads = {"self_attn.q_proj": 4, "self_attn.k_proj": 2}.get(part)
            if heads:
                weight = _interleaved(weight, heads)
            writer.add_tensor(f"blk.{block}.{names[part]}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1)
        .swapaxes(1, 2)
        .reshape(weight.shape)
        .copy()
    )


def test_a_gguf_file_prepares_to_the_model_it_was_made_from(
    tiny_source: Path, tiny: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    prepared = prepare(_write_gguf(tiny_source, tmp_path / "tiny.gguf"), tmp_path / "out")
    expected, actual = (
        load_file(tiny / "model.safetensors"),
        load_file(tmp_path / "out" / "model.safetensors"),
    )
    assert expected.keys() == actual.keys()
    assert all(expected[name].equal(actual[name]) for name in expected)
    assert prepared.license == "mit"
    assert prepared.chat_template


def test_its_tokenizer_gives_the_same_tokens(tiny_source: Path, tiny: Path, tmp_path: Path) -> None:
    from sartor_models.tokenizer import load_tokenizer

    prepare(_write_gguf(tiny_source, tmp_path / "tiny.gguf"), tmp_path / "out")
    expected, actual = load_tokenizer(tiny), load_tokenizer(tmp_path / "out")
    for text in (
        "Wie setze ich mein Passwort zurück?",
        "<|im_start|>user\nHi 2024<|im_end|>\n",
        "naïve  \t🙂",
    ):
        assert expected.encode(text) == actual.encode(text)
        assert actual.decode(actual.encode(text), keep_special=True) == text
    assert actual.eos_ids == (2,)


@pytest.mark.parametrize(("field", "value"), [("architecture", "mamba"), ("pre", "something-new")])
def test_what_is_not_understood_in_a_gguf_file_is_refused(
    tiny_source: Path, tmp_path: Path, field: str, value: str
) -> None:
    path = _write_gguf(tiny_source, tmp_path / "tiny.gguf", **{field: value})
    with pytest.raises(ModelError, match=value) as caught:
        prepare(path, tmp_path / "out")
    assert caught.value.reason == "GGUF_UNSUPPORTED"
