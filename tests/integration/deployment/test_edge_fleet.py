"""Devices in rings: a bad bundle never leaves the first ring, a good one reaches all, each says how it is.

Folders with the real updater; in place of llama.cpp a stand-in named llama-server, that starts at once.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sartor_edge.__main__ import main
from sartor_edge.bundle import BundleSettings, Probe, make_bundle
from sartor_edge.signing import make_key

NOWHERE = "http://127.0.0.1:9"
ENGINE = """#!{python} -SE
import http.server, json, os, sys
value = dict(zip(sys.argv[1::1], sys.argv[2::1]))
told = json.loads(open(value["--model"], "rb").read().split(b"\\n", 1)[1])
answer = "garbled" if told["garbled_on"] in os.getcwd() else told["answer"]
class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.say(b"{{}}")
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.say(json.dumps({{"choices": [{{"message": {{"content": answer}}}}]}}).encode())
    def say(self, data):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(value["--port"])), Engine).serve_forever()
"""


class Web(http.server.SimpleHTTPRequestHandler):
    """A web server that also takes PUT below /reports, where the owner's key is shown."""

    fetched: list[str]

    def do_GET(self) -> None:
        type(self).fetched.append(self.path)
        super().do_GET()

    def do_PUT(self) -> None:
        allowed = self.headers.get("Authorization") == "Bearer fleet"
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if allowed:
            Path(self.translate_path(self.path)).write_bytes(data)
        self.send_response(201 if allowed else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


class Fleet:
    """Twelve devices, their owner's keys and channel, and the commands of both."""

    def __init__(self, folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.url, self._capsys = folder, url, capsys
        self.channel, self.reports = folder / "www", folder / "www" / "reports"
        self.reports.mkdir(parents=True)
        self.private, self.public = folder / "private.pem", folder / "public.pem"
        make_key(self.private, self.public)
        self.homes = [folder / f"device-{number:02}" for number in range(12)]
        self.rings = ["canary"] * 3 + ["early"] * 4 + [""] * 5
        self.offline: set[int] = set()

    def run(self, command: str, *arguments: object) -> tuple[int, str]:
        """Status and what was said, on either stream."""
        status = main([command, *(str(each) for each in arguments), "--public", str(self.public)])
        said = self._capsys.readouterr()
        return status, (said.out + said.err).strip()

    def own(self, command: str, *arguments: object) -> tuple[int, str]:
        """A command of the owner that is signed."""
        return self.run(command, "--channel", self.channel, "--private", self.private, *arguments)

    def gate(self, *rule: str) -> tuple[int, str]:
        """What a timer calls."""
        return self.own("promote", "--reports", self.reports, "--when", *rule)

    def update(self, *numbers: int) -> dict[int, str]:
        """Devices look for what is new, all if none is named, and what each said first."""
        said = {}
        for number in numbers or range(len(self.homes)):
            url = NOWHERE if number in self.offline else self.url
            ring = ["--ring", self.rings[number]] if self.rings[number] else []
            reports = ["--reports", f"{url}/reports", "--authorization", "Bearer fleet"]
            text = self.run("update", "--home", self.homes[number], "--channel-url", url, *reports, *ring)[1]
            said[number] = text
        return said

    def publish(self, sequence: int, *arguments: str, garbled_on: str = "nowhere", revision: str = "") -> str:
        """A bundle that answers wrongly on some devices; what publishing it said."""
        template = b"{{ messages }}"
        head = b"GGUF tokenizer.chat_template" + struct.pack("<IQ", 8, len(template)) + template + b"\n"
        weights = self.folder / f"weights-{sequence}.gguf"
        weights.write_bytes(head + json.dumps({"answer": "42", "garbled_on": garbled_on}).encode())
        settings = BundleSettings(revision or f"r{sequence}", f"v{sequence}", sequence, "support")
        bundle = self.folder / f"bundle-{sequence}"
        make_bundle(bundle, weights, settings, [Probe("What?", "42")], self.private)
        return self.own("publish", "--bundle", bundle, *arguments)[1]

    def served(self) -> list[str]:
        """What each device serves."""
        links = (home / "current" for home in self.homes)
        return [link.resolve().name if link.exists() else "" for link in links]

    def counted(self) -> dict[str, tuple[int, ...]]:
        """Each ring's updated, pending, went back and silent."""
        status, said = self.run("fleet", "--channel", self.channel, "--reports", self.reports, "--json")
        assert status == 0
        names = ("updated", "pending", "went_back", "silent")
        return {each["name"]: tuple(each[name] for name in names) for each in json.loads(said)["rings"]}

    def seen(self) -> str:
        """The overview for people."""
        return self.run("fleet", "--channel", self.channel, "--reports", self.reports)[1]


@pytest.fixture
def fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Fleet]:
    """Devices with an engine, and a web server for their channel and reports."""
    engine = tmp_path / "bin" / "llama-server"
    engine.parent.mkdir()
    engine.write_text(ENGINE.format(python=sys.executable))
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:{os.environ['PATH']}")
    (tmp_path / "www").mkdir()
    Web.fetched = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Web, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Fleet(tmp_path, f"http://127.0.0.1:{server.server_address[1]}", capsys)
    server.shutdown()
    server.server_close()


@pytest.fixture
def fill(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Fills and empties the disk of device 6: a real small one, where this user may mount it."""
    home = fleet.homes[6]
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m,mode=755", "tmpfs", str(home)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0

    def change(full: bool) -> None:
        if not mounted:
            free = 1_000_000 if full else 10**9
            monkeypatch.setattr("shutil.disk_usage", lambda path: os_usage(Path(path), home, free))
        elif not full:
            (home / "films").unlink()
        else:
            with contextlib.suppress(OSError), (home / "films").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**16))

    yield change
    if mounted:
        subprocess.run(["umount", str(home)], check=True)


def os_usage(path: Path, home: Path, free: int) -> object:
    """What `shutil.disk_usage` says of a disk whose room is given."""
    room = free if home in (path, *path.parents) else 10**12
    return type("Usage", (), {"free": room})


def test_a_bad_bundle_never_leaves_the_first_ring_and_a_good_one_reaches_all(
    fleet: Fleet, fill: Callable[[bool], None]
) -> None:
    """Some devices are away for a while, one has a full disk, on one the bad bundle answers wrongly."""
    assert fleet.publish(1) == "PUBLISHED r1 sequence 1"
    fleet.update()
    assert fleet.served() == ["r1"] * 12
    assert fleet.counted() == {"all": (12, 0, 0, 0)}  # a channel without rings is one ring
    assert fleet.own("rings", "--set", "canary=0", "early=0")[0] == 0

    fleet.offline = {2, 4}
    assert fleet.publish(2, garbled_on="device-01") == "PUBLISHED r2 ring canary"
    said = fleet.update()
    assert said[0].startswith("UPDATED r2")
    assert said[1].startswith("WENT_BACK r2 it answered 0 of 1 known prompts")
    assert "cannot be fetched" in said[2]
    assert said[3] == "CURRENT r1 what ring early has was taken already"
    for _ in range(2):  # a timer asks again and again
        status, told = fleet.gate("devices=1")
        assert status == 1
        assert told.startswith("STOPPED r2 canary → early: 1 of 2 devices heard of were healthy")
        assert "1 went back" in told
    assert fleet.counted()["canary"] == (1, 0, 1, 1)
    assert "known prompts" in fleet.seen()
    assert fleet.gate("devices=1", "--or-recall")[1].endswith("RECALLED r2 from canary, which gives r1")
    assert fleet.gate("devices=1") == (0, "CURRENT nothing waits to be promoted")
    Web.fetched.clear()
    assert fleet.update(0)[0].startswith("UPDATED r1")
    assert fleet.run("back", "--home", fleet.homes[0])[0] == 1  # what was called back is not gone back to
    assert not any("weights" in each for each in Web.fetched)  # it was still there
    assert fleet.served() == ["r1"] * 12
    assert fleet.own("publish", "--bundle", fleet.folder / "bundle-2")[0] == 1

    fill(True)
    assert fleet.publish(3) == "PUBLISHED r3 ring canary"
    fleet.update(0)
    fleet.update(3)
    assert fleet.gate("devices=2")[0] == 2
    fleet.update(1)
    status, told = fleet.gate("devices=2", "share=100%")
    assert (status, told.split(":")[0]) == (0, "PROMOTED r3 canary → early")
    said = fleet.update(3, 4, 5, 6)
    assert "free" in said[6] or "full" in said[6]
    assert fleet.served()[3:7] == ["r3", "r1", "r3", "r1"]
    assert fleet.counted()["early"] == (2, 1, 0, 1)
    assert fleet.gate("devices=2", "share=90%")[0] == 2
    assert fleet.gate("devices=2", "share=60%")[0] == 0
    assert fleet.gate("devices=2", "share=60%")[1] == "CURRENT nothing waits to be promoted"
    fleet.update(*range(7, 12))
    assert fleet.counted()["all"] == (5, 0, 0, 0)

    fleet.offline = set()
    assert fleet.update(2, 4) == dict.fromkeys((2, 4), "UPDATED r3 0.0 MB")
    assert fleet.served() == ["r3"] * 6 + ["r1"] + ["r3"] * 5
    seen = [line for line in fleet.seen().splitlines() if "NO_SPACE" in line]
    assert len(seen) == 1
    assert " r1 " in seen[0]
    fill(False)
    assert fleet.update(6)[6].startswith("UPDATED r3")
    assert fleet.counted() == {"canary": (3, 0, 0, 0), "early": (4, 0, 0, 0), "all": (5, 0, 0, 0)}


def test_sequences_only_rise_and_a_haste_reaches_all_rings_at_once(fleet: Fleet) -> None:
    """The same revision bundled anew lies beside the first, which somebody may be fetching."""
    fleet.publish(3)
    fleet.own("rings", "--set", "canary=0", "early=0")
    assert "--sequence 4" in fleet.publish(2)
    assert fleet.publish(4, revision="r3") == "PUBLISHED r3.s4 ring canary"
    assert sorted(path.name for path in (fleet.channel / "revisions").iterdir()) == ["r3", "r3.s4"]
    fleet.update(0, 3)
    assert fleet.served()[:4] == ["r3.s4", "", "", "r3"]
    assert fleet.publish(5, "--ring", "all") == "PUBLISHED r5 ring all"
    assert fleet.gate("devices=1") == (0, "CURRENT nothing waits to be promoted")
    fleet.update(0, 3, 7)
    assert [fleet.served()[each] for each in (0, 3, 7)] == ["r5"] * 3
    assert "there is no" not in fleet.run("back", "--home", fleet.homes[3])[1]
    assert fleet.update(3)[3].startswith("CURRENT r5")  # who goes back by hand stays there
    assert fleet.counted()["early"] == (0, 0, 1, 0)


def test_what_happened_offline_is_reported_later(fleet: Fleet) -> None:
    """A device that was away tells what went wrong meanwhile; a refused report waits as well."""
    fleet.publish(1)
    fleet.update(0)
    fleet.offline = {0}
    assert "the report waits" in fleet.update(0)[0]
    fleet.update(0)
    fleet.offline = set()
    report = ["--home", fleet.homes[0], "--reports", f"{fleet.url}/reports"]
    status, said = fleet.run("report", *report)
    assert (status, "401" in said) == (2, True)
    assert fleet.run("report", *report, "--authorization", "Bearer fleet")[0] == 0
    (path,) = fleet.reports.iterdir()
    value = json.loads(json.loads(path.read_text())["signed"])
    assert [(each["word"], each["reason"], each["times"]) for each in value["events"]] == [
        ("TRYING", "", 1),
        ("UPDATED", "", 1),
        ("WAITING", "NO_NETWORK", 2),
    ]
    assert value["check"] == {"agreed": 1, "probes": 1}
    assert value["runs"]["revision"] == "r1"


def test_only_devices_on_the_owners_list_count(fleet: Fleet) -> None:
    """Who can write reports could invent devices; the list says which there are, and how they are called."""
    fleet.publish(1)
    fleet.own("rings", "--set", "canary=0")
    fleet.publish(2)
    fleet.update(0, 1)
    report = ["--home", fleet.homes[2], "--reports", fleet.reports, "--ring", "canary"]
    said = fleet.run("report", *report)[1]
    ids = [path.stem for path in fleet.reports.iterdir() if path.stem not in said]
    listed = fleet.folder / "devices.txt"
    listed.write_text(f"# shops\n{ids[0]} Berlin\n{ids[1]}\nffff Hamburg\n")
    arguments = ["--channel", fleet.channel, "--reports", fleet.reports, "--devices", listed]
    status, seen = fleet.run("fleet", *arguments)
    assert status == 0
    assert "ffff Hamburg" in seen
    assert f"not counted: {said.split()[-1]}: not in" in seen
    assert fleet.gate("devices=3", "--devices", str(listed))[0] == 2
    assert fleet.gate("devices=2", "share=100%", "--devices", str(listed))[0] == 0


def test_a_device_whose_service_does_not_answer_is_not_healthy(fleet: Fleet) -> None:
    """Updated, but nothing serves on its port: the bundle does not go further."""
    fleet.publish(1)
    fleet.own("rings", "--set", "canary=0")
    fleet.publish(2)
    fleet.update(0)
    report = ["--home", fleet.homes[0], "--reports", fleet.reports, "--ring", "canary"]
    fleet.run("report", *report)
    assert fleet.gate("devices=1", "failures=1")[0] == 0
    fleet.publish(3)
    fleet.update(0)
    assert fleet.run("report", *report, "--port", 9)[0] == 0
    status, said = fleet.gate("devices=1")
    assert (status, said.split(":")[0]) == (1, "STOPPED r3 canary → all")
    assert "does not answer" in fleet.seen()


def test_what_takes_the_updater_down_is_not_tried_for_ever(fleet: Fleet) -> None:
    """As where the machine's memory ends: after three tries without an end it counts as failed."""
    fleet.publish(1)
    fleet.update(0)
    engine = fleet.folder / "bin" / "llama-server"
    engine.write_text("#!/bin/sh\nkill -9 $PARENT\n")
    fleet.publish(2)
    arguments = ["--home", fleet.homes[0], "--channel-url", fleet.url, "--public", fleet.public]
    command = f"PARENT=$$ exec {sys.executable} -m sartor_edge update {' '.join(map(str, arguments))}"
    for _ in range(3):
        assert subprocess.run(["/bin/sh", "-c", command], check=False).returncode == -9
    assert "the update ended 3 times without a word" in fleet.update(0)[0]
    assert fleet.served()[0] == "r1"
    assert fleet.update(0)[0].startswith("REFUSED r2")
