"""Who is in which ring, who may move a bundle, and when it may go further."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sartor_edge.bundle import BadBundle
from sartor_edge.channel import CHANNEL, Head, point, read_head
from sartor_edge.download import Downloads, NoNetwork
from sartor_edge.fleet import Report, Rule, Standing, judge, parse_rule, read_reports, standing
from sartor_edge.identity import device_id, device_key
from sartor_edge.outcome import Facts, Outcome
from sartor_edge.report import Journal, send
from sartor_edge.rings import RINGS, BadRings, Ring, Rings, offered, read_rings
from sartor_edge.signing import WrongSignature, make_key, seal
from sartor_edge.staging import Staging

OLD, NEW = Head("r1", 1, "1" * 64), Head("r2", 2, "2" * 64)
NOW = 1_000_000.0
RING = Ring("canary", 5.0, NEW, NOW - 1000)
REPORT = Report(
    "d", "", 1, NEW, 500.0, NEW.manifest_sha256, {}, "CURRENT", "", "", "", None, "", NOW - 10
)  # fmt: skip


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private and a public key."""
    make_key(tmp_path / "private.pem", tmp_path / "public.pem")
    return tmp_path / "private.pem", tmp_path / "public.pem"


@pytest.fixture
def staging(tmp_path: Path, keys: tuple[Path, Path]) -> Staging:
    """A channel with two rings before the last, all at the old bundle."""
    made = Staging(tmp_path / "www", *keys)
    (tmp_path / "www").mkdir()
    point(tmp_path / "www", OLD, keys[0])
    made.set_shares({"canary": 5.0, "early": 25.0})
    return made


def give(staging: Staging, tmp_path: Path, keys: tuple[Path, Path], head: Head) -> None:
    """Let the first ring have a bundle, as `publish` does."""
    rings = staging.read()
    given = rings.rings[0].given(head, time.time(), "published")
    made = replace(rings, rings=(given, *rings.rings[1:]), edition=rings.edition + 1, highest=head.sequence)
    (tmp_path / "www" / RINGS).write_bytes(made.sealed(keys[0]))


def heads(staging: Staging) -> list[str]:
    """What each ring gives."""
    return [each.head.revision if each.head else "" for each in staging.read().rings]


def test_a_share_of_devices_is_that_share_and_a_larger_one_keeps_all_who_are_in() -> None:
    """Of ten thousand devices; a place comes from the id alone."""
    ids = [f"{number:016x}" for number in range(10_000)]
    small = Rings(1, (Ring("canary", 5.0), Ring("early", 25.0), Ring("all", 100.0)))
    large = Rings(1, (Ring("canary", 10.0), Ring("early", 25.0), Ring("all", 100.0)))
    first = {each for each in ids if small.of(each).name == "canary"}
    assert 400 <= len(first) <= 600
    assert 1_800 <= sum(small.of(each).name == "early" for each in ids) <= 2_200
    assert first < {each for each in ids if large.of(each).name == "canary"}
    assert small.of(ids[0], "early").name == "early"
    with pytest.raises(BadRings, match="it has canary, early, all"):
        small.of(ids[0], "canery")


@pytest.mark.parametrize("shares", [{"canary": 30.0, "early": 5.0}, {"all": 5.0}, {"canary": 130.0}])
def test_rings_that_cannot_be_are_refused(staging: Staging, shares: dict[str, float]) -> None:
    """Shares fall, the last ring is named, or there would be more than all."""
    before = staging.read()
    with pytest.raises(BadRings):
        staging.set_shares(shares)
    assert staging.read() == before


