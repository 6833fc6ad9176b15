"""The parent's handle on a job's child process: start, messages, output, and a kill that spares nobody."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from sartor_platform import log

# Nothing that names a server or opens one: the child gets its files from its parent.
_SECRET_PREFIXES = ("SARTOR_", "AWS_", "MINIO_", "KAFKA_", "PG")
_LINE_LIMIT = 2000


class ChildProcess:
    """A running child. `messages` yields what it sends, then None once it has ended."""

    def __init__(
        self, entry: str, task: Mapping[str, Any], folder: Path, *, fields: Mapping[str, str]
    ) -> None:
        self.messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._log = log.get(**fields)
        self.process, pipe = _spawn(entry, folder)
        self._feeder = self._thread("feed", self._feed, task)
        self._readers = [
            self._thread("messages", self._read, pipe),
            self._thread("output", self._echo),
            self._thread("end", self._sweep),
        ]

    def kill(self) -> None:
        """End the child and everything it started, at once. Safe to call again."""
        with contextlib.suppress(ProcessLookupError):  # gone already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> int:
        """End what is left of the child and return its exit status."""
        self.kill()
        for reader in self._readers:
            reader.join(timeout=5)
        return self.process.returncode

    def _thread(self, name: str, target: Any, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, name=f"child-{name}", daemon=True)
        thread.start()
        return thread

    def _feed(self, task: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            with self.process.stdin as stdin:
                stdin.write(json.dumps(task).encode())
        except BrokenPipeError:
            self._log.warning("job.child_took_no_task")

    def _read(self, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                try:
                    message = json.loads(line)
                except ValueError:
                    self._log.warning("job.child_message_unreadable", line=line[:_LINE_LIMIT])
                    continue
                if isinstance(message, dict):
                    self.messages.put(message)
        self.messages.put(None)

    def _sweep(self) -> None:
        # What the child started may outlive it and hold the pipe open.
        self.process.wait()
        self.kill()

    def _echo(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for raw in output:
                # Progress bars redraw a line with carriage returns: the last drawing is the one that counts.
                line = raw.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2]
                if line.strip():
                    self._log.info("job.output", line=line[:_LINE_LIMIT])


def _spawn(entry: str, folder: Path) -> tuple[subprocess.Popen[bytes], IO[str]]:
    readable, writable = os.pipe()
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",  # the working folder holds data; nothing is imported from it
                "-m",
                "sartor_platform.child",
                entry,
                str(folder.resolve()),
                str(writable),
                str(os.getpid()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[writable],
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
    except BaseException:
        os.close(readable)
        raise
    finally:
        os.close(writable)
    return process, os.fdopen(readable, "r", encoding="utf-8", errors="replace")


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIXES)}
    installed = (sys.prefix, sys.base_prefix)
    kept["PYTHONPATH"] = os.pathsep.join(
        os.path.abspath(path)
        for path in sys.path
        if not path.startswith(installed) and os.path.isdir(path or ".")
    )
    kept["PYTHONUNBUFFERED"] = "1"
    kept["TMPDIR"] = str(folder.resolve())
    return kept
