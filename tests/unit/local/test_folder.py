"""The data folder: its rooms, its secrets, its ports, and when it is refused."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest
from sartor_local import accounts
from sartor_local.accounts import SystemUser, postgres_user
from sartor_local.faults import DiskFull, FolderRefused, PortTaken
from sartor_local.folder import credentials, open_folder
from sartor_local.ports import Ports, is_free
from sartor_local.process import Identity
from sartor_local.state import ProcessState, StackPhase, StackState, read_state, write_state


def test_secrets_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    """The same secrets at every start; nobody else may read them."""
    folder = open_folder(tmp_path / "stack")
    first = credentials(folder)
    assert credentials(folder) == first
    assert stat.S_IMODE(folder.credentials_file.stat().st_mode) == 0o600
    assert len(first.s3_secret_key) >= 32


def test_too_little_space_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """A full disk is named, with what to do."""
    needed = shutil.disk_usage(tmp_path).free + 2**30
    with pytest.raises(DiskFull, match="Free some space"):
        open_folder(tmp_path / "stack", needed_bytes=needed)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """A path that is no folder is refused with its name."""
    (tmp_path / "stack").write_text("")
    with pytest.raises(FolderRefused, match="stack"):
        open_folder(tmp_path / "stack")


def test_a_folder_below_a_private_one_is_refused_where_root_may_not_pass_it_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL refuses to be root; where its account cannot go, the data folder cannot be."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    folder = open_folder(private / "stack")
    stranger = SystemUser("stranger", os.getuid() + 1, os.getgid() + 1)
    monkeypatch.setattr(accounts, "_account", lambda folder: stranger)
    monkeypatch.setattr(accounts, "may_override", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(FolderRefused) as caught:
        postgres_user(folder, Path("/usr/bin/postgres"))
    assert "private to root" in str(caught.value)
    assert "--data-dir" in str(caught.value)


def test_an_ordinary_user_needs_no_other_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root has to borrow one."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres_user(open_folder(tmp_path / "stack"), Path("/usr/bin/postgres")) is None


def test_ports_are_kept_while_they_are_free(tmp_path: Path) -> None:
    """Addresses stay the same over restarts, and change only when somebody else took one."""
    file = tmp_path / "ports.json"
    port = Ports(file).get("kafka")
    assert Ports(file).get("kafka") == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert not is_free(port)
        assert Ports(file).get("kafka") != port


def test_no_port_is_given_twice(tmp_path: Path) -> None:
    """Two names never share a port."""
    ports = Ports(tmp_path / "ports.json")
    given = [ports.get(f"name{i}") for i in range(50)]
    assert len(set(given)) == 50


def test_a_port_asked_for_and_taken_is_named(tmp_path: Path) -> None:
    """A port the user fixed is never silently replaced."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} .* wanted by gateway"):
            Ports(tmp_path / "ports.json", {"gateway": port}).get("gateway")


def test_the_state_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Whoever reads it sees the stack, or nothing while it is torn."""
    folder = open_folder(tmp_path / "stack")
    assert read_state(folder) is None
    process = ProcessState("postgres", "ready", Identity(7, 1.5), 2, "note", {"sql": 5432}, "/log")
    state = StackState(
        StackPhase.READY, Identity(5, 1.0), "", "now", 1.2, {"A": "b"}, {"training": "t"}, "url", (process,)
    )
    write_state(folder, state)
    assert read_state(folder) == state
    assert stat.S_IMODE(folder.state_file.stat().st_mode) == 0o600
    folder.state_file.write_text('{"phase": "rea')
    assert read_state(folder) is None