def test_a_bundle_goes_from_ring_to_ring_and_back(
    staging: Staging, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    """Each step once, each a higher edition; what old updaters read follows the last ring."""
    www = tmp_path / "www"

    def newest() -> Head:
        return read_head((www / CHANNEL).read_bytes(), (www / "channel.sig").read_bytes(), keys[1])

    give(staging, tmp_path, keys, NEW)
    assert heads(staging) == ["r2", "r1", "r1"]
    edition = staging.read().edition
    assert staging.promote("canary", NEW, "")
    assert staging.promote("canary", NEW, "") is None
    assert staging.read().edition == edition + 1
    assert newest() == OLD
    assert staging.promote("early", NEW, "")
    assert newest() == NEW
    assert [each.ring for each in staging.recall("r2")] == ["canary", "early", "all"]
    assert heads(staging) == ["r1", "r1", "r1"]
    assert newest() == OLD
    assert staging.recall("r2") == []
    with pytest.raises(BadRings, match="they gave r1, r2"):
        staging.recall("r3")
    with pytest.raises(BadRings, match="another bundle meanwhile"):
        staging.promote("canary", NEW, "")
    staging.recall("r1")  # there was nothing before
    assert heads(staging) == ["", "", ""]
    assert not (www / CHANNEL).exists()


def test_rings_are_signed_and_none_below_what_was_seen_is_followed(
    staging: Staging, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    """A foreign key, a changed file, an older edition, no rings where there were some."""
    folder = tmp_path / "served"
    folder.mkdir()
    channel = Downloads(f"file://{folder}", 1.0)
    data = (tmp_path / "www" / RINGS).read_bytes()
    (folder / RINGS).write_bytes(data)
    found = offered(channel, keys[1], lambda: "d", "early", 1)
    assert (found.head, found.ring, found.edition) == (OLD, "early", 1)
    with pytest.raises(NoNetwork, match="edition 1; 2 was seen"):
        offered(channel, keys[1], lambda: "d", "early", 2)
    (folder / RINGS).unlink()
    with pytest.raises(NoNetwork):
        offered(channel, keys[1], lambda: "d", "early", 1)
    make_key(tmp_path / "foreign.pem", tmp_path / "foreign.pub")
    with pytest.raises(WrongSignature, match="not signed by"):
        read_rings(data, tmp_path / "foreign.pub")
    with pytest.raises(WrongSignature):
        read_rings(data.replace(b"early", b"later"), keys[1])
    with pytest.raises(BadBundle, match="cannot be read"):
        read_rings(seal(keys[0], {"kind": "rings", "format": 1}), keys[1])


def test_nobody_reports_for_another_device(tmp_path: Path) -> None:
    """The id is the fingerprint of the key that signs; another file name or text is not counted."""
    homes, reports = (tmp_path / "a", tmp_path / "b"), tmp_path / "reports"
    for home in homes:
        value = Journal(home).report(Facts("", 1, "", {}, OLD, time.time()))
        assert send(home, str(reports), value) == ""
    one, other = sorted(reports.iterdir())
    assert [each.device for each in read_reports(reports)[0]] == [one.stem, other.stem]
    assert {one.stem, other.stem} == {device_id(each) for each in homes}
    other.write_bytes(one.read_bytes())
    (reports / "x.json").write_text("[" * 100_000)
    forged = json.loads(one.read_text())
    forged["signed"] = forged["signed"].replace("r1", "r9")
    one.write_text(json.dumps(forged))
    found, faults = read_reports(reports)
    assert found == []
    assert len(faults) == 3


def test_a_report_is_sent_though_nothing_can_be_written(tmp_path: Path) -> None:
    """As on a full disk: the key is there already, the event is told from memory."""
    device_key(tmp_path / "home")
    (tmp_path / "home" / ".journal.part").mkdir()
    journal = Journal(tmp_path / "home")
    journal.note(Outcome("WAITING", "", "the disk was full", "NO_SPACE"))
    value = journal.report(Facts("", 1, "", {}, OLD, time.time()))
    assert send(tmp_path / "home", str(tmp_path / "reports"), value) == ""
    (report,), _ = read_reports(tmp_path / "reports")
    assert (report.reason, report.message) == ("NO_SPACE", "the disk was full")


@pytest.mark.parametrize(
    ("report", "state"),
    [
        (REPORT, Standing.UPDATED),
        (replace(REPORT, runs=OLD, taken=OLD.manifest_sha256), Standing.PENDING),
        (replace(REPORT, runs=OLD), Standing.WENT_BACK),  # took it and runs another: somebody went back
        (replace(REPORT, runs=OLD, taken="", failed={NEW.manifest_sha256: "why"}), Standing.WENT_BACK),
        (replace(REPORT, runs=OLD, taken="", heard=NOW - 2000), Standing.SILENT),
        (replace(REPORT, heard=NOW - 2000), Standing.UPDATED),  # it may be silent now, it had it
        (replace(REPORT, runs=OLD, taken="", word="TRYING", trying=NEW.manifest_sha256), Standing.PENDING),
        (
            replace(REPORT, runs=OLD, taken="", word="TRYING", trying=NEW.manifest_sha256, heard=NOW - 4000),
            Standing.WENT_BACK,  # it was never heard of again
        ),
    ],
)
def test_where_a_device_is_with_its_rings_bundle(report: Report, state: Standing) -> None:
    """From its last word and when it came."""
    ring = replace(RING, since=NOW - 5000) if report.heard < NOW - 3000 else RING
    assert standing(report, ring, NOW) is state


def test_a_bundle_goes_on_only_where_enough_are_well_for_long_enough() -> None:
    """Who was away before the ring got it does not count; whose clock jumped is not old for that."""
    away = replace(REPORT, runs=OLD, taken="", heard=NOW - 2000)
    pending = replace(REPORT, runs=OLD, taken="")
    back = replace(pending, failed={NEW.manifest_sha256: "why"})
    assert judge([REPORT, away], RING, Rule(1, 100.0, 500.0), NOW).word == "PASSED"
    assert judge([REPORT, away], RING, Rule(1, 100.0, 501.0), NOW).word == "WAITING"
    assert judge([REPORT, away], RING, Rule(2), NOW).word == "WAITING"
    assert judge([REPORT, pending], RING, Rule(1, 51.0), NOW).word == "WAITING"
    found = judge([REPORT, pending, back, away], RING, Rule(1), NOW)
    assert found.word == "STOPPED"
    assert "1 of 3 devices" in found.numbers
    assert "1 went back or are unwell (at most 0), 1 are away" in found.numbers
    assert judge([REPORT, back], RING, Rule(1, failures=1), NOW).word == "PASSED"
    assert judge([replace(REPORT, unhealthy="no answer")], RING, Rule(1), NOW).word == "STOPPED"
    jumped = replace(REPORT, serving_seconds=NOW)
    assert judge([jumped], RING, Rule(1, healthy=1001.0), NOW).word == "WAITING"
    assert judge([], RING, Rule(0), NOW).word == "WAITING"


def test_rules_are_read_with_their_units_and_refused_with_what_may_be_said() -> None:
    """A typing error never becomes a laxer rule."""
    assert parse_rule(["devices=3", "share=90%", "healthy=1.5h", "failures=1"]) == Rule(3, 90.0, 5400.0, 1)
    assert parse_rule([]) == Rule()
    for word in ("device=3", "devices=3h", "healthy=90%", "share", "failures=-1", "healthy=1w"):
        with pytest.raises(BadRings, match="healthy=1h"):
            parse_rule([word])


def test_an_id_lives_as_long_as_the_devices_folder(tmp_path: Path) -> None:
    """And its key is for nobody else's eyes."""
    assert device_id(tmp_path) == device_id(tmp_path)
    assert os.stat(device_key(tmp_path)).st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["device.pem"]
