"""Direct preference optimisation (Rafailov et al. 2023): the better of two answers becomes likelier than the
worse one, measured against where the model began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sartor_datasets.records import Message
from sartor_models.batches import length_bucketed
from sartor_models.chat_format import ChatTokens, encode_answer
from sartor_models.errors import ModelError
from sartor_models.tokenizer import ChatTokenizer, load_tokenizer

from sartor_training.methods.loss import log_probabilities
from sartor_training.methods.method import Audit, Prepared, Sources
from sartor_training.methods.next_token import supervised_states
from sartor_training.methods.rows import Rows, read_rows, spans, spread, validation_sample
from sartor_training.methods.taught_model import saver, taught_model, with_template
from sartor_training.recipe import Recipe

_REFERENCE_BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one conversation, and what the model thought of each before it was taught: the
    log-probability of the whole answer."""

    chosen: ChatTokens
    rejected: ChatTokens
    reference: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PreferenceLoss:
    """-log sigmoid(beta * ((log p(c) - log p_ref(c)) - (log p(r) - log p_ref(r)))), mean over pairs."""

    model: Any
    beta: float

    def length(self, row: Preference) -> int:
        """Tokens of both answers with their prompts."""
        return len(row.chosen.ids) + len(row.rejected.ids)

    def positions(self, row: Preference) -> int:
        """Every pair counts the same."""
        return 1

    def loss(self, rows: Sequence[Preference]) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Also `accuracy`, the share of pairs whose better answer gained more, and `margin`, by how much."""
        found = self.log_probabilities(rows)
        reference = torch.tensor([row.reference for row in rows], device=found.device)
        gained = found - reference
        margin = gained[:, 0] - gained[:, 1]
        loss = -torch.nn.functional.logsigmoid(self.beta * margin).mean()
        right = (margin > 0).float().mean().item()
        return loss, {"accuracy": right, "margin": self.beta * margin.detach().mean().item()}

    def log_probabilities(self, rows: Sequence[Preference]) -> torch.Tensor:
        """float32 [rows, 2]: of the better and of the worse answer, summed over its tokens."""
        both = [answer for row in rows for answer in (row.chosen, row.rejected)]
        states, targets = supervised_states(self.model, both)
        each = log_probabilities(states, self.model.lm_head.weight, targets)
        counts = torch.tensor([sum(answer.supervised[1:]) for answer in both])
        owner = torch.arange(len(both)).repeat_interleave(counts).to(each.device)
        sums = torch.zeros(len(both), device=each.device).index_add(0, owner, each)
        return sums.view(-1, 2)


def prepare(sources: Sources, recipe: Recipe, device: str, cached: Mapping[str, torch.Tensor]) -> Prepared:
    """Preferences, each with the log-probabilities of the model as it is before the first step. They are made
    once and kept with the checkpoints."""
    tokenizer = load_tokenizer(sources.base, recipe.chat_template)
    train = _rows(sources.data, "train", tokenizer, recipe)
    model, parameters = taught_model(sources, recipe, device)
    objective = PreferenceLoss(model, recipe.beta)
    tokens = sum(objective.length(row) for row in train.rows)
    validation = validation_sample(
        _rows(sources.data, "validation", tokenizer, recipe), tokens, recipe.seed, objective.length
    )
    kept = {}
    for split, rows in (("train", train), ("validation", validation)):
        known = torch.zeros(len(rows.rows), 2) if sources.quoting else cached.get(f"reference/{split}")
        kept[split] = _reference(objective, rows.rows, known)
    return Prepared(
        recipe=recipe,
        model=model,
        parameters=parameters,
        objective=objective,
        train=_judged(train.rows, kept["train"]),
        validation=_judged(validation.rows, kept["validation"]),
        names=train.names,
        audit=_audit(tokenizer, train),
        save=with_template(saver(sources, recipe), recipe),
        cached={f"reference/{split}": tensor for split, tensor in kept.items()},
        passed_tokens=tokens + sum(objective.length(row) for row in validation.rows),
    )


def _rows(folder: Path, split: str, tokenizer: ChatTokenizer, recipe: Recipe) -> Rows:
    length = min(recipe.max_length, tokenizer.context_length)
    rows, names = [], []
    cut = useless = 0
    for name, messages, chosen, rejected in _pairs(folder, split):
        found = [_answer(tokenizer, messages, text) for text in (chosen, rejected)]
        cut += any(len(answer.ids) > length for answer in found)
        short = [ChatTokens(answer.ids[:length], answer.supervised[:length]) for answer in found]
        if chosen and rejected and chosen != rejected and all(any(answer.supervised) for answer in short):
            rows.append(Preference(short[0], short[1]))
            names.append(name)
        else:
            useless += 1
    return Rows(tuple(rows), cut, useless, tuple(names))


def _pairs(folder: Path, split: str) -> Iterator[tuple[str, list[Message], str, str]]:
    for row in read_rows(folder, split, ["messages", "chosen", "rejected"]):
        if row["kind"] == "preference":
            messages = [Message(turn["role"], turn["content"]) for turn in row["messages"]]
            yield row["record_key"], messages, row["chosen"], row["rejected"]


def _answer(tokenizer: ChatTokenizer, messages: Sequence[Message], text: str) -> ChatTokens:
    try:
        prompt, answer = encode_answer(tokenizer, [*messages, Message("assistant", text)])
    except ModelError as error:
        if error.reason != "NOTHING_TO_LEARN":
            raise
        return ChatTokens((), ())
    return ChatTokens((*prompt, *answer), (*[False] * len(prompt), *[True] * len(answer)))


@torch.no_grad()
def _reference(
    objective: PreferenceLoss, rows: Sequence[Preference], known: torch.Tensor | None
) -> torch.Tensor:
    if known is not None and known.shape == (len(rows), 2):
        return known
    objective.model.eval()
    found = torch.zeros(len(rows), 2)
    for batch in length_bucketed([objective.length(row) for row in rows], _REFERENCE_BATCH_TOKENS):
        found[batch] = objective.log_probabilities([rows[index] for index in batch]).cpu()
    return found


def _judged(rows: Sequence[Preference], reference: torch.Tensor) -> list[Preference]:
    pairs: list[list[float]] = reference.tolist()
    return [replace(row, reference=(better, worse)) for row, (better, worse) in zip(rows, pairs, strict=True)]


def _audit(tokenizer: ChatTokenizer, rows: Rows) -> Audit:
    answers = [answer for row in rows.rows for answer in (row.chosen, row.rejected)]
    return Audit(
        rows=len(rows.rows) + rows.useless,
        tokens=sum(len(answer.ids) for answer in answers),
        supervised_tokens=sum(answer.supervised_count for answer in answers),
        cut=rows.cut,
        without_labels=rows.useless,
        samples=[
            [*spans(tokenizer, row.chosen), ("  …instead of  ", False), *spans(tokenizer, row.rejected)[1:]]
            for row in spread(rows.rows, 3)
        ],
    )
