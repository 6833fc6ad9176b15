"""Models opened from disk, one in memory at a time: a tuned one is its base with the merged adapter, as it is
deployed. Endpoints and answers that are there already are opened here too.
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

from sartor_evaluation.asking import Asker, Memory
from sartor_evaluation.prompts import ExampleBook
from sartor_evaluation.remote import RemoteAnswers, RemoteModel
from sartor_evaluation.run import ModelFiles, OpenModel, Source
from sartor_evaluation.supplied import AnswersOnDisk, SuppliedAnswers


def opener(
    book: ExampleBook, folder: Path, memory: Memory | None = None
) -> Callable[[Source], AbstractContextManager[OpenModel]]:
    """What `run` opens candidates with. A base model that was only read stays loaded for the tuned model
    after
    it; a model whose every answer is remembered is not loaded at all.

    Args:
        folder: for the files of fully tuned models, laid over those of their base, and indices of answers.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    loader = _Loader()

    @contextmanager
    def open_model(source: Source) -> Iterator[OpenModel]:
        if isinstance(source, SuppliedAnswers):
            answers = AnswersOnDisk(source, folder)
            try:
                yield answers
            finally:
                answers.close()
        elif isinstance(source, RemoteModel):
            yield RemoteAnswers(source)
        else:
            place = model_folder(source, folder / f"full-{len(list(folder.iterdir()))}")
            tokenizer = load_tokenizer(place)
            yield Asker(lambda: loader.load(source, place), tokenizer, book, memory, source.digest)

    return open_model


class _Loader:
    """Loads at most one model at a time, and again only what another one took the place of."""

    def __init__(self) -> None:
        self._held: tuple[ModelFiles, Any] | None = None
        self._untouched: tuple[Path, Any] | None = None

    def load(self, files: ModelFiles, place: Path) -> Any:
        if self._held is not None and self._held[0] == files:
            return self._held[1]
        base = self._untouched
        self._held = self._untouched = None
        model = base[1] if base is not None and base[0] == place else None
        del base
        if model is None:
            model = load_model(place)
        if files.version is not None and is_adapter(files.version):
            merge_into(model, files.version)
        else:
            self._untouched = (place, model)
        self._held = (files, model)
        return model


def model_folder(files: ModelFiles, folder: Path) -> Path:
    """Where a model is loaded from: its base; or, for a fully tuned one, a new folder laid over it."""
    if files.version is None or is_adapter(files.version):
        return files.base
    return _overlay(files.base, files.version, folder)


def is_adapter(version: Path) -> bool:
    """Whether a version is an adapter, not full weights."""
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
