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
import http.client
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sartor_edge.bundle import MANIFEST, SIGNATURE, BadBundle, Manifest, digest, read_manifest, verify_bundle
from sartor_edge.channel import CHANNEL, CHANNEL_SIGNATURE, Head, read_head
from sartor_edge.engine import EngineFailed, check, running
from sartor_edge.signing import WrongSignature

_CHUNK = 2**18
_SPARE_BYTES = 64 * 2**20
_MOST_SMALL = 4 * 2**20


class NoNetwork(Exception):
    """The channel cannot be reached now; the device serves what it has."""


class NoSpace(Exception):
    """The disk cannot hold the new bundle; the message has the numbers."""


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
        self._url = channel_url.rstrip("/")
        self._key = public_key
        self._timeout = timeout_seconds

    @property
    def current(self) -> Path | None:
        """The bundle that is served, or None."""
        return self._linked("current")

    def update(self) -> Outcome:
        """Look for a newer bundle and take it, if it is well signed, whole, and answers as it should here.

        Raises:
            NoNetwork, NoSpace: nothing changed; what was fetched is kept, and fetched on next time.
        """
        state = self._state()
        try:
            head = read_head(self._small(CHANNEL), self._small(CHANNEL_SIGNATURE), self._key)
            anew = head.sequence == state.sequence and head.revision == state.damaged
            if head.sequence <= state.sequence and not anew:
                return Outcome("CURRENT", head.revision, f"sequence {state.sequence} was taken already")
            if head.manifest_sha256 in state.failed:
                return Outcome("REFUSED", head.revision, state.failed[head.manifest_sha256])
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
        base = f"revisions/{head.revision}"
        data, signature = self._small(f"{base}/{MANIFEST}"), self._small(f"{base}/{SIGNATURE}")
        manifest = read_manifest(data, signature, self._key)
        if manifest.settings.sequence != head.sequence:
            raise BadBundle("the channel and the manifest name different sequences")
        self._check_space(folder, manifest)
        for name, (sha256, size) in manifest.files.items():
            self._file(f"{base}/{name}", folder / name, sha256, size)
        (folder / MANIFEST).write_bytes(data)
        (folder / SIGNATURE).write_bytes(signature)
        if digest(folder / MANIFEST) != head.manifest_sha256:
            raise BadBundle("the channel names another manifest")
        (folder / "start.sh").chmod(0o755)
        return folder

    def _check_space(self, folder: Path, manifest: Manifest) -> None:
        there = sum(path.stat().st_size for path in folder.iterdir())
        free = shutil.disk_usage(folder).free
        missing = manifest.size_bytes - there + _SPARE_BYTES
        if free < missing:
            raise NoSpace(
                f"the new revision needs {missing / 1e6:.0f} MB more, {free / 1e6:.0f} MB are free;"
                " the current one serves on"
            )

    def _file(self, path: str, target: Path, sha256: str, size: int) -> None:
        if target.exists() and target.stat().st_size == size and digest(target) == sha256:
            return
        part = target.with_name(target.name + ".part")
        have = part.stat().st_size if part.exists() else 0
        if have > size:
            part.unlink()
            have = 0
        if have < size:
            self._download(path, part, have, size)
        if digest(part) != sha256:
            part.unlink()
            raise BadBundle(f"{target.name} arrived changed: its digest is not the manifest's")
        os.replace(part, target)

    def _download(self, path: str, part: Path, have: int, size: int) -> None:
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._open(path, headers) as answer:
            resumed = answer.status == 206
            with part.open("ab" if resumed else "wb") as file:
                left = size - (have if resumed else 0)
                try:
                    while left > 0 and (chunk := answer.read(min(_CHUNK, left))):
                        file.write(chunk)
                        left -= len(chunk)
                except (OSError, http.client.HTTPException) as error:
                    raise NoNetwork(
                        f"the network went while {path} was fetched; it goes on next time"
                    ) from error
                finally:
                    file.flush()
                    os.fsync(file.fileno())
        if left:
            raise NoNetwork(f"{path} broke off with {left} bytes to go; it goes on next time")

    def _small(self, path: str) -> bytes:
        with self._open(path, {}) as answer:
            try:
                return bytes(answer.read(_MOST_SMALL))
            except (OSError, http.client.HTTPException) as error:
                raise NoNetwork(f"the network went while {path} was fetched") from error

    @contextlib.contextmanager
    def _open(self, path: str, headers: dict[str, str]) -> Iterator[Any]:
        request = urllib.request.Request(f"{self._url}/{path}", headers=headers)  # noqa: S310 - set by its owner
        try:
            answer = urllib.request.urlopen(request, timeout=self._timeout)  # noqa: S310
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise NoNetwork(f"{self._url}/{path} cannot be fetched: {error}") from error
        with answer:
            yield answer

    def _swap(self, folder: Path, head: Head) -> None:
        target = self.home / "revisions" / head.revision
        target.parent.mkdir(exist_ok=True)
        before = self.current
        if target.exists():  # the disk damaged it
            shutil.rmtree(target)
        os.replace(folder, target)
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
        with part.open("w", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.home / "state.json")


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
