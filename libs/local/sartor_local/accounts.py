"""Whose rights a process has: PostgreSQL refuses to be root, so under root it borrows another account.

Folders that are private to root stay private. Where one lies between that account and its files, the process
keeps root's right to pass such folders (the capability CAP_DAC_OVERRIDE, as an ambient one) and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sartor_local.faults import FolderRefused
from sartor_local.folder import DataFolder

_KEEPCAPS, _PDEATHSIG, _CAP_AMBIENT, _CAP_AMBIENT_RAISE = 8, 1, 47, 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class SystemUser:
    """The account a process runs under instead of root; `passes` private folders on its way if it must."""

    name: str
    uid: int
    gid: int
    passes: bool = False


def postgres_user(folder: DataFolder, programs: Path) -> SystemUser | None:
    """The account PostgreSQL must run under, or None when the stack is not started by root.

    Args:
        programs: where its programs lie; they must be reached too.
    Raises:
        FolderRefused: a folder on the way is private to root, and root may not hand on its right to pass it.
    """
    if os.geteuid() != 0:
        return None
    user = _account(folder)
    if not may_enter(folder.root, user):
        folder.root.chmod(folder.root.stat().st_mode | 0o011)  # ours to open; the secrets inside are 0600
    private = _private_on_the_way((folder.root, programs), user)
    if private is None:
        return user
    if may_override():
        return SystemUser(user.name, user.uid, user.gid, passes=True)
    raise FolderRefused(
        folder.root,
        f"{private} is private to root, and PostgreSQL, which refuses to run as root, could not reach its "
        f"files as user {user.name!r}. Choose folders that others may enter (for example with --data-dir "
        "/var/lib/sartor), or start as an ordinary user.",
    )


def _account(folder: DataFolder) -> SystemUser:
    if (folder.postgres / "PG_VERSION").exists():
        owner = folder.postgres.stat()
        if owner.st_uid != 0:
            return SystemUser(pwd.getpwuid(owner.st_uid).pw_name, owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return SystemUser(name, entry.pw_uid, entry.pw_gid)
    why = (
        "PostgreSQL refuses to run as root and there is no user 'nobody' to run it as. Start as another user."
    )
    raise FolderRefused(folder.root, why)


def _private_on_the_way(paths: Sequence[Path], user: SystemUser) -> Path | None:
    for path in paths:
        for ancestor in path.parents:
            if not may_enter(ancestor, user):
                return ancestor
    return None


def may_enter(path: Path, user: SystemUser) -> bool:
    """Whether the folder's mode lets this account pass."""
    status = path.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == user.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def may_override() -> bool:
    """Whether this process has the right to pass private folders and may hand it on."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    held = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return bool(held & (1 << _CAP_DAC_OVERRIDE))


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def between_fork_and_exec(user: SystemUser | None, *, die_with_parent: bool) -> Callable[[], None] | None:
    """What a new process does before its program starts: becomes the account, ends with its parent.

    Everything is prepared here, so that little happens after the fork.
    """
    libc = _libc
    if libc is None and user is None:
        return None
    mask = 1 << _CAP_DAC_OVERRIDE
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), (_Sets * 2)(_Sets(mask, mask, mask))

    def prepare() -> None:
        if user is not None:
            if user.passes and libc is not None:
                libc.prctl(_KEEPCAPS, 1, 0, 0, 0)
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)
            if user.passes and libc is not None:
                libc.capset(ctypes.byref(header), sets)
                libc.prctl(_CAP_AMBIENT, _CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)
        if die_with_parent and libc is not None:
            libc.prctl(_PDEATHSIG, _SIGKILL, 0, 0, 0)  # last: a change of user clears it

    return prepare
