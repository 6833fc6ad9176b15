"""A model version's files over those of its base model: what it is, and one folder to load all of it from."""

import os
import shutil
from pathlib import Path

_TEMPLATE = "chat_template.jinja"
_TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", _TEMPLATE)
_BESIDE_THE_MODEL = ("adapter_model.safetensors", "output_layer.safetensors")


def is_adapter(version: Path) -> bool:
    """Whether a version is an adapter, not full weights."""
    return (version / "adapter_config.json").exists()


def is_classifier(version: Path) -> bool:
    """Whether a version says labels or numbers: it has an output layer, and writes no text
    (`classifier.load_classifier`)."""
    return (version / "output_layer.json").exists()


def own_text_files(version: Path) -> tuple[str, ...]:
    """The tokenizer's files that a version brings itself, such as the chat template it was taught with."""
    return tuple(name for name in _TEXT_FILES if (version / name).exists())


def model_folder(base: Path, version: Path | None, folder: Path) -> Path:
    """Where the model that a version stands on, and its tokenizer, are loaded from.

    That is the base model's folder as it is; where the version brings files of its own (full weights, or the
    chat template that the base model lacks) it is the new `folder`, laid over the base's with hard links. An
    adapter stays apart: merge or load it from `version`.
    """
    if version is None or (is_adapter(version) and not own_text_files(version)):
        return base
    folder.mkdir(parents=True)
    weights_from = base if is_adapter(version) else version
    taken = {path.name for path in _plain_files(base) if not _is_weights(path)}
    sources = {name: base / name for name in taken}
    for path in _plain_files(version):
        if path.name in taken or path.name in _TEXT_FILES or path.name == "config.json":
            sources[path.name] = path
    sources |= {path.name: path for path in _plain_files(weights_from) if _is_weights(path)}
    for name, path in sources.items():
        _link(path, folder / name)
    return folder


def with_chat_template(base: Path, template: str, folder: Path) -> Path:
    """The new `folder`, laid over a base model's that has no chat template, with this one."""
    folder.mkdir(parents=True)
    for path in _plain_files(base):
        _link(path, folder / path.name)
    (folder / _TEMPLATE).write_text(template, encoding="utf-8")
    return folder


def chat_template(folder: Path) -> str:
    """The chat template that a base model or a version brings itself, or ""."""
    path = folder / _TEMPLATE
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _plain_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _is_weights(path: Path) -> bool:
    model = path.suffix == ".safetensors" and path.name not in _BESIDE_THE_MODEL
    return model or path.name.endswith(".safetensors.index.json")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
