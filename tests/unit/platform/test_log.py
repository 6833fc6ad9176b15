"""Lines go out whole, and a log that takes none harms nothing."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys

from sartor_platform.log import Output


class Disk(io.StringIO):
    """A file on a disk that may be full."""

    full = False

    def write(self, text: str) -> int:
        """As a file does."""
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_lines_that_find_no_room_are_counted_and_told_of_later() -> None:
    disk = Disk()
    output = Output(disk)
    output.write("one\n")
    disk.full = True
    output.write("two\n")
    output.write("three\n")
    disk.full = False
    output.write("four\n")
    first, told, last = disk.getvalue().splitlines()
    assert (first, last) == ("one", "four")
    assert json.loads(told) == {"event": "log.lines_lost", "count": 2}


def test_a_process_whose_log_has_no_room_goes_on() -> None:
    code = (
        "import sys\nfrom sartor_platform import log\nlog.configure('training', 'server')\n"
        "for n in range(2000): log.get().info('a.line', filler='x' * 100)\n"
        "import logging; logging.getLogger('library').error('a line')\n"
        "sys.stderr.write('went on')\nsys.stderr.flush()\nimport os; os._exit(0)\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"went on")
