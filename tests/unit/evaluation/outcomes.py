"""Items and outcomes for tests, with everything that does not matter filled in."""

from sartor_datasets.records import Message
from sartor_evaluation.items import HELD_OUT, Item, ItemKind, Outcome


def answer_item(item_id: str, question: str = "How?", reference: str = "Like this.", **fields) -> Item:
    return Item(
        item_id=item_id,
        suite=fields.pop("suite", HELD_OUT),
        kind=ItemKind.ANSWER,
        messages=(Message("user", question),),
        reference=reference,
        cluster=fields.pop("cluster", item_id),
        **fields,
    )


def label_item(
    item_id: str, label: str, choices: tuple[str, ...] = ("billing", "shipping"), **fields
) -> Item:
    return Item(
        item_id=item_id,
        suite=fields.pop("suite", HELD_OUT),
        kind=ItemKind.LABEL,
        messages=(Message("user", fields.pop("question", f"Which team? {item_id}")),),
        reference=label,
        choices=choices,
        label=label,
        cluster=fields.pop("cluster", item_id),
        **fields,
    )


def answered(item: Item, answer: str, loss: float = 4.0, tokens: int = 4) -> Outcome:
    return Outcome(item, answer, loss, tokens)


def labelled(item: Item, guess: str) -> Outcome:
    losses = tuple(1.0 if choice == guess else 5.0 for choice in item.choices)
    return Outcome(item, guess, losses[item.choices.index(item.reference)], 2, losses)
