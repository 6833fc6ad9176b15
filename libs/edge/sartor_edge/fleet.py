"""What devices reported, read by their owner, and whether a ring's bundle may go further."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_edge.channel import Head
from sartor_edge.report import FORMAT, TRYING
from sartor_edge.rings import BadRings, Ring, Rings
from sartor_edge.signing import WrongSignature, unseal

_MOST_BYTES = 2**20
_LOST_SECONDS = 3600.0
"""A device that said that it tries a bundle and then nothing for so long did not survive it."""
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Standing(enum.Enum):
    """Where a device is with what its ring gives."""

    UPDATED = "updated"
    PENDING = "pending"
    WENT_BACK = "went back"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Report:
    """What a device last said of itself (report.py), and when it was heard, by the owner's clock.

    `name`: what the owner's list calls it.
    """

    device: str
    asked: str
    edition: int
    runs: Head | None
    serving_seconds: float
    taken: str
    failed: dict[str, str]
    word: str
    reason: str
    message: str
    trying: str
    check: dict[str, Any] | None
    unhealthy: str
    heard: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a bundle may go to the next ring. `share`: percent of the ring's devices that were heard of."""

    devices: int = 1
    share: float = 0.0
    healthy: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """PASSED, WAITING or STOPPED, and the numbers."""

    word: str
    numbers: str


def parse_rule(words: Iterable[str]) -> Rule:
    """From `devices=3 share=90% healthy=1h failures=0`.

    Raises:
        BadRings: with what can be said.
    """
    found: dict[str, float] = {}
    for word in words:
        match = re.fullmatch(r"(devices|share|healthy|failures)=(\d+(?:\.\d+)?)([%smhd]?)", word)
        if match is None or (match[3] != "" and (match[1], match[3]) not in _FITTING):
            raise BadRings(
                f"{word!r} is no rule; write devices=3 share=90% healthy=1h failures=0 (s, m, h, d)"
            )
        found[match[1]] = float(match[2]) * _UNITS.get(match[3], 1.0)
    return Rule(
        int(found.get("devices", 1)), found.get("share", 0.0), found.get("healthy", 0.0),
        int(found.get("failures", 0)),
    )  # fmt: skip


_FITTING = {("share", "%"), *(("healthy", unit) for unit in "smhd")}


def read_reports(folder: Path) -> tuple[list[Report], list[str]]:
    """All reports in a folder, and what is wrong with those that cannot be trusted."""
    reports, faults = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            reports.append(_read(path))
        except (OSError, WrongSignature) as error:
            faults.append(f"{path.name}: {error}")
    return reports, faults


def standing(report: Report, ring: Ring, now: float, silent_seconds: float = math.inf) -> Standing:
    """Where a device is with its ring's bundle.

    Who was not heard of since the ring has it, or for `silent_seconds`, is silent; who went back is not.
    """
    head = ring.head
    if head is None:
        return Standing.SILENT if now - report.heard > silent_seconds else Standing.UPDATED
    runs_it = report.runs is not None and report.runs.manifest_sha256 == head.manifest_sha256
    if not runs_it:
        lost = report.word == TRYING and report.trying == head.manifest_sha256
        if head.manifest_sha256 in (*report.failed, report.taken) or (
            lost and now - report.heard > _LOST_SECONDS
        ):
            return Standing.WENT_BACK
    if now - report.heard > silent_seconds or (not runs_it and report.heard < ring.since):
        return Standing.SILENT
    return Standing.UPDATED if runs_it else Standing.PENDING


def healthy_seconds(report: Report, ring: Ring, now: float) -> float:
    """For how long a device was seen to serve its ring's bundle well; never longer than the ring has it.

    Clocks of devices jump, so only differences of theirs count.
    """
    if report.unhealthy or standing(report, ring, now) is not Standing.UPDATED:
        return -1.0
    return min(report.serving_seconds, now - ring.since)


def members(reports: Sequence[Report], rings: Rings, ring: Ring) -> list[Report]:
    """The devices of a ring. Who asks for a ring that is not there is in none."""
    if not rings.edition:  # a channel without rings, whatever its devices ask for
        return list(reports)
    names = {"", *(each.name for each in rings.rings)}
    asking = [each for each in reports if each.asked in names]
    return [each for each in asking if rings.of(each.device, each.asked).name == ring.name]


def judge(devices: Sequence[Report], ring: Ring, rule: Rule, now: float) -> Judgement:
    """Whether what a ring has may go on. Who was away since before the ring got it does not count."""
    standings = [standing(each, ring, now) for each in devices]
    heard = sum(each is not Standing.SILENT for each in standings)
    healthy = sum(healthy_seconds(each, ring, now) >= rule.healthy for each in devices)
    bad = sum(
        each is Standing.WENT_BACK or bool(report.unhealthy and each is Standing.UPDATED)
        for report, each in zip(devices, standings, strict=True)
    )
    share = 100.0 * healthy / heard if heard else 0.0
    numbers = (
        f"{healthy} of {heard} devices heard of were healthy for {rule.healthy:g} s or more"
        f" ({rule.devices} needed), {share:.0f} % ({rule.share:g} % needed),"
        f" {bad} went back or are unwell (at most {rule.failures}), {len(devices) - heard} are away"
    )
    if bad > rule.failures:
        return Judgement("STOPPED", numbers)
    passed = healthy >= rule.devices and healthy > 0 and share >= rule.share
    return Judgement("PASSED" if passed else "WAITING", numbers)


def unheard(reports: Sequence[Report], expected: Collection[str]) -> list[str]:
    """Devices that should report and never did."""
    return sorted(set(expected) - {each.device for each in reports})


def _read(path: Path) -> Report:
    if path.stat().st_size > _MOST_BYTES:
        raise WrongSignature(f"it has more than {_MOST_BYTES} bytes")
    value, device = unseal(path.read_bytes(), "the report")
    try:
        if value["kind"] != "report" or value["format"] != FORMAT or {value["device"], path.stem} != {device}:
            raise WrongSignature("it is no report of the device after which it is named")
        runs = value["runs"]
        return Report(
            device, str(value["ring"]), int(value["edition"]),
            Head(**runs) if runs else None,
            float(value["sent"]) - float(value["since"]),
            str(value["taken"]), {str(sha): str(why) for sha, why in value["failed"].items()},
            str(value["word"]), str(value["reason"]), str(value["message"]), str(value["trying"]),
            value["check"], str(value["unhealthy"]), path.stat().st_mtime,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongSignature(f"it cannot be read: {error!r}") from error
