"""Free loopback ports, kept from one start of a stack to the next so that its addresses stay the same."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

from sartor_local.faults import PortTaken

# Below the range kernels hand out to outgoing connections, so that none of those takes a port between check
# and use.
FIRST, LAST = 20_000, 32_000
HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could bind this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(reserved: Collection[int] = ()) -> int:
    """A loopback port that nobody listens on, and none of the reserved ones."""
    while True:
        port = random.randrange(FIRST, LAST)
        if port not in reserved and is_free(port):
            return port


class Ports:
    """Named ports of one stack. A name keeps its port over restarts while that port is free."""

    def __init__(self, file: Path, fixed: Mapping[str, int] | None = None) -> None:
        self._file = file
        self._fixed = dict(fixed or {})
        self._known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        self._given: dict[str, int] = {}

    def get(self, name: str) -> int:
        """The port of this name.

        Raises:
            PortTaken: the port was fixed by the user and another program holds it.
        """
        if name in self._given:
            return self._given[name]
        port = self._choose(name)
        self._given[name] = port
        if name not in self._fixed:
            self._known[name] = port
        self._file.write_text(json.dumps(self._known, indent=1, sort_keys=True))
        return port

    def _choose(self, name: str) -> int:
        if name in self._fixed:
            if not is_free(self._fixed[name]):
                raise PortTaken(self._fixed[name], name)
            return self._fixed[name]
        taken = {*self._given.values(), *self._fixed.values()}
        known = self._known.get(name)
        if known is not None and known not in taken and is_free(known):
            return known
        return free_port(taken | set(self._known.values()))
