"""Answers that the client already has: no model is asked. Looked up by item, from a file of any size."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sartor_evaluation.asking import Forced
from sartor_evaluation.items import Item, Outcome, failed
from sartor_evaluation.prompts import Prompt
from sartor_evaluation.suites import UnusableItems

NO_ANSWER = "no answer was given"
_CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class SuppliedAnswers:
    """Where a candidate's answers lie: JSON lines {"item_id", "text"}."""

    name: str
    path: Path


class AnswersOnDisk:
    """Answers by item id, indexed on disk: memory stays the same for a million of them.

    Args:
        folder: for the index.
    Raises:
        UnusableItems: a line is no answer, or an item is answered twice; the first 20 faults are named.
    """

    def __init__(self, given: SuppliedAnswers, folder: Path) -> None:
        self.forced: dict[str, Forced] = {}
        self.asked = 0
        self._index = sqlite3.connect(
            folder / f"answers-{abs(hash(given.path.name))}-{len(list(folder.iterdir()))}.db"
        )
        self._index.execute("PRAGMA journal_mode = OFF")
        self._index.execute("PRAGMA synchronous = OFF")
        self._index.execute(
            "CREATE TABLE answers (item_id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
        )
        faults: list[str] = []
        lines = _answers(given.path, faults)
        while some := list(islice(lines, _CHUNK)):
            try:
                self._index.executemany("INSERT INTO answers VALUES (?, ?)", some)
            except sqlite3.IntegrityError as error:
                raise UnusableItems(
                    f"the answers of {given.name} name an item twice; give one answer each"
                ) from error
        if faults:
            raise UnusableItems(f"the answers of {given.name}: " + "; ".join(faults[:20]))
        self._index.commit()

    def outcomes(
        self,
        items: Sequence[Item],
        prompt: Prompt,
        *,
        generate: bool = True,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> list[Outcome]:
        """As Answers.outcomes; an item without an answer has failed."""
        found = [self.outcome(item) for item in items]
        progress(1.0)
        return found

    def outcome(self, item: Item) -> Outcome:
        """What was answered to one item."""
        row = self._index.execute("SELECT text FROM answers WHERE item_id = ?", [item.item_id]).fetchone()
        return failed(item, NO_ANSWER) if row is None else Outcome(item, row[0], 0.0, 0)

    def close(self) -> None:
        self._index.close()


def write_answers(path: Path, answers: Mapping[str, str]) -> None:
    """Inline answers as a file."""
    with path.open("w", encoding="utf-8") as file:
        for item_id, text in answers.items():
            file.write(json.dumps({"item_id": item_id, "text": text}, ensure_ascii=False) + "\n")


def _answers(path: Path, faults: list[str]) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row: Any = json.loads(line)
                item_id, text = row["item_id"], row["text"]
            except (ValueError, KeyError, TypeError):
                faults.append(f'line {number} is not {{"item_id": …, "text": …}}')
                if len(faults) > 20:
                    return
                continue
            yield str(item_id), str(text)
