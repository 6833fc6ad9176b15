"""The operator's side of rings: give a bundle to the first ring, move it on ring by ring, call it back.

Each step writes rings.json once, by one rename, with the next edition; so a step is made whole or not at all,
and may be asked for again. channel.json follows the last ring, for devices whose updater knows no rings.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sartor_edge.bundle import MANIFEST, BadBundle, digest, verify_bundle
from sartor_edge.channel import CHANNEL, CHANNEL_SIGNATURE, Head, place, point, read_head
from sartor_edge.rings import LAST, RINGS, BadRings, Ring, Rings, read_rings
from sartor_edge.state import sync_folder, write_synced

_RECALLED_KEPT = 50


@dataclass(frozen=True, slots=True)
class Move:
    """A bundle that a ring got: from the ring before it, or given back to it."""

    revision: str
    ring: str


class Staging:
    """A channel's folder with rings, and the keys of its owner."""

    def __init__(self, channel: Path, private_key: Path, public_key: Path) -> None:
        self._channel, self._private, self._public = channel, private_key, public_key

    def set_shares(self, shares: Mapping[str, float]) -> Rings:
        """Set the rings before `all`, the first first. A new ring begins with what the next larger one has.

        Raises:
            BadRings, WrongSignature, UnusableKey, BadBundle: nothing was changed.
        """
        with self._alone():
            rings, now = self.read_or_first(), time.time()
            known = {each.name: each for each in rings.rings}
            made: list[Ring] = [known[LAST]]
            for name, share in reversed(list(shares.items())):
                if name == LAST:
                    raise BadRings(f"{LAST} has everybody; name the rings before it")
                new = Ring(name, share, made[-1].head, now, f"as {made[-1].name}")
                made.append(replace(known.get(name, new), share=share))
            return self._write(replace(rings, rings=tuple(reversed(made))))

    def publish(self, bundle: Path, ring: str = "") -> Move:
        """Put a bundle into the channel and give it to a ring (else the first) and those before it.

        Raises:
            BadBundle: also where its sequence is not above all that was published.
            BadRings, WrongSignature, UnusableKey: nothing was published.
        """
        manifest = verify_bundle(bundle, self._public)
        with self._alone():
            rings, now = self.read(), time.time()
            to, sha256 = rings.ring(ring or rings.rings[0].name), digest(bundle / MANIFEST)
            if any(each.manifest_sha256 == sha256 for each in rings.recalled):
                raise BadBundle(f"{manifest.settings.revision} was called back; bundle it anew to publish it")
            if to.head is not None and to.head.manifest_sha256 == sha256:
                return Move(to.head.revision, to.name)
            known = {old.manifest_sha256 for each in rings.rings for old in each.all_heads()}
            if manifest.settings.sequence <= rings.highest and sha256 not in known:
                raise BadBundle(
                    f"the channel has had sequence {rings.highest}: make the bundle with"
                    f" `sartor deploy bundle --sequence {rings.highest + 1}`"
                )
            head = place(bundle, self._channel, manifest)
            reached = rings.rings[: rings.rings.index(to) + 1]
            given = tuple(each.given(head, now, "published") for each in reached)
            highest = max(rings.highest, head.sequence)
            self._write(replace(rings, rings=given + rings.rings[len(given) :], highest=highest))
            return Move(head.revision, to.name)

    def promote(self, ring: str, head: Head, why: str) -> Move | None:
        """Give what a ring has to the next larger one. None where that has it already.

        Args:
            head: what was judged. Where the ring has another by now, nothing is done.
        Raises:
            BadRings: there is no such ring, it is the last, or it has another bundle by now.
        """
        with self._alone():
            rings = self.read()
            to = rings.after(ring)
            if to is None:
                raise BadRings(f"{ring} is the last ring: there is none to promote to")
            if rings.ring(ring).head != head:
                raise BadRings(f"{ring} was given another bundle meanwhile; look again")
            if to.head == head:
                self._follow(rings)
                return None
            given = to.given(head, time.time(), why)
            self._write(_with(rings, [given]))
            return Move(head.revision, to.name)

    def recall(self, revision: str, why: str = "called back") -> Sequence[Move]:
        """Take a bundle from every ring that gives it; each gives again what it gave before.

        Nobody can be given it again by `promote` or `publish`. What was called back already is no error.
        Raises:
            BadRings: no ring gives it, or ever gave it.
        """
        with self._alone():
            rings, now = self.read(), time.time()
            known = {old for each in rings.rings for old in each.all_heads()} | set(rings.recalled)
            meant = {each for each in known if each.revision == revision}
            if not meant:
                names = ", ".join(sorted({each.revision for each in known})) or "none"
                raise BadRings(f"no ring gave {revision!r}; they gave {names}")
            recalled = (*rings.recalled, *(meant - set(rings.recalled)))
            changed = [
                each.back(recalled, now, f"{revision}: {why}") for each in rings.rings if each.head in meant
            ]
            if changed or recalled != rings.recalled:
                self._write(replace(_with(rings, changed), recalled=recalled[-_RECALLED_KEPT:]))
            return [Move(each.head.revision if each.head else "", each.name) for each in changed]

    def read(self) -> Rings:
        """The rings as they are.

        Raises:
            BadRings: there are none.
            WrongSignature, UnusableKey, BadBundle.
        """
        path = self._channel / RINGS
        if not path.exists():
            raise BadRings(
                f"{self._channel} has no rings yet; begin: `python -m sartor_edge rings --set canary=5 …`"
            )
        return read_rings(path.read_bytes(), self._public)

    def read_or_first(self) -> Rings:
        """The rings as they are; where there are none, everybody in one."""
        if (self._channel / RINGS).exists():
            return self.read()
        head, since = None, 0.0
        with contextlib.suppress(FileNotFoundError):
            data, signature = ((self._channel / name).read_bytes() for name in (CHANNEL, CHANNEL_SIGNATURE))
            head = read_head(data, signature, self._public)
            since = (self._channel / CHANNEL).stat().st_mtime
        last = Ring(LAST, 100.0, head, since, "published")
        return Rings(0, (last,), head.sequence if head else 0)

    def _write(self, rings: Rings) -> Rings:
        rings = replace(rings, edition=rings.edition + 1)
        part = self._channel / f".{RINGS}.part"
        write_synced(part, rings.sealed(self._private))
        read_rings(part.read_bytes(), self._public)  # the private and the public key belong together
        os.replace(part, self._channel / RINGS)
        sync_folder(self._channel)
        self._follow(rings)
        return rings

    def _follow(self, rings: Rings) -> None:
        """Let channel.json name what the last ring has."""
        head, now = rings.ring(LAST).head, None
        with contextlib.suppress(FileNotFoundError):
            data, signature = ((self._channel / name).read_bytes() for name in (CHANNEL, CHANNEL_SIGNATURE))
            now = read_head(data, signature, self._public)
        if head is None:
            (self._channel / CHANNEL).unlink(missing_ok=True)
        elif head != now:
            point(self._channel, head, self._private)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """A timer and a person may come at once."""
        self._channel.mkdir(parents=True, exist_ok=True)
        with (self._channel / ".rings.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def has_rings(channel: Path) -> bool:
    """Whether a channel is staged."""
    return (channel / RINGS).exists()


def _with(rings: Rings, changed: Sequence[Ring]) -> Rings:
    new = {each.name: each for each in changed}
    return replace(rings, rings=tuple(new.get(each.name, each) for each in rings.rings))
