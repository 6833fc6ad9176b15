"""A bundle's engine, started by the bundle's own script, and whether it answers as it should."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LOAD_SECONDS = 300.0
_ANSWER_TOKENS = 16
_NO_ENGINE = 127  # what start.sh ends with


class EngineFailed(Exception):
    """It did not start, or did not answer."""


class NoEngine(Exception):
    """This machine has nothing that can run a bundle; that is no fault of the bundle."""


@dataclass(frozen=True, slots=True)
class Check:
    """How many probes were answered as where the bundle was built."""

    agreed: int
    probes: int

    @property
    def share(self) -> float:
        """1 where there are no probes: then only that it answers was looked at."""
        return self.agreed / self.probes if self.probes else 1.0


@contextlib.contextmanager
def running(bundle: Path, port: int = 0, seconds: float = _LOAD_SECONDS) -> Iterator[int]:
    """The engine while the block runs; its port.

    Raises:
        EngineFailed: it ended, or did not load in time.
        NoEngine: the bundle's script found neither llama-server nor xllamacpp.
    """
    port = port or _free_port()
    words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
    process = subprocess.Popen(
        ["/bin/sh", str(bundle / "start.sh")],
        env={**os.environ, "PORT": str(port), "HOST": "127.0.0.1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words,
        start_new_session=True,
    )  # fmt: skip
    with contextlib.suppress(OSError):  # where memory ends after all, this one goes, not what serves
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        until = time.monotonic() + seconds
        while True:
            if process.poll() is not None:
                words.seek(0)
                last = words.read()[-400:].decode("utf-8", "replace").strip()
                if process.returncode == _NO_ENGINE:
                    raise NoEngine(last)
                raise EngineFailed(
                    f"the engine ended with status {process.returncode} before it answered: {last}"
                )
            with contextlib.suppress(OSError, http.client.HTTPException):
                if _call(port, "GET", "/health", None)[0] == 200:
                    break
            if time.monotonic() > until:
                raise EngineFailed(f"the engine did not load its model in {seconds:.0f} s")
            time.sleep(0.1)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        words.close()


def ask(port: int, prompt: str, tokens: int = _ANSWER_TOKENS) -> str:
    """The greedy answer to a prompt.

    Raises:
        EngineFailed: it did not answer.
    """
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0.0,
    }
    try:
        status, data = _call(port, "POST", "/v1/chat/completions", json.dumps(body).encode())
        if status != 200:
            raise EngineFailed(f"the engine answered {status}: {data[:200]!r}")
        return str(json.loads(data)["choices"][0]["message"]["content"] or "")
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        raise EngineFailed(f"the engine did not answer: {error!r}") from error


def check(bundle: Path, port: int) -> Check:
    """Ask the bundle's known prompts.

    Another processor may round otherwise and then say another word somewhere; so each answer counts as a
    whole, and the manifest says how many must be the same.
    """
    probes = json.loads((bundle / "probes.json").read_text(encoding="utf-8"))
    if not probes:
        ask(port, "Hello", 1)
    return Check(
        sum(ask(port, each["prompt"]).strip() == each["answer"].strip() for each in probes), len(probes)
    )


def _call(port: int, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
