"""A small curated folder, as a job's child finds it staged: answers and labels in two languages, three
splits.
"""

from datetime import UTC, datetime
from pathlib import Path

from sartor_datasets.arrow import CuratedRecord
from sartor_datasets.curated import CuratedWriter
from sartor_datasets.records import Message, Record

_WORDS = ("password", "order", "invoice", "account", "delivery", "settings")
_TEAMS = ("billing", "shipping", "account")


def write_curated(folder: Path, *, train: int = 16, validation: int = 6, test: int = 10) -> Path:
    """Write `folder`/{split}.parquet; of three records two are questions, the third a labelled ticket."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    with CuratedWriter(folder) as writer:
        for split, count in (("train", train), ("validation", validation), ("test", test)):
            for _ in range(count):
                writer.write(_record(number, split))
                number += 1
    return folder


def _record(number: int, split: str) -> CuratedRecord:
    word, language = _WORDS[number % len(_WORDS)], ("en", "de")[number % 2]
    text, label = "", ""
    if number % 3 == 2:
        text = f"Ticket {number}: trouble with my {word}"
        label = _TEAMS[(number // 3) % 3]
        messages = (Message("user", f"Which team? {text}"), Message("assistant", label))
    elif language == "en":
        messages = (
            Message("user", f"How do I change my {word} {number}?"),
            Message("assistant", f"Open the settings page and choose {word}."),
        )
    else:
        messages = (
            Message("user", f"Wie ändere ich {word} {number}?"),
            Message("assistant", f"Öffnen Sie die Einstellungen und wählen Sie {word}."),
        )
    record = Record(
        record_id=f"{number:064x}",
        record_key=str(number),
        kind="labelled" if label else "chat",
        messages=messages,
        text=text,
        label=label,
        attributes={"intent": word},
        source="projects/p/sources/s",
        position=f"import:x#{number}",
        event_time=datetime(2026, 11, 1, tzinfo=UTC),
    )
    return CuratedRecord(record, split, f"cluster-{number}", language, 20)
