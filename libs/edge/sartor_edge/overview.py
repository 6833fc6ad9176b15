"""The fleet as text: a line a ring, then each device that needs somebody's eye; or the same as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sartor_edge.fleet import Report, Standing, healthy_seconds, members, standing
from sartor_edge.rings import Ring, Rings

_HEADS = ("RING", "SHARE", "REVISION", "SINCE", "DEVICES", *(each.value.upper() for each in Standing))


def as_text(
    rings: Rings,
    reports: Sequence[Report],
    faults: Sequence[str],
    unheard: Sequence[str],
    now: float,
    silent_seconds: float,
) -> str:
    """The whole, for a person."""
    rows: list[Sequence[str]] = [_HEADS]
    details: list[Sequence[str]] = [("DEVICE", "RING", "RUNS", "STATE", "HEARD", "WHY")]
    placed: set[str] = set()
    for ring in rings.rings:
        devices = members(reports, rings, ring)
        placed.update(each.device for each in devices)
        count = Counter(standing(each, ring, now, silent_seconds) for each in devices)
        numbers = (str(len(devices)), *(str(count[each]) for each in Standing))
        rows.append((ring.name, f"{ring.share:g} %", _revision(ring), _when(ring.since), *numbers))
        details += [
            (_named(each), ring.name, _runs(each), state.value, _when(each.heard), _why(each, state))
            for each in devices
            if (state := standing(each, ring, now, silent_seconds)) is not Standing.UPDATED or each.unhealthy
        ]
    details += [
        (_named(each), f"{each.asked}?", _runs(each), "no such ring", _when(each.heard), each.message)
        for each in reports
        if each.device not in placed
    ]
    details += [(each, "", "", "never heard of", "", "") for each in unheard]
    parts = [_table(rows), *(["", _table(details)] if len(details) > 1 else [])]
    parts += [f"not counted: {each}" for each in faults]
    return "\n".join(parts)


def as_json(
    rings: Rings,
    reports: Sequence[Report],
    faults: Sequence[str],
    unheard: Sequence[str],
    now: float,
    silent_seconds: float,
) -> str:
    """The whole, for programs."""
    value: dict[str, Any] = {"edition": rings.edition, "rings": [], "not_counted": faults, "unheard": unheard}
    for ring in rings.rings:
        devices = [
            {
                **asdict(each),
                "standing": standing(each, ring, now, silent_seconds).name,
                "healthy_seconds": max(healthy_seconds(each, ring, now), 0.0),
            }
            for each in members(reports, rings, ring)
        ]
        value["rings"].append(
            {
                "name": ring.name,
                "share": ring.share,
                "revision": ring.head.revision if ring.head else "",
                "since": ring.since,
                "why": ring.why,
                **{each.name.lower(): 0 for each in Standing},
                **Counter(str(each["standing"]).lower() for each in devices),
                "devices": devices,
            }
        )
    return json.dumps(value, indent=2, ensure_ascii=False)


def rings_text(rings: Rings) -> str:
    """The rings alone."""
    rows = [("RING", "SHARE", "REVISION", "SINCE", "WHY")]
    rows += [
        (each.name, f"{each.share:g} %", _revision(each), _when(each.since), each.why) for each in rings.rings
    ]
    return _table(rows)


def _named(report: Report) -> str:
    return f"{report.device} {report.name}".strip()


def _why(report: Report, state: Standing) -> str:
    if report.unhealthy:
        return report.unhealthy
    if state is Standing.WENT_BACK and report.failed and report.word in ("CURRENT", "UPDATED"):
        return list(report.failed.values())[-1]
    return f"{report.reason}: {report.message}" if report.reason else report.word


def _runs(report: Report) -> str:
    return report.runs.revision if report.runs else "-"


def _revision(ring: Ring) -> str:
    return ring.head.revision if ring.head else "-"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if seconds else "-"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
