"""Supervised fine-tuning: the model learns the assistant's words of curated conversations, and nothing
else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from sartor_datasets.records import Message
from sartor_models.tokenizer import ChatTokenizer, load_tokenizer

from sartor_training.methods.method import Prepared, Sources
from sartor_training.methods.next_token import NextToken
from sartor_training.methods.rows import Rows, audit_of, encode_rows, read_rows, validation_sample
from sartor_training.methods.taught_model import saver, taught_model, with_template
from sartor_training.recipe import Recipe

_KINDS = ("chat", "labelled")


def prepare(sources: Sources, recipe: Recipe, device: str, cached: Mapping[str, torch.Tensor]) -> Prepared:
    """Conversations of any number of turns, on the base model's chat template or a named one."""
    tokenizer = load_tokenizer(sources.base, recipe.chat_template)
    train = _rows(sources.data, "train", tokenizer, recipe)
    validation = validation_sample(
        _rows(sources.data, "validation", tokenizer, recipe), train.tokens, recipe.seed
    )
    model, parameters = taught_model(sources, recipe, device)
    return Prepared(
        recipe=recipe,
        model=model,
        parameters=parameters,
        objective=NextToken(model),
        train=train.rows,
        validation=validation.rows,
        names=train.names,
        audit=audit_of(tokenizer, train),
        save=with_template(saver(sources, recipe), recipe),
    )


def _rows(folder: Path, split: str, tokenizer: ChatTokenizer, recipe: Recipe) -> Rows:
    names: list[str] = []
    conversations = []
    for row in read_rows(folder, split, ["messages"]):
        if row["kind"] in _KINDS:
            names.append(row["record_key"])
            conversations.append([Message(turn["role"], turn["content"]) for turn in row["messages"]])
    return encode_rows(tokenizer, conversations, min(recipe.max_length, tokenizer.context_length), names)
