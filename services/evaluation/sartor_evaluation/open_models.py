"""Models opened from disk, one in memory at a time: a tuned one is its base with the merged adapter, as it is
deployed. Endpoints and answers that are there already are opened here too.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sartor_models.chat_templates import CHAT_TEMPLATES
from sartor_models.classifier import load_classifier
from sartor_models.load import load_model, load_tokenizer
from sartor_models.merge import merge_into
from sartor_models.versions import (
    chat_template,
    is_adapter,
    is_classifier,
    model_folder,
    with_chat_template,
)

from sartor_evaluation.asking import Asker, Memory
from sartor_evaluation.classifying import Classifies, MostFrequent, SaysMostFrequent
from sartor_evaluation.prompts import ExampleBook
from sartor_evaluation.remote import RemoteAnswers, RemoteModel
from sartor_evaluation.run import ModelFiles, OpenModel, Source
from sartor_evaluation.supplied import AnswersOnDisk, SuppliedAnswers


def opener(
    book: ExampleBook,
    folder: Path,
    memory: Memory | None = None,
    written: Mapping[str, str] | None = None,
) -> Callable[[Source], AbstractContextManager[OpenModel]]:
    """What `run` opens candidates with. A base model that was only read stays loaded for the tuned model
    after
    it; a model whose every answer is remembered is not loaded at all.

    Args:
        folder: for the files of fully tuned models, laid over those of their base, and indices of answers.
        written: label → how the data writes it out, for classifiers.
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
        elif isinstance(source, MostFrequent):
            yield SaysMostFrequent(source)
        elif source.version is not None and is_classifier(source.version):
            base, version = source.base, source.version
            yield Classifies(lambda: load_classifier(base, version), written or {})
        else:
            place = model_folder(source.base, source.version, folder / f"full-{len(list(folder.iterdir()))}")
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


def with_templates(models: Mapping[str, Source], folder: Path) -> dict[str, Source]:
    """The models, where a base without a chat template takes that of a version taught with one, so that
    both are asked in the same words; beside a classifier, which reads the bare text, the plainest one.
    """
    files = [model for model in models.values() if isinstance(model, ModelFiles)]
    found: dict[Path, Path] = {}
    for base in dict.fromkeys(model.base for model in files if not chat_template(model.base)):
        versions = [model.version for model in files if model.base == base and model.version]
        plain = CHAT_TEMPLATES["plain"] if any(map(is_classifier, versions)) else ""
        template = next(filter(None, map(chat_template, versions)), plain)
        if template:
            found[base] = with_chat_template(base, template, folder / f"templates-{len(found)}")
    return {
        key: replace(model, base=found.get(model.base, model.base))
        if isinstance(model, ModelFiles)
        else model
        for key, model in models.items()
    }
