"""Models opened from disk, one in memory at a time: a tuned one is its base with the merged adapter, as it is
deployed.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from sartor_models.load import load_model, load_tokenizer
from sartor_models.merge import merge_into

from sartor_evaluation.asking import Asker
from sartor_evaluation.prompts import ExampleBook
from sartor_evaluation.run import ModelFiles


def opener(book: ExampleBook, folder: Path) -> Callable[[ModelFiles], AbstractContextManager[Asker]]:
    """What `run` opens models with. A base model that was only read stays loaded for the tuned model after
    it.

    Args:
        folder: for the files of fully tuned models, laid over those of their base.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    untouched: dict[Path, Any] = {}

    @contextmanager
    def open_model(files: ModelFiles) -> Iterator[Asker]:
        source = files.base
        if files.version is not None and not _is_adapter(files.version):
            source = _overlay(files.base, files.version, folder / f"full-{len(list(folder.iterdir()))}")
        model = untouched.pop(source, None)
        untouched.clear()
        if model is None:
            model = load_model(source)
        if files.version is not None and _is_adapter(files.version):
            merge_into(model, files.version)
        else:
            untouched[source] = model
        yield Asker(model, load_tokenizer(source), book)

    return open_model


def _is_adapter(version: Path) -> bool:
    return (version / "adapter_config.json").exists()


def _overlay(base: Path, version: Path, folder: Path) -> Path:
    """A folder with the version's files and, where it has none of its own, the base's; but only its own
    weights.
    """
    folder.mkdir()
    own = {path.name for path in version.iterdir()}
    for source in (*version.iterdir(), *base.iterdir()):
        is_weights = source.suffix == ".safetensors" or source.name.endswith(".safetensors.index.json")
        inherited = source.parent == base and (source.name in own or is_weights)
        if source.is_file() and not inherited:
            try:
                os.link(source, folder / source.name)
            except OSError:  # another file system
                shutil.copyfile(source, folder / source.name)
    return folder
