"""What is asked (an item), and what one candidate made of it (an outcome)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from sartor_datasets.records import Message

HELD_OUT = "held_out"
GENERAL = "general"
SEPARATOR = "|"
NO_LABEL = "none"
_NOT_WORD = re.compile(r"[\W_]+", re.UNICODE)
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?")
_BETWEEN_LABELS = re.compile(r"[|,;\n]")


class ItemKind(StrEnum):
    """How an item is answered: in free text, with one of a fixed set of labels, by picking a choice, with any
    number of a set of labels (LABELS), with a number; or not at all: CLOZE asks whether the model would go on
    with just the reference, TEXT how likely it finds it.
    """

    ANSWER = "answer"
    LABEL = "label"
    CHOICE = "choice"
    CLOZE = "cloze"
    TEXT = "text"
    LABELS = "labels"
    NUMBER = "number"


class Matches(Protocol):
    """Decides whether an answer is right."""

    def matches(self, answer: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its reference.

    `messages` is the prompt (system and user, perhaps earlier turns); `reference` what a good answer says,
    empty where only `pattern` (a regular expression) or `schema` (a JSON Schema) says what is good. For LABEL
    items `choices` are all labels and `reference` the right one as the model should write it; for CHOICE
    items
    `choices` are the texts to pick from and `reference` is one of them. Items of one `cluster` are not
    independent (near duplicates, one conversation) and are resampled together.
    """

    item_id: str
    suite: str
    kind: ItemKind
    messages: tuple[Message, ...]
    reference: str
    choices: tuple[str, ...] = ()
    label: str = ""
    cluster: str = ""
    language: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    bare_text: str = ""
    """The question without the instruction around it, where that is known: what similarity is measured on."""
    pattern: str = ""
    schema: str = ""
    context: str | None = None
    """The exact text to continue, instead of the messages in the chat format: task files say every
    character."""
    stops: tuple[str, ...] = ()
    """With `context`: where an answer ends."""
    most_tokens: int = 0
    """Longest answer; 0 lets it be half as long again as the reference."""
    matching: tuple[Matches, ...] = ()
    """How a task file decides that an answer is right, one a filter pipeline."""
    choice_sizes: tuple[str, ...] = ()
    """The choices without the space before them, where that does not count for their length."""
    family: str = ""
    """Items of one family ask the same in several ways; see families.py."""
    verbatim: str = ""
    """What a model that learnt its training data by heart would go on with."""

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError(f"item {self.item_id} has no prompt message")
        if not self.reference and (self.kind is not ItemKind.ANSWER or not (self.pattern or self.schema)):
            raise ValueError(f"item {self.item_id} has no reference answer")
        if self.kind in (ItemKind.LABEL, ItemKind.CHOICE) and self.reference not in self.choices:
            raise ValueError(f"item {self.item_id}: its reference is not among its choices")

    @property
    def subject(self) -> str:
        """What the item is about, without instructions."""
        return self.bare_text or self.question

    @property
    def group(self) -> str:
        """Label, intent or whatever else says which items are of one sort; "" where nothing does."""
        return self.label or self.attributes.get("intent", "") or self.attributes.get("group", "")

    @property
    def measured_choices(self) -> tuple[str, ...]:
        """The choices as their length is measured."""
        return self.choice_sizes or self.choices

    @property
    def wanted_labels(self) -> frozenset[str]:
        """The labels that are right: one, of LABELS items any number."""
        if self.kind is ItemKind.LABELS:
            return _named(self.reference, self.choices)
        return frozenset({self.reference})

    @property
    def question(self) -> str:
        """The last user message: what a reader of a report wants to see."""
        return next(
            (m.content for m in reversed(self.messages) if m.role == "user"), self.messages[-1].content
        )


@dataclass(frozen=True, slots=True)
class Family:
    """What the items of a family say together: how far their scores are apart, the worst score, whether some
    are right and others not; how far the answers are apart from the first one, and whether any differs.
    """

    size: int
    spread: float
    worst: float
    turns: bool
    gap: float
    differs: bool


@dataclass(frozen=True, slots=True)
class Timing:
    """What one request cost, with `clients` asking at the same time. `megabytes` is 0 where not known."""

    first_token_seconds: float
    seconds: float
    tokens: int
    clients: int
    megabytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one candidate made of one item.

    `answer` is None where nothing was written (CHOICE items). `loss_sum` is in nats over the reference's
    `loss_tokens` tokens, end of turn included; 0 tokens where the candidate tells no probabilities.
    `choice_losses` has a sum in nats for each of the item's choices. `greedy` says whether the model would
    have
    written just the reference. `failure` says why there is nothing at all: such an outcome enters no metric.
    """

    item: Item
    answer: str | None
    loss_sum: float
    loss_tokens: int
    choice_losses: tuple[float, ...] = ()
    truncated: bool = False
    failure: str = ""
    greedy: bool = False
    choice_tokens: tuple[int, ...] = ()
    family: Family | None = None
    timing: Timing | None = None
    label_shares: tuple[float, ...] = ()
    """Of LABELS items: how probable each of the item's choices is, each by itself."""

    @property
    def given_labels(self) -> frozenset[str]:
        """The labels that this outcome gives its item: one or none, of LABELS items any number."""
        if self.item.kind is ItemKind.LABELS:
            return _named(self.answer or "", self.item.choices)
        return frozenset({self.chosen} - {""})

    @property
    def number(self) -> float | None:
        """The first number in the answer, None where there is none."""
        found = _NUMBER.search(self.answer or "")
        return None if found is None else float(found.group().replace(",", "."))

    @property
    def chosen(self) -> str:
        """The label or choice the model finds most probable, "" where the item has none.

        Labels are compared by total probability (they are what the model would write); choices of a
        multiple-choice item by probability a character, as lm-evaluation-harness's acc_norm does, so that
        long ones are not punished. A candidate that only writes has chosen what its answer says.
        """
        if self.item.kind is ItemKind.LABELS:
            return SEPARATOR.join(sorted(self.given_labels))
        if not self.choice_losses:
            return self._written_choice()
        costs = self.choice_losses
        if self.item.kind is ItemKind.CHOICE:
            costs = tuple(
                loss / max(len(text), 1) for loss, text in zip(costs, self.item.measured_choices, strict=True)
            )
        return self.item.choices[min(range(len(costs)), key=costs.__getitem__)]

    @property
    def confidence(self) -> tuple[float, ...]:
        """The choices' probabilities, made to add up to 1; empty where there are none."""
        if not self.choice_losses:
            return ()
        least = min(self.choice_losses)
        shares = [math.exp(least - loss) for loss in self.choice_losses]
        return tuple(share / sum(shares) for share in shares)

    def _written_choice(self) -> str:
        said = _plain(self.answer or "")
        return next((choice for choice in self.item.choices if _plain(choice) == said), "")


def failed(item: Item, why: str) -> Outcome:
    """The outcome of an item that has none."""
    return Outcome(item, None, 0.0, 0, failure=why)


def _named(text: str, choices: tuple[str, ...]) -> frozenset[str]:
    said = {_plain(part) for part in _BETWEEN_LABELS.split(text)}
    return frozenset(choice for choice in choices if _plain(choice) in said)


def _plain(text: str) -> str:
    return _NOT_WORD.sub(" ", text).strip().casefold()
