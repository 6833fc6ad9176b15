"""A device takes only what is well signed, whole and answers as it should, and always serves something."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sartor_deployment.build.weights import build
from sartor_edge.bundle import BadBundle, BundleSettings, Probe, make_bundle, verify_bundle
from sartor_edge.channel import CHANNEL, CHANNEL_SIGNATURE, publish
from sartor_edge.download import NoNetwork, NoSpace
from sartor_edge.engine import EngineFailed, NoEngine, ask, check, running
from sartor_edge.feedback import FeedbackBuffer, Sent
from sartor_edge.signing import UnusableKey, WrongSignature, make_key
from sartor_edge.updater import Busy, Device

CONVERTER = Path(sys.prefix) / "share" / "sartor" / "converter"
pytestmark = pytest.mark.skipif(not CONVERTER.exists(), reason="the converter is not installed")
PROMPT = "Where is my order?"


class Web(http.server.SimpleHTTPRequestHandler):
    """A web server that can go on in the middle of a file, and that loses the connection when told to."""

    cut_after = 0
    ranges: list[str]
    posted: list[dict[str, Any]]
    refusal: tuple[int, str]

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        given = self.headers.get("Range", "")
        start = int(given.removeprefix("bytes=").rstrip("-")) if given else 0
        if given:
            type(self).ranges.append(given)
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cut = type(self).cut_after
        if cut and path.name == "weights.gguf" and len(data) - start > cut:
            self.wfile.write(data[start : start + cut])
            self.close_connection = True
            return
        self.wfile.write(data[start:])

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, said = type(self).refusal
        if status == 201:
            type(self).posted.append(given)
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture(scope="module")
def weights(tiny_base: Path, adapters: Sequence[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as GGUF."""
    task = {
        "base": str(tiny_base), "version": str(adapters[0]), "quantization": "Q8_0",
        "converter": str(CONVERTER),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("edge")
    return Path(build(task, folder, lambda *_, **__: None)["weights"])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private and a public key."""
    folder = tmp_path_factory.mktemp("keys")
    make_key(folder / "private.pem", folder / "public.pem")
    return folder / "private.pem", folder / "public.pem"


@pytest.fixture(scope="module")
def answer(weights: Path, keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the model says where the bundle is built."""
    folder = tmp_path_factory.mktemp("first") / "bundle"
    make_bundle(folder, weights, settings(0), [], keys[0])
    os.environ["PYTHON"] = sys.executable
    with running(folder) as port:
        return ask(port, PROMPT)


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL where it is served."""
    folder = tmp_path / "channel"
    folder.mkdir()
    Web.cut_after, Web.ranges, Web.posted, Web.refusal = 0, [], [], (201, "")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Web, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def settings(sequence: int) -> BundleSettings:
    """Settings of the revision with this number."""
    return BundleSettings(f"r{sequence}", f"v{sequence}", sequence, "support", 256, 1)


def put(channel: Path, weights: Path, keys: tuple[Path, Path], sequence: int, answer: str, tmp: Path) -> Path:
    """A bundle in the channel."""
    folder = tmp / f"bundle-{sequence}"
    make_bundle(folder, weights, settings(sequence), [Probe(PROMPT, answer)], keys[0])
    publish(folder, channel, *keys)
    return folder


def head_of(channel: Path) -> dict[str, bytes]:
    """What a channel says is the newest."""
    return {name: (channel / name).read_bytes() for name in (CHANNEL, CHANNEL_SIGNATURE)}


def test_what_no_device_would_take_is_not_published(
    weights: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """After a rollback the older revision needs a higher sequence; the same bundle again is harmless."""
    channel = tmp_path / "www"
    newer = put(channel, weights, keys, 3, "a", tmp_path)
    assert publish(newer, channel, *keys).sequence == 3
    make_bundle(tmp_path / "older", weights, settings(2), [], keys[0])
    make_bundle(tmp_path / "other", weights, settings(3), [], keys[0])
    for bundle in (tmp_path / "older", tmp_path / "other"):
        with pytest.raises(BadBundle, match="--sequence 4"):
            publish(bundle, channel, *keys)


def test_an_update_resumes_swaps_and_goes_back_by_itself(
    channel: tuple[Path, str], weights: Path, keys: tuple[Path, Path], answer: str, tmp_path: Path
) -> None:
    """The life of a device: first bundle over a bad line, a newer one, one that answers wrongly."""
    folder, url = channel
    device = Device(tmp_path / "device", url, keys[1])
    with pytest.raises(NoNetwork):
        device.update()  # nothing was published: no channel
    put(folder, weights, keys, 1, answer, tmp_path)
    Web.cut_after = weights.stat().st_size * 2 // 3
    with pytest.raises(NoNetwork, match="goes on next time"):
        device.update()
    assert device.current is None
    assert device.update().word == "UPDATED"
    assert Web.ranges == [f"bytes={Web.cut_after}-"]
    assert device.update().word == "CURRENT"
    Web.cut_after = 0
    put(folder, weights, keys, 2, answer, tmp_path)
    assert device.update().word == "UPDATED"
    assert device.current is not None
    assert device.current.name == "r2"
    put(folder, weights, keys, 3, "something the model does not say", tmp_path)
    outcome = device.update()
    assert outcome.word == "WENT_BACK"
    assert "0 of 1 known prompts" in outcome.message
    assert device.current.name == "r2"
    assert device.update().word == "REFUSED"  # it is not tried again and again
    assert device.update(again=True).word == "WENT_BACK"  # but where a person says so
    with running(device.current) as port:  # the network is not needed any more
        assert check(device.current, port).share == 1.0
    (device.current / "weights.gguf").write_bytes(b"GGUF")  # the disk fails
    assert device.ensure_whole().word == "WENT_BACK"
    assert device.current.name == "r1"
    assert device.ensure_whole().word == "CURRENT"


def test_wrong_signatures_and_changed_files_are_refused(
    channel: tuple[Path, str], weights: Path, keys: tuple[Path, Path], answer: str, tmp_path: Path
) -> None:
    """A foreign key, a changed file, a channel played back: each is refused, and says which."""
    folder, url = channel
    make_key(tmp_path / "foreign.pem", tmp_path / "foreign.pub")
    bundle = put(folder, weights, keys, 5, answer, tmp_path)
    with pytest.raises(WrongSignature, match="not signed by the key"):
        verify_bundle(bundle, tmp_path / "foreign.pub")
    outcome = Device(tmp_path / "other", url, tmp_path / "foreign.pub").update()
    assert outcome.word == "REFUSED"
    assert "not signed by the key" in outcome.message
    before = head_of(folder)
    served = folder / "revisions" / "r5" / "weights.gguf"
    data = bytearray(served.read_bytes())
    data[-1] ^= 1
    served.write_bytes(bytes(data))
    with pytest.raises(BadBundle, match=r"weights\.gguf is not what the manifest says"):
        verify_bundle(served.parent, keys[1])
    device = Device(tmp_path / "device", url, keys[1])
    outcome = device.update()
    assert outcome.word == "REFUSED"
    assert "arrived changed" in outcome.message
    assert device.current is None
    put(folder, weights, keys, 6, answer, tmp_path)
    assert device.update().word == "UPDATED"
    for name, old in before.items():
        (folder / name).write_bytes(old)  # an old channel, well signed
    assert device.update().word == "CURRENT"
    with pytest.raises(UnusableKey):
        make_bundle(tmp_path / "b", weights, settings(7), [], keys[1])


def test_a_bundle_whose_weights_are_no_model_never_serves(
    channel: tuple[Path, str], weights: Path, keys: tuple[Path, Path], answer: str, tmp_path: Path
) -> None:
    """Well signed, but cut off before: the engine does not come up, the device stays as it is."""
    folder, url = channel
    device = Device(tmp_path / "device", url, keys[1])
    put(folder, weights, keys, 1, answer, tmp_path)
    assert device.update().word == "UPDATED"
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(weights.read_bytes()[: weights.stat().st_size * 3 // 4])
    put(folder, broken, keys, 2, answer, tmp_path)
    outcome = device.update()
    assert outcome.word == "WENT_BACK"
    assert "before it answered" in outcome.message
    assert device.current is not None
    assert device.current.name == "r1"
    with pytest.raises(EngineFailed), running(folder / "revisions" / "r2"):
        pass


def test_what_the_disk_damaged_is_not_started_and_is_fetched_anew(
    channel: tuple[Path, str], weights: Path, keys: tuple[Path, Path], answer: str, tmp_path: Path
) -> None:
    """With nothing to go back to it refuses; the next update mends it; with an earlier one it goes back."""
    folder, url = channel
    device = Device(tmp_path / "device", url, keys[1])
    put(folder, weights, keys, 1, answer, tmp_path)
    assert device.update().word == "UPDATED"
    assert device.current is not None
    (device.current / "start.sh").write_text("#!/bin/sh\necho started\n")
    serve = [
        *(sys.executable, "-m", "sartor_edge", "serve"),
        *("--home", str(device.home), "--public", str(keys[1])),
    ]
    done = subprocess.run(serve, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "start.sh is not what the manifest says" in done.stdout
    assert "run the updater" in done.stdout
    assert "started" not in done.stdout
    assert device.update().word == "UPDATED"
    assert device.ensure_whole().word == "CURRENT"
    put(folder, weights, keys, 2, answer, tmp_path)
    assert device.update().word == "UPDATED"
    (device.current / "weights.gguf").write_bytes(b"GGUF")
    assert device.ensure_whole().word == "WENT_BACK"
    assert device.update().word == "UPDATED"
    assert device.current.name == "r2"
    assert device.go_back().revision == "r1"
    assert device.update().word == "CURRENT"  # who goes back by hand stays there


def test_a_power_cut_before_the_state_was_written_costs_nothing(
    channel: tuple[Path, str], weights: Path, keys: tuple[Path, Path], answer: str, tmp_path: Path
) -> None:
    """What is served says its sequence itself: it is not fetched again, and nothing older is taken."""
    folder, url = channel
    device = Device(tmp_path / "device", url, keys[1])
    put(folder, weights, keys, 1, answer, tmp_path)
    assert device.update().word == "UPDATED"
    state, before = (device.home / "state.json").read_bytes(), head_of(folder)
    put(folder, weights, keys, 2, answer, tmp_path)
    assert device.update().word == "UPDATED"
    (device.home / "state.json").write_bytes(state)
    assert device.update().word == "CURRENT"
    (device.home / "state.json").unlink()
    for name, old in before.items():
        (folder / name).write_bytes(old)
    assert device.update().word == "CURRENT"
    assert device.go_back().revision == "r1"


def test_a_full_disk_is_told_with_the_numbers(
    channel: tuple[Path, str],
    weights: Path,
    keys: tuple[Path, Path],
    answer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is fetched that cannot be kept."""
    folder, url = channel
    put(folder, weights, keys, 1, answer, tmp_path)
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    with pytest.raises(NoSpace, match="1 MB are free"):
        Device(tmp_path / "device", url, keys[1]).update()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_fills_meanwhile_is_no_fault_of_the_network(
    channel: tuple[Path, str], weights: Path, keys: tuple[Path, Path], answer: str, tmp_path: Path
) -> None:
    """It is told as what it is; with room again the update goes through. Older fetches are removed."""
    folder, url = channel
    put(folder, weights, keys, 1, answer, tmp_path)
    device = Device(tmp_path / "device", url, keys[1])
    incoming = device.home / "incoming"
    (incoming / "r0").mkdir(parents=True)
    (incoming / "r1").mkdir()
    (incoming / "r1" / "weights.gguf.part").symlink_to("/dev/full")
    with pytest.raises(NoSpace, match="Make room"):
        device.update()
    assert not (incoming / "r0").exists()
    (incoming / "r1" / "weights.gguf.part").unlink()
    assert device.update().word == "UPDATED"


def test_a_device_without_an_engine_is_told_and_takes_the_bundle_once_it_has_one(
    channel: tuple[Path, str],
    weights: Path,
    keys: tuple[Path, Path],
    answer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no fault of the bundle: nothing is remembered, and nothing is fetched twice."""
    folder, url = channel
    put(folder, weights, keys, 1, answer, tmp_path)
    device = Device(tmp_path / "device", url, keys[1])
    monkeypatch.setenv("PYTHON", "/nonexistent/python")
    with pytest.raises(NoEngine, match=r"install llama\.cpp's llama-server"):
        device.update()
    assert device.current is None
    monkeypatch.setenv("PYTHON", sys.executable)
    (folder / "revisions" / "r1" / "weights.gguf").unlink()
    assert device.update().word == "UPDATED"


def test_a_machine_with_llama_server_needs_no_python(
    weights: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """Run with a stand-in that says how it was called: the bundle's own files, template, context and port."""
    make_bundle(tmp_path / "bundle", weights, replace(settings(1), slots=2), [], keys[0])
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "llama-server"
    stand_in.write_text('#!/bin/sh\nls "$2" chat_template.jinja\necho "$@"\n')
    stand_in.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "PORT": "9999", "PYTHON": "/nonexistent"}
    start = ["/bin/sh", str(tmp_path / "bundle" / "start.sh")]
    done = subprocess.run(start, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["chat_template.jinja", "weights.gguf"]
    said = " ".join(done.stdout.split())
    for part in ("--ctx-size 512 --parallel 2", "--jinja", "--alias support", "--host 127.0.0.1 --port 9999"):
        assert part in said


def test_two_updates_at_once_do_not_write_the_same_files(keys: tuple[Path, Path], tmp_path: Path) -> None:
    """A timer may fire while a slow line still fetches."""
    (tmp_path / "device").mkdir()
    with (tmp_path / "device" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="under way"):
            Device(tmp_path / "device", "http://127.0.0.1:9", keys[1]).update()


def test_an_address_that_is_none_is_told(keys: tuple[Path, Path], tmp_path: Path) -> None:
    """Not as a stack trace."""
    with pytest.raises(NoNetwork, match="write https"):
        Device(tmp_path / "device", "example.org/www", keys[1]).update()


def test_feedback_waits_for_the_network(channel: tuple[Path, str], tmp_path: Path) -> None:
    """Kept while nobody answers, sent in order when someone does, each with its own id; then forgotten."""
    buffer = FeedbackBuffer(tmp_path / "feedback.jsonl")
    assert buffer.add({"request_id": "chatcmpl-1", "thumbs": "up"})
    assert buffer.add({"request_id": "chatcmpl-2", "correction": "Grüße"})
    with (tmp_path / "feedback.jsonl").open("a") as file:
        file.write('{"request_id": "broke o')  # the power went
    assert buffer.add({"request_id": "chatcmpl-3", "thumbs": "down"})
    gone = buffer.send("http://127.0.0.1:9/v1")
    assert (gone.sent, gone.waiting) == (0, 3)
    assert "refused" in gone.why
    assert buffer.send(channel[1]) == Sent(3, 0, 0)
    assert [each["request_id"] for each in Web.posted] == ["chatcmpl-1", "chatcmpl-2", "chatcmpl-3"]
    assert len({each["id"] for each in Web.posted}) == 3
    assert buffer.waiting() == []


@pytest.mark.parametrize(
    ("status", "said", "keeps"),
    [
        (404, "<html>no such page</html>", True),  # a wrong address
        (401, "no key", True),
        (403, "a foreign key", True),
        (503, "later", True),
        (404, '{"error": {"code": "answer_not_found"}}', False),
        (400, "no such field", False),
    ],
)
def test_feedback_is_given_up_only_where_it_will_never_be_taken(
    channel: tuple[Path, str], tmp_path: Path, status: int, said: str, keeps: bool
) -> None:
    """And even then it is laid aside with the reason, not thrown away."""
    buffer = FeedbackBuffer(tmp_path / "feedback.jsonl")
    buffer.add({"request_id": "chatcmpl-1", "thumbs": "up"})
    Web.refusal = (status, said)
    found = buffer.send(channel[1])
    assert (found.sent, found.refused, found.waiting) == (0, int(not keeps), int(keeps))
    assert said in found.why
    aside = tmp_path / "refused.jsonl"
    assert aside.exists() is not keeps
    assert keeps or json.loads(aside.read_text())["request_id"] == "chatcmpl-1"


def test_feedback_that_comes_while_others_are_sent_is_kept(tmp_path: Path) -> None:
    """The application adds while the timer sends."""
    buffer = FeedbackBuffer(tmp_path / "feedback.jsonl")

    class Slow(Web):
        def do_POST(self) -> None:
            buffer.add({"request_id": "meanwhile", "thumbs": "up"})
            super().do_POST()

    Web.posted, Web.refusal = [], (201, "")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    buffer.add({"request_id": "first", "thumbs": "up"})
    try:
        assert buffer.send(f"http://127.0.0.1:{server.server_address[1]}") == Sent(1, 0, 1)
    finally:
        server.shutdown()
        server.server_close()
    assert [each["request_id"] for each in buffer.waiting()] == ["meanwhile"]
