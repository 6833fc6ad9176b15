"""Makes records.jsonl and planted.json from the hand-written parts beside it; the same bytes every time.

python make_records.py            writes both files
python make_records.py --check    says whether they are what this program makes

Standard library only. A record is a row as the company's ticket system would export it: a question with its
answer, a message with its case note, or a ticket text with the team it went to.
"""

import argparse
import json
import random
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 20261122
FIRST_NUMBER = 10001
EXACT_DUPLICATES = 6
OVER_LONG_WORDS = 700
FILLS = 4
NOTE_FIELDS = ("order", "model", "city", "day")
NOTE_PROMPT = {"en": "Case note: {}", "de": "Fallnotiz: {}"}

Row = dict[str, str]
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Made:
    """A row, and what is known of it: slot values for the proof, the fault if one is planted."""

    row: Row
    slots: tuple[tuple[str, str], ...] = ()
    hand_written: bool = False
    fault: str = ""
    expect: dict[str, str] = field(default_factory=dict)


def training(intents: dict[str, Any], random_source: random.Random) -> list[Made]:
    """Each wording of intents.toml once, its slots filled."""
    return list(_worded(intents, intents, random_source, split=""))


def held_out(intents: dict[str, Any], asked: dict[str, Any], random_source: random.Random) -> list[Made]:
    """Each question and ticket of held_out.toml, marked for the test split."""
    return list(_worded(intents, asked, random_source, split="test"))


def notes(entries: dict[str, Any], random_source: random.Random) -> list[Made]:
    """Case notes: each training wording FILLS times with other values, the held-out ones as written."""
    made: list[Made] = []
    for language, wordings in entries["training"].items():
        for number, wording in enumerate(wordings, 1):
            for _ in range(FILLS):
                order = f"VL-{random_source.randrange(20000, 80000)}"
                text, slots = _filled(wording, entries["slots"] | {"order": [order]}, language, random_source)
                said = {name.removesuffix("_de"): value for name, value in slots}
                note = " | ".join(said.get(name, "-") for name in NOTE_FIELDS)
                row = _note(text, note, language, f"case-note/{language}/{number}")
                if all(row != other.row for other in made):  # the same values may have been drawn again
                    made.append(Made(row, slots))
    for language, messages in entries["held_out"].items():
        for number, (text, note) in enumerate(messages, 1):
            row = _note(text, note, language, f"case-note/held-out/{language}/{number}") | {"split": "test"}
            values = zip(NOTE_FIELDS, note.split(" | "), strict=True)
            made.append(Made(row, tuple(pair for pair in values if pair[1] != "-"), hand_written=True))
    return made


