"""The only keys of a model's config.json that Sartor passes on: everything else may run code or change its
meaning."""

from collections.abc import Mapping
from typing import Any

from sartor_models.errors import ModelError

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "phi3": "Phi3ForCausalLM",
}
_KEPT = frozenset(
    {
        "architectures",
        "attention_bias",
        "attention_dropout",
        "bos_token_id",
        "embd_pdrop",
        "eos_token_id",
        "head_dim",
        "hidden_act",
        "hidden_size",
        "initializer_range",
        "intermediate_size",
        "layer_types",
        "max_position_embeddings",
        "max_window_layers",
        "mlp_bias",
        "model_type",
        "no_rope_layer_interval",
        "no_rope_layers",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "original_max_position_embeddings",
        "pad_token_id",
        "partial_rotary_factor",
        "pretraining_tp",
        "resid_pdrop",
        "rms_norm_eps",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
        "sliding_window",
        "tie_word_embeddings",
        "use_cache",
        "use_sliding_window",
        "vocab_size",
    }
)
# Of no consequence to the weights' meaning: dropped in silence.
_DROPPED = frozenset(
    {
        "_name_or_path",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "transformers.js_config",
        "is_llama_config",
        "rope_interleaved",
        "unsloth_fixed",
        "unsloth_version",
    }
)


def checked_config(raw: Mapping[str, Any]) -> dict[str, Any]:
    """`raw` reduced to what is known to be harmless.

    Raises:
        ModelError: ARCHITECTURE_UNSUPPORTED, or CONFIG_KEYS_REFUSED naming every unknown key (auto_map and
        its kind among them).
    """
    kind = str(raw.get("model_type", ""))
    if kind not in ARCHITECTURES or list(raw.get("architectures") or [ARCHITECTURES[kind]]) != [
        ARCHITECTURES[kind]
    ]:
        raise ModelError(
            f"Models of type {kind or 'unknown'!r} ({raw.get('architectures')}) are not supported; supported "
            f"are "
            f"{', '.join(ARCHITECTURES)} with a causal language model head.",
            reason="ARCHITECTURE_UNSUPPORTED",
            metadata={"model_type": kind},
        )
    unknown = sorted(set(raw) - _KEPT - _DROPPED)
    if unknown:
        raise ModelError(
            f"config.json has keys that Sartor does not pass to the model library: {', '.join(unknown)}. "
            f"Remove them if "
            "the model does not need them; a model that needs code of its own or is quantised cannot be "
            "tuned here.",
            reason="CONFIG_KEYS_REFUSED",
            metadata={"keys": ",".join(unknown)},
        )
    return {**{key: raw[key] for key in sorted(raw) if key in _KEPT}, "architectures": [ARCHITECTURES[kind]]}
