"""Which revision a device's feedback is about, and whether text goes along: part of the signed bundle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

RULE = "feedback.json"
_SERVED = "serving.json"


class Text(StrEnum):
    """When question and answer go along with feedback."""

    NEVER = "never"
    CORRECTIONS = "corrections"
    """Only where somebody says what the answer should have been."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class FeedbackRule:
    """`revision`: its full name at the gateway, "" where the bundle does not say."""

    revision: str = ""
    text: Text = Text.NEVER

    def write(self, path: Path) -> None:
        """Into a bundle, or where a device remembers what it serves."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def remember_served(home: Path, bundle: Path) -> None:
    """Before an engine starts: an update may change `current` long before it is started again."""
    part = home / f".{_SERVED}.part"
    _read(bundle / RULE).write(part)
    part.replace(home / _SERVED)


def rule_of(home: Path) -> FeedbackRule:
    """Of what the device serves, or else of what it would serve now."""
    served = home / _SERVED
    return _read(served if served.exists() else home / "current" / RULE)


def _read(path: Path) -> FeedbackRule:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return FeedbackRule(str(value["revision"]), Text(value["text"]))
    except (OSError, ValueError, LookupError, TypeError):
        return FeedbackRule()  # a bundle of before there were rules: feedback goes with its id alone
