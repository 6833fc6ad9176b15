"""Keeps a device's model current: fetch, resume, verify, try, swap in one step, and go back by itself.

The folder of a device:
    current → revisions/<name>      what is served: a link, exchanged by one rename
    previous → revisions/<name>     what was served before
    incoming/<name>/                what is being fetched; a part file goes on where it stopped
    state.json                      highest sequence taken, what failed here, and what the disk damaged
Whatever moment the power goes, `current` names a whole, verified bundle.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from sartor_edge.bundle import MANIFEST, SIGNATURE, BadBundle, Manifest, read_manifest, verify_bundle
from sartor_edge.channel import CHANNEL, CHANNEL_SIGNATURE, Head, read_head
from sartor_edge.download import Downloads, check_space
from sartor_edge.engine import EngineFailed, check, running
from sartor_edge.signing import WrongSignature


class Busy(Exception):
    """Two updates would write the same files."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an update came to: UPDATED, CURRENT, REFUSED or WENT_BACK, and why."""

    word: str
    revision: str
    message: str


@dataclass(slots=True)
class _State:
    sequence: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    damaged: str = ""


class Device:
    """One device's folder, the channel it follows and the key it trusts."""

    def __init__(
        self, home: Path, channel_url: str, public_key: Path, *, timeout_seconds: float = 30.0
    ) -> None:
        self.home = home
        self._channel = Downloads(channel_url, timeout_seconds)
        self._key = public_key

    @property
    def current(self) -> Path | None:
        """The bundle that is served, or None."""
        return self._linked("current")

    def update(self, *, again: bool = False) -> Outcome:
        """Look for a newer bundle and take it, if it is well signed, whole, and answers as it should here.

        Args:
            again: try also what failed here before, as after memory was added.
        Raises:
            NoNetwork, NoSpace, NoEngine: nothing changed; what was fetched is kept for the next time.
            Busy: another update of this device is under way.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy(f"another update of {self.home} is under way; let it end") from error
            return self._update(again=again)

    def _update(self, *, again: bool) -> Outcome:
        state = self._state()
        try:
            head = read_head(self._channel.small(CHANNEL), self._channel.small(CHANNEL_SIGNATURE), self._key)
            anew = head.sequence == state.sequence and head.revision == state.damaged
            if head.sequence <= state.sequence and not anew:
                return Outcome("CURRENT", head.revision, f"sequence {state.sequence} was taken already")
            if head.manifest_sha256 in state.failed and not again:
                why = state.failed[head.manifest_sha256]
                return Outcome("REFUSED", head.revision, f"{why}; `update --again` tries it once more")
            folder = self._fetch(head)
        except (WrongSignature, BadBundle) as error:
            return Outcome("REFUSED", "", str(error))
        manifest = verify_bundle(folder, self._key)
        fault = _fault(folder, manifest)
        if fault:
            state.failed[head.manifest_sha256] = fault
            self._write(state)
            shutil.rmtree(folder)
            return Outcome("WENT_BACK", head.revision, f"{fault}; the revision before serves on")
        self._swap(folder, head)
        state.sequence, state.damaged = head.sequence, ""
        self._write(state)
        return Outcome("UPDATED", head.revision, f"{manifest.size_bytes / 1e6:.1f} MB")

    def go_back(self) -> Outcome:
        """Serve the bundle before again, if it is whole."""
        previous = self._linked("previous")
        if previous is None or previous == self.current:
            return Outcome("REFUSED", "", "there is no earlier revision on this device")
        damage = self._damage(previous)
        if damage:
            return Outcome("REFUSED", "", f"the revision before is damaged too: {damage}")
        self._link("current", previous)
        return Outcome("WENT_BACK", previous.name, "the revision before is served again")

    def ensure_whole(self) -> Outcome:
        """Before serving: is `current` still what was signed? A damaged disk goes back to the one before.

        What is REFUSED must not be started. The next update fetches a damaged revision anew.
        """
        current = self.current
        if current is None:
            return Outcome("REFUSED", "", "nothing was installed yet; run the updater with a network once")
        damage = self._damage(current)
        if not damage:
            return Outcome("CURRENT", current.name, "whole")
        state = self._state()
        state.damaged = current.name
        self._write(state)
        back = self.go_back()
        then = "" if back.word == "WENT_BACK" else "; run the updater, which fetches it anew"
        return Outcome(back.word, back.revision, f"{damage}; {back.message}{then}")

    def _damage(self, bundle: Path) -> str:
        """What is not as it was signed, or ""."""
        try:
            verify_bundle(bundle, self._key)
        except (WrongSignature, BadBundle) as error:
            return str(error)
        return ""

    def _fetch(self, head: Head) -> Path:
        folder = self.home / "incoming" / head.revision
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.parent.iterdir():
            if other != folder:  # a newer one came while it was fetched
                shutil.rmtree(other, ignore_errors=True)
        base = f"revisions/{head.revision}"
        data, signature = (self._channel.small(f"{base}/{name}") for name in (MANIFEST, SIGNATURE))
        manifest = read_manifest(data, signature, self._key)
        if hashlib.sha256(data).hexdigest() != head.manifest_sha256:
            raise BadBundle("the channel names another manifest")
        if manifest.settings.sequence != head.sequence:
            raise BadBundle("the channel and the manifest name different sequences")
        check_space(folder, manifest)
        for name, (sha256, size) in manifest.files.items():
            self._channel.file(f"{base}/{name}", folder / name, sha256, size)
        _write(folder / MANIFEST, data)
        _write(folder / SIGNATURE, signature)
        (folder / "start.sh").chmod(0o755)
        _sync(folder)
        return folder

    def _swap(self, folder: Path, head: Head) -> None:
        target = self.home / "revisions" / head.revision
        target.parent.mkdir(exist_ok=True)
        before = self.current
        if target.exists():  # the disk damaged it
            shutil.rmtree(target)
        os.replace(folder, target)
        _sync(target.parent)  # before the link names it
        if before is not None and before != target.resolve():
            self._link("previous", before)
        self._link("current", target)
        kept = {self.current, self._linked("previous")}
        for old in target.parent.iterdir():
            if old.resolve() not in kept:
                shutil.rmtree(old, ignore_errors=True)

    def _linked(self, name: str) -> Path | None:
        link = self.home / name
        return link.resolve() if link.exists() else None

    def _link(self, name: str, target: Path) -> None:
        part = self.home / f".{name}.part"
        part.unlink(missing_ok=True)
        part.symlink_to(os.path.relpath(target, self.home))
        os.replace(part, self.home / name)
        _sync(self.home)

    def _state(self) -> _State:
        """As written; never below what is served: the power may have gone between the link and the file."""
        state = _State()
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            state = _State(**json.loads((self.home / "state.json").read_text(encoding="utf-8")))
        current = self.current
        if current is not None:
            with contextlib.suppress(OSError, WrongSignature, BadBundle):
                data, signature = (current / MANIFEST).read_bytes(), (current / SIGNATURE).read_bytes()
                served = read_manifest(data, signature, self._key).settings.sequence
                state.sequence = max(state.sequence, served)
        return state

    def _write(self, state: _State) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        part = self.home / ".state.part"
        failed = dict(list(state.failed.items())[-20:])
        value = {"sequence": state.sequence, "failed": failed, "damaged": state.damaged}
        _write(part, json.dumps(value).encode())
        os.replace(part, self.home / "state.json")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Let what was made, renamed or linked in it be on the disk before what follows."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fault(folder: Path, manifest: Manifest) -> str:
    """What is wrong with a bundle's engine on this device, or ""."""
    try:
        with running(folder) as port:
            found = check(folder, port)
    except EngineFailed as error:
        return str(error)
    if found.share < manifest.settings.least_agreement:
        return (
            f"it answered {found.agreed} of {found.probes} known prompts as where it was built,"
            f" {manifest.settings.least_agreement:.0%} are needed"
        )
    return ""
