"""A new model from nothing but documents: its own tokenizer, a Llama-style network of a size that the data or
a compute budget allows, next-token training on packed documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sartor_models.base import save_tuned
from sartor_models.errors import ModelError
from sartor_models.load import load_model
from sartor_models.new_model import ModelShape, shape_of_size, write_new_model
from sartor_models.tokenizer import load_tokenizer

from sartor_training.methods.documents import pack, read_texts
from sartor_training.methods.method import Prepared, Sources
from sartor_training.methods.next_token import NextToken
from sartor_training.methods.rows import audit_of, validation_sample
from sartor_training.methods.taught_model import prepare_for
from sartor_training.recipe import Recipe

# Twenty tokens a parameter make the most of a budget, and a token costs six operations a parameter (Hoffmann
# et al. 2022).
_TOKENS_PER_PARAMETER = 20
_OPERATIONS = 6
_LEAST_PARAMETERS, _MOST_PARAMETERS = 100_000, 1_000_000_000
_MOST_PASSES = 4  # more of the same text teaches little (Muennighoff et al. 2023)
_TOKENIZER = "tokenizer"


def prepare(sources: Sources, recipe: Recipe, device: str, cached: Mapping[str, torch.Tensor]) -> Prepared:
    """The tokenizer is trained on the training split; a later attempt takes the one of the first."""
    assert sources.work is not None
    folder = sources.work / "new-model"
    texts = list(read_texts(sources.data, "train"))
    if not texts:
        raise ModelError(
            "There are no documents to learn from: the training split is empty.", reason="NOTHING_TO_TRAIN_ON"
        )
    characters = sum(len(text) for _, text in texts)
    shape = _shape(recipe, characters)
    tokenizer_file = bytes(cached[_TOKENIZER].tolist()) if _TOKENIZER in cached else b""
    shape = write_new_model(folder, shape, _only(texts), seed=recipe.seed, tokenizer_file=tokenizer_file)
    tokenizer = load_tokenizer(folder)
    train = pack(tokenizer, texts, recipe.max_length)
    validation = validation_sample(
        pack(tokenizer, read_texts(sources.data, "validation"), recipe.max_length), train.tokens, recipe.seed
    )
    model = load_model(folder, device=device)
    model.requires_grad_(True)
    parameters = dict(model.named_parameters())
    prepare_for(device, model)

    def save(weights: Mapping[str, torch.Tensor], output: Path) -> Mapping[str, float]:
        save_tuned(folder, weights, output)
        return {"parameters": sum(parameter.numel() for parameter in parameters.values())}

    written = (folder / "tokenizer.json").read_bytes()
    return Prepared(
        recipe=budgeted(recipe, shape.parameters, train.tokens),
        model=model,
        parameters=parameters,
        objective=NextToken(model),
        train=train.rows,
        validation=validation.rows,
        names=train.names,
        audit=audit_of(tokenizer, train),
        save=save,
        cached={_TOKENIZER: torch.frombuffer(bytearray(written), dtype=torch.uint8)},
    )


def budgeted(recipe: Recipe, parameters: int, tokens_per_epoch: int) -> Recipe:
    """The recipe with the tokens that its compute budget pays for, and as many passes as that takes."""
    if not recipe.compute_budget or recipe.max_training_tokens:
        return recipe
    tokens = max(256, int(recipe.compute_budget / (_OPERATIONS * parameters)))
    passes = min(_MOST_PASSES, max(1, -(-tokens // max(tokens_per_epoch, 1))))
    return replace(recipe, max_training_tokens=tokens, epochs=recipe.epochs or float(passes))


def _only(texts: Iterable[tuple[str, str]]) -> Iterable[str]:
    return (text for _, text in texts)


def _shape(recipe: Recipe, characters: int) -> ModelShape:
    wanted: Any = recipe.parameters
    if recipe.compute_budget:
        wanted = (recipe.compute_budget / (_OPERATIONS * _TOKENS_PER_PARAMETER)) ** 0.5
    if not wanted:
        # A byte-level tokenizer of this size writes about four characters as one token.
        wanted = characters / 4 * max(recipe.epochs, 2.0) / _TOKENS_PER_PARAMETER
    size = int(min(max(wanted, _LEAST_PARAMETERS), _MOST_PARAMETERS))
    return shape_of_size(size, vocabulary=recipe.vocabulary_size, context=recipe.max_length)
