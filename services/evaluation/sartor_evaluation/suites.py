"""Suites: where the items come from. The held-out split of a curation, a client's own items, the general
suite.
"""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sartor_datasets.arrow import CuratedRecord, batch_to_curated
from sartor_datasets.curated import read_curated_folder
from sartor_datasets.records import Message

from sartor_evaluation.items import GENERAL, HELD_OUT, Item, ItemKind


class UnusableItems(ValueError):
    """Items that cannot be asked; the message says which and why."""


def curated_items(folder: Path, split: str, suite: str = HELD_OUT) -> list[Item]:
    """The items of one split of a curated snapshot staged in `folder`, in the file's order.

    Each record's messages end with the assistant's: that is the reference, what comes before is the prompt. A
    record with a label is a LABEL item; the labels to choose from are all that occur in any split, by their
    written answer.
    """
    choices = _written_labels(folder)
    items = []
    for batch in read_curated_folder(folder, split):
        items += [
            item for record in batch_to_curated(batch) if (item := _item(record, choices, suite)) is not None
        ]
    return items


def _written_labels(folder: Path) -> tuple[str, ...]:
    """Every label's answer as it is written, over all splits, sorted."""
    found: set[str] = set()
    for split in ("train", "validation", "test"):
        for batch in read_curated_folder(folder, split, columns=["label", "messages"]):
            labelled = batch.filter(pc.not_equal(batch.column("label"), pa.scalar("")))
            found.update(row[-1]["content"] for row in labelled.column("messages").to_pylist() if row)
    return tuple(sorted(found))


def _item(curated: CuratedRecord, choices: tuple[str, ...], suite: str) -> Item | None:
    record = curated.record
    messages = record.messages
    if len(messages) < 2 or messages[-1].role != "assistant" or not messages[-1].content:
        return None  # a document has no question: it is training text, not an item
    labelled = bool(record.label)
    return Item(
        item_id=record.record_id,
        suite=suite,
        kind=ItemKind.LABEL if labelled else ItemKind.ANSWER,
        messages=messages[:-1],
        reference=messages[-1].content,
        choices=choices if labelled else (),
        label=record.label,
        cluster=record.attributes.get("group") or curated.cluster or record.record_id,
        language=curated.language,
        attributes={"source": record.source.rpartition("/")[2], **record.attributes},
        bare_text=record.text,
    )


def sample(items: Sequence[Item], count: int, *, seed: int = 0) -> list[Item]:
    """At most `count` of the items (0: all), the same ones each time, in their order."""
    if not count or len(items) <= count:
        return list(items)
    chosen = sorted(random.Random(seed).sample(range(len(items)), count))
    return [items[position] for position in chosen]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What good answers look like, for items that do not say it themselves."""

    pattern: str = ""
    schema: str = ""


def client_items(
    values: Iterable[Mapping[str, Any]], suite: str = HELD_OUT, expected: Expectation = Expectation()
) -> list[Item]:
    """Items a client gave, with the fields of sartor.evaluation.v1.Item.

    Raises:
        UnusableItems: none given, or one that cannot be asked, or an id given twice; all faults are named.
    """
    rows = list(values)
    if not rows:
        raise UnusableItems("the suite is empty: give at least one item with a prompt and a reference")
    labels = labels_of(rows)
    faults: list[str] = []
    items: dict[str, Item] = {}
    for number, row in enumerate(rows, start=1):
        item_id = str(row.get("id") or number)
        fault = _fault(row, expected)
        if fault:
            faults.append(f"item {item_id} {fault}")
        elif item_id in items:
            faults.append(f"item id {item_id} is given twice")
        else:
            items[item_id] = client_item(item_id, row, labels, suite, expected)
    raise_faults(faults)
    return list(items.values())


def raise_faults(faults: Sequence[str]) -> None:
    """Raises UnusableItems with the first twenty, if there are any."""
    if faults:
        shown = "; ".join(faults[:20])
        raise UnusableItems(shown + (f"; and {len(faults) - 20} more" if len(faults) > 20 else ""))


def labels_of(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """All labels that occur, sorted."""
    return tuple(sorted({str(row["label"]) for row in rows if row.get("label")}))


def _fault(row: Mapping[str, Any], expected: Expectation) -> str:
    """What is wrong with a client's item, or ""."""
    given = row.get("reference") or row.get("label")
    checkable = row.get("pattern") or row.get("schema") or expected.pattern or expected.schema
    if not row.get("prompt"):
        return "has no prompt"
    if not given and (not checkable or row.get("choices")):
        return "has neither reference nor label, and no pattern or schema says what is good"
    if row.get("choices") and str(row.get("reference") or "") not in list(map(str, row["choices"])):
        return "has a reference that is not among its choices"
    return ""


def client_item(
    item_id: str,
    row: Mapping[str, Any],
    labels: tuple[str, ...],
    suite: str = HELD_OUT,
    expected: Expectation = Expectation(),
) -> Item:
    """One item from its fields."""
    system = (Message("system", str(row["system"])),) if row.get("system") else ()
    label = str(row.get("label") or "")
    choices = labels if label else tuple(map(str, row.get("choices") or ()))
    kind = ItemKind.LABEL if label else ItemKind.CHOICE if choices else ItemKind.ANSWER
    return Item(
        item_id=item_id,
        suite=suite,
        kind=kind,
        messages=(*system, Message("user", str(row["prompt"]))),
        reference=label or str(row.get("reference") or ""),
        choices=choices,
        label=label,
        cluster=str(row.get("cluster") or item_id),
        language=str(row.get("language") or ""),
        attributes={str(name): str(value) for name, value in (row.get("slices") or {}).items()},
        pattern=str(row.get("pattern") or expected.pattern),
        schema=str(row.get("schema") or expected.schema),
    )


def read_client_items(path: Path, suite: str = HELD_OUT, expected: Expectation = Expectation()) -> list[Item]:
    """Client items from JSON lines.

    Raises:
        UnusableItems: as `client_items`, or a line that is not a JSON object.
    """
    with path.open(encoding="utf-8") as file:
        return client_items(json_lines(file), suite, expected)


def general_items() -> list[Item]:
    """The built-in general suite: short multiple-choice questions, German and English, that need no special
    knowledge.

    What a model forgets in tuning shows here. Written for Sartor.
    """
    text = files("sartor_datasets").joinpath("general_suite.jsonl").read_text("utf-8")
    return [
        Item(
            item_id=str(row["id"]),
            suite=GENERAL,
            kind=ItemKind.CHOICE,
            messages=(Message("user", row["question"]),),
            reference=row["answer"],
            choices=(row["answer"], *row["others"]),
            cluster=str(row["id"]),
            language=row["language"],
            attributes={"topic": row["topic"]},
        )
        for row in json_lines(text.split("\n"))
    ]


def json_lines(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UnusableItems(f"line {number} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UnusableItems(f"line {number} is not a JSON object with the fields of an item")
        yield value
