"""What an owner of devices asks at the command line: publish, rings, promote, recall, fleet."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sartor_edge.channel import publish
from sartor_edge.fleet import Judgement, Report, judge, members, parse_rule, read_reports, unheard
from sartor_edge.outcome import Outcome
from sartor_edge.overview import as_json, as_text, rings_text
from sartor_edge.rings import BadRings, Ring, Rings
from sartor_edge.staging import Move, Staging, has_rings


def publish_bundle(given: argparse.Namespace) -> Outcome:
    """Into a channel with rings for its first ring, into one without for everybody."""
    if has_rings(given.channel):
        move = Staging(given.channel, given.private, given.public).publish(given.bundle, given.ring)
        return Outcome("PUBLISHED", move.revision, f"ring {move.ring}")
    if given.ring:
        raise BadRings(f"{given.channel} has no rings; make them with `python -m sartor_edge rings --set …`")
    head = publish(given.bundle, given.channel, given.private, given.public)
    return Outcome("PUBLISHED", head.revision, f"sequence {head.sequence}")


def rings(given: argparse.Namespace) -> int:
    """Show the rings, or set their shares."""
    staging = Staging(given.channel, given.private or Path(), given.public)
    if not given.set:
        _line(rings_text(staging.read()))
        return 0
    if given.private is None:
        raise BadRings("rings are signed: name the key with --private")
    _line(rings_text(staging.set_shares(dict(_share(each) for each in given.set))))
    return 0


def recall(given: argparse.Namespace) -> int:
    """Take a bundle from all that have it."""
    moves = Staging(given.channel, given.private, given.public).recall(given.revision)
    _tell_recalled(given.revision, moves)
    return 0


def promote(given: argparse.Namespace) -> int:
    """Each ring's bundle to the next ring, where the rule allows it: 0 well, 1 stopped, 2 it waits.

    From the last rings to the first, so that one call takes no bundle over two rings.
    """
    if given.when is None and not given.ring:
        raise BadRings("say which ring's bundle is to go on (--ring), or when (--when devices=3 healthy=1h)")
    if given.when is not None and given.reports is None:
        raise BadRings("--when looks at what devices reported: name their folder with --reports")
    staging, now = Staging(given.channel, given.private, given.public), time.time()
    now_rings, worst = staging.read(), 0
    if given.ring:
        now_rings.ring(given.ring)
    rule = None if given.when is None else parse_rule(given.when)
    reports = [] if rule is None else _reports(given)[0]
    waiting = [each for each in reversed(_waiting(now_rings)) if given.ring in ("", each.name)]
    for ring in waiting:
        assert ring.head is not None
        to = now_rings.after(ring.name)
        assert to is not None
        way = f"{ring.name} → {to.name}"
        found = Judgement("PASSED", "by hand")
        if rule is not None:
            found = judge(members(reports, now_rings, ring), ring, rule, now)
        if found.word == "PASSED":
            staging.promote(ring.name, ring.head, f"from {ring.name}: {found.numbers}")
            _line(f"PROMOTED {ring.head.revision} {way}: {found.numbers}")
            continue
        _line(f"{found.word} {ring.head.revision} {way}: {found.numbers}")
        worst = 1 if found.word == "STOPPED" or worst == 1 else 2
        if found.word == "STOPPED" and given.or_recall:
            _tell_recalled(ring.head.revision, staging.recall(ring.head.revision, found.numbers))
    if not waiting:
        _line("CURRENT nothing waits to be promoted")
    return worst


def fleet(given: argparse.Namespace) -> int:
    """What devices reported, ring by ring."""
    if not given.channel.is_dir():
        raise BadRings(f"{given.channel} is no channel: name the folder that `publish` writes")
    found = Staging(given.channel, Path(), given.public).read_or_first()
    reports, faults, missing = _reports(given)
    show = as_json if given.json else as_text
    _line(show(found, reports, faults, missing, time.time(), given.silent_seconds))
    return 0


def _reports(given: argparse.Namespace) -> tuple[list[Report], list[str], list[str]]:
    if not given.reports.is_dir():
        raise BadRings(f"{given.reports} is no folder of reports")
    reports, faults = read_reports(given.reports)
    if given.devices is None:
        return reports, faults, []
    lines = given.devices.read_text(encoding="utf-8").splitlines()
    words = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    expected = {each[0]: each[1].strip() if len(each) > 1 else "" for each in words}
    strangers = [each.device for each in reports if each.device not in expected]
    faults += [f"{each}: not in {given.devices}" for each in strangers]
    known = [replace(each, name=expected[each.device]) for each in reports if each.device in expected]
    missing = [f"{each} {expected[each]}".strip() for each in unheard(known, expected)]
    return known, faults, missing


def _waiting(found: Rings) -> list[Ring]:
    """The rings whose bundle the next one has not."""
    pairs = zip(found.rings, found.rings[1:], strict=False)
    return [ring for ring, to in pairs if ring.head is not None and ring.head != to.head]


def _share(word: str) -> tuple[str, float]:
    name, _, share = word.partition("=")
    try:
        if not name or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError
        return name, float(share.removesuffix("%"))
    except ValueError:
        raise BadRings(f"{word!r} is no share; write canary=5 early=25 (percent of all devices)") from None


def _tell_recalled(revision: str, moves: Sequence[Move]) -> None:
    for move in moves:
        back = move.revision or "nothing new: it had nothing before, so its devices keep what they have"
        _line(f"RECALLED {revision} from {move.ring}, which gives {back}")
    if not moves:
        _line(f"CURRENT {revision} was called back already")


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
