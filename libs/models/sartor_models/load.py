"""Load a prepared base model, with or without an adapter: safetensors only, offline, no code of the model's
own."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from sartor_models.config_keys import checked_config
from sartor_models.errors import ModelError
from sartor_models.tokenizer import load_tokenizer as load_tokenizer  # one import for those who need both

_ADAPTER_KEYS = frozenset(
    {
        "alpha_pattern",
        "base_model_name_or_path",
        "bias",
        "fan_in_fan_out",
        "inference_mode",
        "init_lora_weights",
        "lora_alpha",
        "lora_dropout",
        "peft_type",
        "r",
        "rank_pattern",
        "target_modules",
        "task_type",
        "use_dora",
        "use_rslora",
        "exclude_modules",
        "peft_version",
    }
)


def best_dtype(device: str = "cpu") -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32."""
    if device != "cpu":
        return torch.bfloat16
    capable = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if capable else torch.float32


def load_model(
    folder: Path, dtype: torch.dtype | None = None, adapter: Path | None = None, *, device: str = "cpu"
) -> Any:
    """The causal language model in `folder`, in evaluation mode, no gradients; `adapter` is a folder in
    peft's format.

    The result is the plain transformers model also with an adapter: its linear layers then carry the adapter
    (unmerged).

    Raises:
        ModelError: files missing, pickled, or with a config that is not allowed.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    # The library warns about names inside itself and peft; nobody who reads our log can act on it.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.|peft\.")
    _check_folder(folder)
    model = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=dtype or best_dtype(device),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    model.requires_grad_(False)
    model.config.use_cache = False
    if adapter is not None:
        model = load_adapter(model, adapter)
    loaded: Any = model
    return loaded.to(device).eval()


def load_in_four_bits(folder: Path) -> Any:
    """As `load_model`, on a CUDA device with the linear layers' weights in four bits (NF4; Dettmers et al.
    2023).

    Raises:
        ModelError: BITSANDBYTES_MISSING, or as `load_model`.
    """
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise ModelError(
            "Four bits need the package bitsandbytes beside torch on this worker; install it, or train with "
            "adapter: lora.",
            reason="BITSANDBYTES_MISSING",
        )
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    _check_folder(folder)
    make: Any = BitsAndBytesConfig
    model = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=torch.bfloat16,
        quantization_config=make(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
        device_map={"": 0},
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    model.requires_grad_(False)
    model.config.use_cache = False
    loaded: Any = model
    return loaded.eval()


def load_adapter(model: Any, adapter: Path, *, trainable: bool = False) -> Any:
    """`model` with the adapter of the folder `adapter` on its linear layers, in the model's own dtype.

    Raises:
        ModelError: ADAPTER_INVALID.
    """
    from peft import PeftModel

    _check_adapter(adapter)
    try:
        from_pretrained: Any = PeftModel.from_pretrained  # peft's decorator hides its type
        wrapped = from_pretrained(
            model, str(adapter), is_trainable=trainable, autocast_adapter_dtype=False, local_files_only=True
        )
    except (ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"The adapter does not fit this base model: {error}", reason="ADAPTER_INVALID"
        ) from error
    inner = wrapped.get_base_model()
    for name, parameter in inner.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(model.dtype)
    return inner


def _check_folder(folder: Path) -> None:
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds no safetensors weights.",
            reason="MODEL_FILES_MISSING",
            metadata={"folder": folder.name},
        )
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"config.json of {folder.name} is unreadable: {error}", reason="MODEL_FILES_CORRUPT"
        ) from error
    checked_config(raw)


def _check_adapter(adapter: Path) -> None:
    if not (adapter / "adapter_model.safetensors").exists():
        raise ModelError(
            "The adapter has no adapter_model.safetensors; pickled adapters are never read.",
            reason="ADAPTER_INVALID",
        )
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"adapter_config.json is unreadable: {error}", reason="ADAPTER_INVALID") from error
    unknown = sorted(
        key
        for key, value in config.items()
        if key not in _ADAPTER_KEYS and value not in (None, False, [], {}, "")
    )
    if unknown or config.get("peft_type") != "LORA":
        raise ModelError(
            f"adapter_config.json asks for what Sartor does not load: "
            f"{', '.join(unknown) or config.get('peft_type')}.",
            reason="ADAPTER_INVALID",
            metadata={"keys": ",".join(unknown)},
        )
