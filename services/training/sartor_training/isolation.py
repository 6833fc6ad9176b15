"""A child without a network, where the system allows it: what a model's files could make it do stays here."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from typing import NoReturn

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def without_network() -> bool:
    """Cut this process off from every network; True where the kernel does it, else only Python is stopped.

    A network namespace of its own has no interface at all. An unprivileged process may make one together
    with a
    user namespace, in which it keeps its own user and group; where that is forbidden (many containers)
    sockets to
    other machines are refused inside Python.
    """
    isolated = sys.platform == "linux" and _own_namespace()
    _refuse_sockets()
    return isolated


def _own_namespace() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:  # a privileged process needs no user namespace
        return True
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as handle:
            handle.write(line)
    return True


class _NoNetworkSocket(socket.socket):
    """A socket that reaches this machine only by its file system."""

    def connect(self, address: object) -> None:
        """Refuse everything but Unix sockets."""
        if self.family != socket.AF_UNIX:
            _refused(address)
        super().connect(address)  # type: ignore[arg-type]

    def connect_ex(self, address: object) -> int:
        """As `connect`."""
        if self.family != socket.AF_UNIX:
            _refused(address)
        return super().connect_ex(address)  # type: ignore[arg-type]

    def sendto(self, *arguments: object) -> int:
        """As `connect`."""
        if self.family != socket.AF_UNIX:
            _refused(arguments[-1])
        return super().sendto(*arguments)  # type: ignore[call-overload,no-any-return]


def _refuse_sockets() -> None:
    socket.socket = _NoNetworkSocket  # type: ignore[misc]


def _refused(address: object) -> NoReturn:
    raise PermissionError(f"this process has no network, and wanted to reach {address!r}")
