"""The rows of the training benchmark: real conversations of mixed length, preferences and labelled texts,
as token
ids, so that both sides see the very same."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent.parent / "examples" / "support-desk" / "records.jsonl"
LONGEST = 400
TOKENS_PER_BATCH = 1024
STEPS = int(os.environ.get("SARTOR_BENCH_STEPS", "4"))  # timed, after one that warms up


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: str
    content: str


def write_rows(work: Path) -> None:
    """chats.json, preferences.json and labelled.json in `work`; the base model lies in `work`/base."""
    from sartor_models.chat_format import encode_answer, encode_conversation
    from sartor_models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(work / "base")
    chance = random.Random(0)
    records = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    asked = [record for record in records if record.get("question") and record.get("answer")]
    teams = [record for record in records if record.get("team")]
    chats = []
    for turns in _conversations(asked, chance):
        row = encode_conversation(tokenizer, turns, LONGEST)
        chats.append({"ids": row.ids, "learned": [int(on) for on in row.supervised]})
    preferences = []
    for record, other in zip(asked, asked[7:], strict=False):
        turns = [Turn("user", record["question"])]
        pair: dict[str, Any] = {}
        for name, answer in (("chosen", record["answer"]), ("rejected", other["answer"])):
            prompt, said = encode_answer(tokenizer, [*turns, Turn("assistant", answer)])
            pair |= {"prompt": prompt, name: said}
        preferences.append(pair)
    names = sorted({record["team"] for record in teams})
    labelled = [
        {"ids": tokenizer.encode(record["text"])[:LONGEST], "label": names.index(record["team"])}
        for record in teams
    ]
    for name, rows in (("chats", chats), ("preferences", preferences), ("labelled", labelled)):
        (work / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def read_rows(work: Path, name: str) -> list[dict[str, Any]]:
    """What `write_rows` wrote."""
    rows: list[dict[str, Any]] = json.loads((work / f"{name}.json").read_text(encoding="utf-8"))
    return rows


def _conversations(records: list[dict[str, Any]], chance: random.Random) -> Iterator[list[Turn]]:
    """Of one to six questions: from 30 to 400 tokens."""
    for _ in range(240):
        found: list[Turn] = []
        for record in chance.sample(records, chance.choice((1, 1, 1, 2, 2, 3, 4, 6))):
            found += [Turn("user", record["question"]), Turn("assistant", record["answer"])]
        yield found
