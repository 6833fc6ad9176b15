"""What drift looks at: one sampled request, masked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """A request and its answer."""

    question: str
    answer: str = ""


def question_text(question: Any) -> str:
    """What the user said last, of the messages that the gateway kept."""
    messages = question if isinstance(question, list) else []
    said = [each for each in messages if isinstance(each, Mapping) and each.get("role") == "user"]
    content = said[-1].get("content", "") if said else ""
    if isinstance(content, list):  # parts, of which only text is looked at
        parts = [each.get("text", "") for each in content if isinstance(each, Mapping)]
        return " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def write_samples(path: Path, samples: Iterable[Sample]) -> Path:
    """As JSON lines, for the job's child."""
    with path.open("w", encoding="utf-8") as file:
        for each in samples:
            file.write(json.dumps([each.question, each.answer], ensure_ascii=False) + "\n")
    return path


def read_samples(path: Path) -> list[Sample]:
    """What `write_samples` wrote."""
    with path.open(encoding="utf-8") as lines:  # splitlines() also splits at U+2028, which texts have
        return [Sample(*json.loads(line)) for line in lines]
