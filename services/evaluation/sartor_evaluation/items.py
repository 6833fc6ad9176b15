"""What is asked (an item), and what one candidate made of it (an outcome)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sartor_datasets.records import Message

HELD_OUT = "held_out"
GENERAL = "general"


class ItemKind(StrEnum):
    """How an item is answered: in free text, with one of a fixed set of labels, or by picking a choice."""

    ANSWER = "answer"
    LABEL = "label"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its reference.

    `messages` is the prompt (system and user, perhaps earlier turns); `reference` what a good answer says.
    For LABEL items `choices` are all labels and `reference` the right one as the model should write it; for
    CHOICE items `choices` are the texts to pick from and `reference` is one of them. Items of one `cluster`
    are not independent (near duplicates, one conversation) and are resampled together.
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

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError(f"item {self.item_id} has no prompt message")
        if not self.reference:
            raise ValueError(f"item {self.item_id} has no reference answer")
        if self.kind is not ItemKind.ANSWER and self.reference not in self.choices:
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
    def question(self) -> str:
        """The last user message: what a reader of a report wants to see."""
        return next(
            (m.content for m in reversed(self.messages) if m.role == "user"), self.messages[-1].content
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one candidate made of one item.

    `answer` is None where nothing was generated (CHOICE items). `loss_sum` is in nats over the reference's
    `loss_tokens` tokens, end of turn included. `choice_losses` has a sum in nats for each of the item's
    choices.
    """

    item: Item
    answer: str | None
    loss_sum: float
    loss_tokens: int
    choice_losses: tuple[float, ...] = ()
    truncated: bool = False

    @property
    def chosen(self) -> str:
        """The label or choice the model finds most probable, "" where the item has none.

        Labels are compared by total probability (they are what the model would write); choices of a
        multiple-choice item by probability a character, as lm-evaluation-harness's acc_norm does, so that
        long ones are not punished.
        """
        if not self.choice_losses:
            return ""
        costs = self.choice_losses
        if self.item.kind is ItemKind.CHOICE:
            costs = tuple(
                loss / max(len(text), 1) for loss, text in zip(costs, self.item.choices, strict=True)
            )
        return self.item.choices[min(range(len(costs)), key=costs.__getitem__)]