def planted(
    intents: dict[str, Any], faults: dict[str, Any], known: list[Made]
) -> tuple[list[Made], list[Made]]:
    """The faulty records; apart from them the copies, which must come after what they copy."""
    by_id = {intent["id"]: intent for intent in intents["intent"]}
    made = [_fault(by_id, entry) for entry in faults["fault"]]
    made.append(_over_long(by_id, known))
    copies = [one for one in made if one.fault == "near-duplicate"]
    originals = [one for one in known if one.row["group"].endswith("/1")]
    for original in originals[:: len(originals) // EXACT_DUPLICATES][:EXACT_DUPLICATES]:
        row = {name: value for name, value in original.row.items() if name != "group"}
        copies.append(Made(row, fault="exact-duplicate", expect={"dropped": "EXACT_DUPLICATE"}))
    return [one for one in made if one not in copies], copies


def records(folder: Path = HERE) -> list[Made]:
    """All rows in their order, numbered."""
    intents, asked, faults, case_notes = (
        tomllib.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("intents.toml", "held_out.toml", "faults.toml", "notes.toml")
    )
    random_source = random.Random(SEED)
    known = training(intents, random_source)
    test = held_out(intents, asked, random_source)
    faulty, copies = planted(intents, faults, known)
    ordered = known + test + faulty + notes(case_notes, random.Random(SEED))
    random_source.shuffle(ordered)
    random_source.shuffle(copies)
    return [
        _numbered(one, number, random_source) for number, one in enumerate(ordered + copies, FIRST_NUMBER)
    ]


def _worded(
    intents: dict[str, Any], asked: dict[str, Any], random_source: random.Random, *, split: str
) -> Iterator[Made]:
    by_id = {intent["id"]: intent for intent in intents["intent"]}
    place = "held-out/" if split else ""
    for entry in asked["intent"]:
        intent = by_id[entry["id"]]
        for kind, build in (("ask", _question), ("ticket", _ticket)):
            for language, wordings in entry.get(kind, {}).items():
                for number, wording in enumerate(wordings, 1):
                    text, slots = _filled(wording, asked["slots"], language, random_source)
                    group = f"{entry['id']}/{place}{kind}/{language}/{number}"
                    row = build(intent, text, language) | {"intent": entry["id"], "group": group}
                    yield Made(row | ({"split": split} if split else {}), slots, hand_written=not slots)


def _question(intent: dict[str, Any], text: str, language: str) -> Row:
    return {"language": language, "question": text, "answer": intent["answer"][language]}


def _note(text: str, note: str, language: str, group: str) -> Row:
    question = NOTE_PROMPT[language].format(text)
    return {"language": language, "question": question, "answer": note, "intent": "case-note", "group": group}


def _ticket(intent: dict[str, Any], text: str, language: str) -> Row:
    return {"language": language, "text": text, "team": intent["team"]}


def _filled(
    wording: str, slots: dict[str, list[str]], language: str, random_source: random.Random
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The wording with a value in each slot, and the values."""
    values: list[tuple[str, str]] = []

    def value(found: re.Match[str]) -> str:
        chosen = random_source.choice(slots[found[1]])
        values.append((found[1], chosen))
        return chosen

    return _SLOT.sub(value, wording), tuple(values)


def _fault(by_id: dict[str, Any], entry: dict[str, str]) -> Made:
    fates = ("dropped", "changed", "masked", "rejected", "kept")
    row = {name: value for name, value in entry.items() if name not in ("fault", *fates)}
    if "question" in row and "intent" in row:
        row.setdefault("answer", by_id[row["intent"]]["answer"][row["language"]])
    expect = {fate: entry[fate] for fate in fates if fate in entry}
    return Made(row, hand_written=True, fault=entry["fault"], expect=expect)


def _over_long(by_id: dict[str, Any], known: list[Made]) -> Made:
    """Somebody pasted a whole chat log into the question."""
    log: list[str] = []
    for one in known:
        if one.row["language"] == "en" and "question" in one.row and len(log) < OVER_LONG_WORDS:
            log += f"> {one.row['question']} > {one.row['answer']}".split()
    row = {"language": "en", "question": " ".join(log), "answer": by_id["delivery-time"]["answer"]["en"]}
    return Made(row, fault="over-long", expect={"dropped": "TOO_LONG"})


def _numbered(made: Made, number: int, random_source: random.Random) -> Made:
    row = {"id": f"T-{number}", "customer": f"C-{random_source.randrange(1000, 1400)}", **made.row}
    return Made(row, made.slots, made.hand_written, made.fault, made.expect)


def records_file(made: list[Made]) -> bytes:
    return "".join(json.dumps(one.row, ensure_ascii=False) + "\n" for one in made).encode()


def planted_file(made: list[Made]) -> bytes:
    """The planted faults with what has to become of them.

    `expect` holds one of: dropped (curation's reason), changed (kind of normalisation), masked (kind of
    personal data), rejected (ingestion's reason), kept (why a record beside a fault must stay).
    """
    faults = [
        {"record_key": one.row["id"], "fault": one.fault, "expect": one.expect} for one in made if one.fault
    ]
    lines = ",\n".join("  " + json.dumps(fault, ensure_ascii=False) for fault in faults)
    return f"[\n{lines}\n]\n".encode()


FILES: dict[str, Callable[[list[Made]], bytes]] = {
    "records.jsonl": records_file,
    "planted.json": planted_file,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a file is not up to date"
    )
    check = parser.parse_args().check
    made = records()
    stale = [name for name, build in FILES.items() if not check or (HERE / name).read_bytes() != build(made)]
    for name in stale:
        if check:
            print(f"{name} is not what make_records.py makes: run it and commit the result")
        else:
            (HERE / name).write_bytes(FILES[name](made))
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
