"""Keeps a device's model current: fetch, resume, verify, try, swap in one step, and go back by itself.

The folder of a device:
    current → revisions/<name>      what is served: a link, exchanged by one rename
    previous → revisions/<name>     what was served before
    incoming/<name>/                what is being fetched; a part file goes on where it stopped
    state.json                      what was taken, what failed here, and what the disk damaged (state.py)
    device.pem, journal.json        who it is, and what it will report (identity.py, report.py)
Whatever moment the power goes, `current` names a whole, verified bundle.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sartor_edge.bundle import MANIFEST, SIGNATURE, BadBundle, digest, read_manifest, verify_bundle
from sartor_edge.channel import Head
from sartor_edge.download import Downloads, NoSpace, check_space
from sartor_edge.identity import device_id
from sartor_edge.memory import Service, room
from sartor_edge.outcome import Facts, Outcome
from sartor_edge.rings import BadRings, Offer, offered
from sartor_edge.signing import WrongSignature
from sartor_edge.state import State, read_state, sync_folder, write_synced
from sartor_edge.trial import try_bundle


class Busy(Exception):
    """Two updates would write the same files."""


def _refused(error: Exception) -> Outcome:
    reasons = {WrongSignature: "WRONG_SIGNATURE", BadBundle: "BAD_BUNDLE", BadRings: "UNKNOWN_RING"}
    return Outcome("REFUSED", "", str(error), reasons[type(error)])


class Device:
    """One device's folder, the channel it follows and the key it trusts."""

    def __init__(
        self,
        home: Path,
        channel_url: str,
        public_key: Path,
        *,
        ring: str = "",
        timeout_seconds: float = 30.0,
        before_try: Callable[[str, str], None] = lambda _revision, _manifest: None,
        service: Service | None = None,
    ) -> None:
        """`ring`: the one asked for, else by the device's id. `before_try`: told revision and manifest.

        `service`: may be stopped while a new engine is tried that does not fit beside the old one.
        """
        self.home = home
        self._ring, self._before_try, self._service = ring, before_try, service
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
            NoNetwork, NoSpace, NoMemory, NoEngine: nothing changed; what was fetched is kept for next time.
            Busy: another update of this device is under way.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with (self.home / ".lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise Busy(f"another update of {self.home} is under way; let it end") from error
                return self._update(again=again)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoSpace(f"the disk of {self.home} is full; the current one serves on. Make room") from error

    def _update(self, *, again: bool) -> Outcome:
        state = self._state()
        try:
            offer = self._look(state)
            head = offer.head
            if head is None:
                return Outcome("CURRENT", "", f"ring {offer.ring} has no bundle yet")
            if not self._is_wanted(head, offer, state):
                what = f"what ring {offer.ring} has" if offer.edition else f"sequence {state.sequence}"
                return Outcome("CURRENT", head.revision, f"{what} was taken already")
            if head.manifest_sha256 in state.failed and not again:
                why = state.failed[head.manifest_sha256]
                return Outcome(
                    "REFUSED", head.revision, f"{why}; `update --again` tries it once more", "FAILED_BEFORE"
                )
            folder = self._fetch(head)
        except (WrongSignature, BadBundle, BadRings) as error:
            return _refused(error)
        manifest = verify_bundle(folder, self._key)
        with room(folder, self.current, self._service):
            fault, found = try_bundle(self.home, folder, manifest, head, state, self._before_try)
        if fault is not None:
            state.failed[head.manifest_sha256] = fault.message
            state.write(self.home)
            if folder.parent.name == "incoming":
                shutil.rmtree(folder)
            return replace(fault, message=f"{fault.message}; the revision before serves on")
        self._swap(folder, head, keep_before=self._runs() not in offer.recalled)
        state.sequence, state.damaged = max(head.sequence, state.sequence), ""
        state.taken = head.manifest_sha256
        state.failed.pop(head.manifest_sha256, None)
        state.write(self.home)
        return Outcome("UPDATED", head.revision, f"{manifest.size_bytes / 1e6:.1f} MB", check=found)

    def facts(self) -> Facts:
        """What is so now, and what it knows of the channel."""
        state = self._state()
        runs = self._runs()
        since = (self.home / "current").lstat().st_mtime if runs else 0.0
        return Facts(self._ring, state.edition, state.taken, state.failed, runs, since)

    def _runs(self) -> Head | None:
        """What is served, by its signed manifest."""
        current = self.current
        if current is not None:
            with contextlib.suppress(OSError, WrongSignature, BadBundle):
                data, signature = (current / MANIFEST).read_bytes(), (current / SIGNATURE).read_bytes()
                sequence = read_manifest(data, signature, self._key).settings.sequence
                return Head(current.name, sequence, hashlib.sha256(data).hexdigest())
        return None

    def _look(self, state: State) -> Offer:
        """What the channel has for this device. An edition once seen is remembered at once."""
        offer = offered(self._channel, self._key, lambda: device_id(self.home), self._ring, state.edition)
        if offer.edition > state.edition:
            state.edition = offer.edition
            with contextlib.suppress(OSError):  # a full disk is told of where room is needed
                state.write(self.home)
        return offer

    def _is_wanted(self, head: Head, offer: Offer, state: State) -> bool:
        """Whether it is to be taken: without rings what is higher, in a ring what it did not give before."""
        if not offer.edition:
            anew = head.sequence == state.sequence and head.revision == state.damaged
            return anew or head.sequence > state.sequence
        if head.revision == state.damaged:
            return True
        runs = self._runs()
        if runs is not None and runs.manifest_sha256 == head.manifest_sha256 != state.taken:
            state.taken = head.manifest_sha256  # gone back to by itself, and now the ring says so too
            state.write(self.home)
        return head.manifest_sha256 != state.taken

    def go_back(self) -> Outcome:
        """Serve the bundle before again, if it is whole."""
        previous = self._linked("previous")
        if previous is None or previous == self.current:
            return Outcome("REFUSED", "", "there is no earlier revision on this device", "NOTHING_BEFORE")
        damage = self._damage(previous)
        if damage:
            return Outcome("REFUSED", "", f"the revision before is damaged too: {damage}", "DAMAGED")
        self._link("current", previous)
        return Outcome("WENT_BACK", previous.name, "the revision before is served again", "BY_HAND")

    def ensure_whole(self) -> Outcome:
        """Before serving: is `current` still what was signed? A damaged disk goes back to the one before.

        What is REFUSED must not be started. The next update fetches a damaged revision anew.
        """
        current = self.current
        if current is None:
            return Outcome(
                "REFUSED",
                "",
                "nothing was installed yet; run the updater with a network once",
                "NOT_INSTALLED",
            )
        damage = self._damage(current)
        if not damage:
            return Outcome("CURRENT", current.name, "whole")
        state = self._state()
        state.damaged = current.name
        state.write(self.home)
        back = self.go_back()
        then = "" if back.word == "WENT_BACK" else "; run the updater, which fetches it anew"
        return Outcome(back.word, back.revision, f"{damage}; {back.message}{then}", "DAMAGED")

    def _damage(self, bundle: Path) -> str:
        """What is not as it was signed, or ""."""
        try:
            verify_bundle(bundle, self._key)
        except (WrongSignature, BadBundle) as error:
            return str(error)
        return ""

    def _fetch(self, head: Head) -> Path:
        here = self.home / "revisions" / head.revision
        if here.exists() and not self._damage(here) and digest(here / MANIFEST) == head.manifest_sha256:
            return here  # served here before
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
        write_synced(folder / MANIFEST, data)
        write_synced(folder / SIGNATURE, signature)
        (folder / "start.sh").chmod(0o755)
        sync_folder(folder)
        return folder

    def _swap(self, folder: Path, head: Head, *, keep_before: bool) -> None:
        target = self.home / "revisions" / head.revision
        target.parent.mkdir(exist_ok=True)
        before = self.current
        if folder != target:
            if target.exists():  # the disk damaged it
                shutil.rmtree(target)
            os.replace(folder, target)
            sync_folder(target.parent)  # before the link names it
        if before is not None and before != target.resolve() and keep_before:
            self._link("previous", before)
        self._link("current", target)
        if not keep_before:  # what was called back is nothing to go back to
            (self.home / "previous").unlink(missing_ok=True)
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
        sync_folder(self.home)

    def _state(self) -> State:
        """As written; never below what is served: the power may have gone between the link and the file."""
        state, runs = read_state(self.home), self._runs()
        if runs is not None:
            state.sequence = max(state.sequence, runs.sequence)
        return state
