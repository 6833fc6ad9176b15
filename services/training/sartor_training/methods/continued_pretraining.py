"""Continued pretraining: the model goes on reading, documents of the field mixed with general text so that it
does not forget (Ibrahim et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sartor_models.tokenizer import load_tokenizer

from sartor_training.methods.documents import pack, part_of, read_texts
from sartor_training.methods.method import Prepared, Sources
from sartor_training.methods.next_token import NextToken
from sartor_training.methods.passes import Passes
from sartor_training.methods.rows import Rows, audit_of, validation_sample
from sartor_training.methods.taught_model import Save, load_weights, saver, taught_model
from sartor_training.recipe import Recipe

_BATCH_TOKENS = 2048


def prepare(sources: Sources, recipe: Recipe, device: str, cached: Mapping[str, torch.Tensor]) -> Prepared:
    """Packed documents; general text is drawn from another curation's training split."""
    tokenizer = load_tokenizer(sources.base)
    length = min(recipe.max_length, tokenizer.context_length)

    def packed(folder: Path, split: str) -> Rows:
        return pack(tokenizer, read_texts(folder, split), length)

    train = packed(sources.data, "train")
    validation = validation_sample(packed(sources.data, "validation"), train.tokens, recipe.seed)
    general: list[Any] = []
    held_out = Rows((), 0, 0)
    if sources.replay is not None:
        general = part_of(packed(sources.replay, "train"), train.tokens, recipe.replay_share, recipe.seed)
        held_out = validation_sample(packed(sources.replay, "validation"), train.tokens, recipe.seed)
    model, parameters = taught_model(sources, recipe, device)
    objective = NextToken(model)
    save = saver(sources, recipe)
    if held_out.rows:
        save = _measured(save, Passes(model, parameters, objective), parameters, held_out)
    return Prepared(
        recipe=recipe,
        model=model,
        parameters=parameters,
        objective=objective,
        train=[*train.rows, *general],
        validation=validation.rows,
        names=[*train.names, *["general text"] * len(general)],
        audit=audit_of(tokenizer, train),
        save=save,
    )


def _measured(save: Save, passes: Passes, parameters: Mapping[str, torch.nn.Parameter], rows: Rows) -> Save:
    """Also says how much of the general text was forgotten: its validation loss before and after."""
    before = passes.mean(rows.rows, _BATCH_TOKENS)[0]

    def saved(weights: Mapping[str, torch.Tensor], folder: Path) -> Mapping[str, float]:
        figures = save(weights, folder)
        load_weights(parameters, weights)
        after = passes.mean(rows.rows, _BATCH_TOKENS)[0]
        return {**figures, "initial_general_loss": before, "general_loss": after}

    return saved
