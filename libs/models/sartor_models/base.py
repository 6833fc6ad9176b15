"""Prepare a base model once: safetensors in bfloat16, tokenizer, chat template and config in one folder with
a digest.

Reads safetensors and GGUF only, executes nothing that the model brings with it, and writes the same bytes
each time.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_models.config_keys import checked_config
from sartor_models.errors import ModelError
from sartor_models.weight_files import WeightWriter

_GENERATION_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")
_SPECIALS = ("bos_token", "eos_token", "pad_token", "unk_token")
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """One file of a prepared model: `path` is relative to its folder."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PreparedBaseModel:
    """What a manifest says about a base model. `digest` is the SHA-256 over the sorted "path\\0sha256\\n"
    lines of its files."""

    digest: str
    files: tuple[PreparedFile, ...]
    architecture: str
    context_length: int
    vocabulary_size: int
    parameters: int
    license: str
    chat_template: bool


def prepare(source: Path, folder: Path, progress: Progress = lambda fraction: None) -> PreparedBaseModel:
    """Write the model at `source` (a GGUF file or a safetensors folder) into the empty `folder`.

    Raises:
        ModelError: the file, its architecture, its config or its tokenizer cannot be used; the message says
        why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        license_name, parameters = _from_gguf(source, folder, progress)
    else:
        license_name, parameters = _from_folder(source, folder, progress)
    progress(1.0)
    return describe(folder, license_name=license_name, parameters=parameters)


def describe(folder: Path, *, license_name: str = "", parameters: int = 0) -> PreparedBaseModel:
    """Digest and key figures of a prepared folder."""
    files = tuple(
        PreparedFile(path.relative_to(folder).as_posix(), _sha256(path), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    config = _read_json(folder / "config.json")
    return PreparedBaseModel(
        digest=digest_of((file.path, file.sha256) for file in files),
        files=files,
        architecture=config["architectures"][0],
        context_length=int(config["max_position_embeddings"]),
        vocabulary_size=int(config["vocab_size"]),
        parameters=parameters,
        license=license_name,
        chat_template=(folder / "chat_template.jinja").exists(),
    )


def digest_of(files: Iterable[tuple[str, str]]) -> str:
    """SHA-256 hex over the sorted "path\\0sha256\\n" lines: the identity of a base model."""
    lines = "".join(f"{path}\0{sha256}\n" for path, sha256 in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _from_gguf(source: Path, folder: Path, progress: Progress) -> tuple[str, int]:
    import torch

    from sartor_models.gguf_import import GgufModel

    if source.suffix != ".gguf":
        raise ModelError(
            f"{source.name} is neither a .gguf file nor a folder with safetensors.",
            reason="FORMAT_UNSUPPORTED",
        )
    model = GgufModel(source)
    config = checked_config(model.config())
    tokenizer = model.tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    tokens = {
        f"{kind}_token": str(tokenizer.id_to_token(config[f"{kind}_token_id"]))
        for kind in ("bos", "eos", "pad")
        if config.get(f"{kind}_token_id") is not None
    }
    _write_text_parts(folder, config, config, tokens, model.chat_template)
    writer = WeightWriter(folder)
    total = config["num_hidden_layers"] * 9 + 2
    for number, (name, array) in enumerate(model.tensors()):
        writer.add(name, torch.from_numpy(array))
        progress(min(0.9, 0.9 * number / total))
    return model.license, writer.close()


def _from_folder(source: Path, folder: Path, progress: Progress) -> tuple[str, int]:
    from safetensors import safe_open

    shards = sorted(source.glob("*.safetensors"))
    missing = [name for name in ("config.json", "tokenizer.json") if not (source / name).exists()]
    if missing or not shards:
        found = " It has pickled weights, which are never read." if list(source.glob("*.bin")) else ""
        raise ModelError(
            f"{source} lacks {', '.join(missing + ([] if shards else ['*.safetensors']))}.{found}",
            reason="MODEL_FILES_MISSING",
            metadata={"folder": str(source)},
        )
    config = checked_config(_read_json(source / "config.json"))
    own = _read_json(source / "tokenizer_config.json") if (source / "tokenizer_config.json").exists() else {}
    generation = (
        _read_json(source / "generation_config.json") if (source / "generation_config.json").exists() else {}
    )
    tokens = {key: _token_text(own[key]) for key in _SPECIALS if own.get(key)}
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    _write_text_parts(folder, config, {**config, **generation}, tokens, _folder_template(source, own))
    writer = WeightWriter(folder)
    for number, shard in enumerate(shards):
        with safe_open(shard, framework="pt") as handle:
            for name in sorted(handle.keys()):
                writer.add(name, handle.get_tensor(name))
        progress(0.9 * (number + 1) / len(shards))
    return _folder_license(source), writer.close()


def _write_text_parts(
    folder: Path, config: dict[str, Any], generation: dict[str, Any], tokens: dict[str, str], template: str
) -> None:
    _write_json(
        folder / "config.json",
        {key: value for key, value in config.items() if value is not None} | {"dtype": "bfloat16"},
    )
    _write_json(
        folder / "generation_config.json",
        {key: generation[key] for key in _GENERATION_KEYS if generation.get(key) is not None},
    )
    _write_json(
        folder / "tokenizer_config.json",
        {
            **tokens,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": int(config["max_position_embeddings"]),
        },
    )
    if template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _folder_template(source: Path, tokenizer_config: dict[str, Any]) -> str:
    if (source / "chat_template.jinja").exists():
        return (source / "chat_template.jinja").read_text(encoding="utf-8")
    template = tokenizer_config.get("chat_template") or ""
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default", "")
    return str(template)


def _folder_license(source: Path) -> str:
    readme = source / "README.md"
    if not readme.exists():
        return ""
    found = re.search(
        r"\A---\n(?:.*\n)*?license:[ ]*(\S+)", readme.read_text(encoding="utf-8", errors="replace")[:20_000]
    )
    return found.group(1) if found else ""


def _token_text(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path.name} is not readable JSON: {error}",
            reason="MODEL_FILES_CORRUPT",
            metadata={"file": path.name},
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"{path.name} does not hold a JSON object.",
            reason="MODEL_FILES_CORRUPT",
            metadata={"file": path.name},
        )
    return value


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def save_tuned(base: Path, weights: Mapping[str, Any], folder: Path) -> None:
    """Write a fully tuned model: the base model's folder with other weights, by the names the base's files
    use."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ):
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)
    writer = WeightWriter(folder)
    for name, tensor in sorted(weights.items()):
        writer.add(name, tensor)
    writer.close()
