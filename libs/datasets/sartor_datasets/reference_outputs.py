"""Reference outputs: what the evaluated model said on forced answers, so that a served copy can be compared
with it.

Evaluation writes them for the held-out items of a model version; deployment replays them through the served
engine.
Format: UTF-8 JSON lines. The first line is a header, every further line one item:

    {"format": "sartor.reference_outputs", "version": 1, "model": "projects/p/models/m/versions/v", "items":
    2} {"item_id": "...", "messages": [{"role": "user", "content": "..."}], "answer": "...",
     "prompt_token_ids": [...], "answer_token_ids": [...], "top1_token_ids": [...], "answer_loss_sum": 12.5}

- `messages`: the prompt's messages (system and user), `answer` the reference answer's text.
- `prompt_token_ids`: the chat template applied to `messages` with the generation prompt: exactly what the
  model read.
- `answer_token_ids`: the reference answer and its end-of-turn token, as tokenised in training.
- `top1_token_ids[i]`: the model's most probable token after `prompt_token_ids + answer_token_ids[:i]`
  (same length as `answer_token_ids`).
- `answer_loss_sum`: the sum, in nats, of -log p(answer_token_ids[i] | everything before it).

Stdlib only: the deployment agent reads this without pyarrow.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = "sartor.reference_outputs"
VERSION = 1


class MalformedReferenceOutputs(ValueError):
    """The file is not reference outputs as this module writes them; says which line and why."""


@dataclass(frozen=True, slots=True)
class ReferenceOutput:
    """One item's forced answer as the evaluated model saw it; see the module's docstring for the fields."""

    item_id: str
    messages: tuple[Mapping[str, str], ...]
    answer: str
    prompt_token_ids: tuple[int, ...]
    answer_token_ids: tuple[int, ...]
    top1_token_ids: tuple[int, ...]
    answer_loss_sum: float

    def __post_init__(self) -> None:
        if len(self.top1_token_ids) != len(self.answer_token_ids):
            raise MalformedReferenceOutputs(
                f"item {self.item_id}: {len(self.top1_token_ids)} top-1 tokens for "
                f"{len(self.answer_token_ids)} answer tokens; there must be one for each"
            )
        if not self.prompt_token_ids or not self.answer_token_ids:
            raise MalformedReferenceOutputs(
                f"item {self.item_id}: an empty prompt or answer cannot be checked"
            )


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a served model compares with the reference on the same forced answers."""

    items: int
    tokens: int
    reference_loss: float  # nats per answer token
    served_loss: float
    top1_agreement: float  # share of answer positions with the same most probable token


def agreement(
    references: Sequence[ReferenceOutput],
    served_top1: Mapping[str, Sequence[int]],
    served_loss_sums: Mapping[str, float],
) -> Agreement:
    """Compare forced outputs of a served model with the references, keyed by `item_id`.

    Raises:
        ValueError: nothing to compare, an item is missing, or its length differs.
    """
    if not references:
        raise ValueError("no reference outputs to compare with")
    tokens = matches = 0
    reference_loss = served_loss = 0.0
    for reference in references:
        top1 = served_top1.get(reference.item_id)
        if top1 is None or len(top1) != len(reference.top1_token_ids):
            raise ValueError(f"item {reference.item_id}: the served model gave no output of the same length")
        tokens += len(top1)
        matches += sum(ours == theirs for ours, theirs in zip(top1, reference.top1_token_ids, strict=True))
        reference_loss += reference.answer_loss_sum
        served_loss += served_loss_sums[reference.item_id]
    return Agreement(len(references), tokens, reference_loss / tokens, served_loss / tokens, matches / tokens)


def write_reference_outputs(path: Path, model: str, outputs: Iterable[ReferenceOutput]) -> int:
    """Write the file; returns the number of items."""
    items = list(outputs)
    header = {"format": FORMAT, "version": VERSION, "model": model, "items": len(items)}
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header) + "\n")
        for item in items:
            file.write(json.dumps(_as_json(item), ensure_ascii=False) + "\n")
    return len(items)


def read_reference_outputs(path: Path) -> tuple[str, list[ReferenceOutput]]:
    """The model's name and its outputs.

    Raises:
        MalformedReferenceOutputs: not this format or version, a broken line, or fewer items than the header
        says.
    """
    with path.open(encoding="utf-8") as file:
        header = _object(file.readline(), 1)
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            raise MalformedReferenceOutputs(f"{path.name} is not {FORMAT} version {VERSION}")
        items = list(_items(file))
    if len(items) != header.get("items"):
        raise MalformedReferenceOutputs(
            f"{path.name} has {len(items)} items, its header says {header.get('items')}"
        )
    return str(header.get("model", "")), items


def _items(lines: Iterable[str]) -> Iterator[ReferenceOutput]:
    for number, line in enumerate(lines, start=2):
        value = _object(line, number)
        try:
            yield ReferenceOutput(
                item_id=str(value["item_id"]),
                messages=tuple(dict(message) for message in value["messages"]),
                answer=str(value["answer"]),
                prompt_token_ids=tuple(map(int, value["prompt_token_ids"])),
                answer_token_ids=tuple(map(int, value["answer_token_ids"])),
                top1_token_ids=tuple(map(int, value["top1_token_ids"])),
                answer_loss_sum=float(value["answer_loss_sum"]),
            )
        except (KeyError, TypeError) as error:
            raise MalformedReferenceOutputs(f"line {number}: missing or wrong field: {error}") from error


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise MalformedReferenceOutputs(f"line {number} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedReferenceOutputs(f"line {number} is not a JSON object")
    return value


def _as_json(item: ReferenceOutput) -> dict[str, Any]:
    return {
        "item_id": item.item_id,
        "messages": [dict(message) for message in item.messages],
        "answer": item.answer,
        "prompt_token_ids": list(item.prompt_token_ids),
        "answer_token_ids": list(item.answer_token_ids),
        "top1_token_ids": list(item.top1_token_ids),
        "answer_loss_sum": item.answer_loss_sum,
    }
