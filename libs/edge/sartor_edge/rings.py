"""Which bundle goes to whom: rings of devices, from a few to all, in one sealed file of the channel.

rings.json lists the rings from the first to `all`. A share counts the rings before it too: with canary 5 and
early 25, a twentieth of the devices are canaries, and what is given to early reaches a quarter. A device's
place comes from its id, so it keeps it, and a larger share keeps all who are in. The *edition* of the file
only rises, and a device follows none below what it has seen: its owner can give a ring an earlier bundle
again, but nobody can play one back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sartor_edge.bundle import BadBundle
from sartor_edge.channel import CHANNEL, CHANNEL_SIGNATURE, Head, checked, read_head
from sartor_edge.download import Downloads, NoNetwork
from sartor_edge.signing import seal, unseal

RINGS, LAST = "rings.json", "all"
_FORMAT = 1
_KEPT = 10


class BadRings(Exception):
    """Rings cannot be so, or there is no such ring; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Ring:
    """Devices that get the same bundle. `share`: percent of all devices, with those of earlier rings.

    `head`: what they get, since `since` (Unix seconds), and `why`. `before`: what they had, latest first.
    """

    name: str
    share: float
    head: Head | None = None
    since: float = 0.0
    why: str = ""
    before: tuple[Head, ...] = ()

    def given(self, head: Head | None, now: float, why: str) -> Ring:
        """The same ring with another bundle."""
        return replace(self, head=head, since=now, why=why, before=self.all_heads()[:_KEPT])

    def back(self, recalled: Collection[Head], now: float, why: str) -> Ring:
        """The same ring with the last bundle before that was not called back, or with none."""
        good = [each for each in self.before if each not in recalled]
        return replace(self, head=good[0] if good else None, since=now, why=why, before=tuple(good[1:]))

    def all_heads(self) -> tuple[Head, ...]:
        """What it gives and gave."""
        return self.before if self.head is None else (self.head, *self.before)


@dataclass(frozen=True, slots=True)
class Rings:
    """All rings, the first first. `highest`: sequence published; `recalled`: what nobody gets again."""

    edition: int
    rings: tuple[Ring, ...]
    highest: int = 0
    recalled: tuple[Head, ...] = ()

    def __post_init__(self) -> None:
        shares = [each.share for each in self.rings]
        names = [each.name for each in self.rings]
        if not names or names[-1] != LAST or shares[-1] != 100.0 or len(set(names)) != len(names):
            raise BadRings(f"rings have different names and end with {LAST}, which has everybody: {names}")
        if shares != sorted(shares) or shares[0] < 0:
            raise BadRings("shares are percent of all devices, each with the rings before it: they must rise")

    def ring(self, name: str) -> Ring:
        """The ring of this name.

        Raises:
            BadRings: with those there are.
        """
        for each in self.rings:
            if each.name == name:
                return each
        raise BadRings(
            f"the channel has no ring {name!r}; it has {', '.join(each.name for each in self.rings)}"
        )

    def of(self, device: str, asked: str = "") -> Ring:
        """A device's ring: the one it asks for, or by its place among all.

        Raises:
            BadRings: it asks for one that is not there.
        """
        if asked:
            return self.ring(asked)
        place = int(hashlib.sha256(device.encode()).hexdigest()[:12], 16) / 16**12 * 100
        return next(each for each in self.rings if place < each.share)

    def after(self, name: str) -> Ring | None:
        """The next larger ring, or None."""
        names = [each.name for each in self.rings]
        at = names.index(self.ring(name).name) + 1
        return self.rings[at] if at < len(names) else None

    def sealed(self, private_key: Path) -> bytes:
        """As a signed file."""
        return seal(private_key, {"format": _FORMAT, "kind": "rings", **asdict(self)})


@dataclass(frozen=True, slots=True)
class Offer:
    """What the channel has for one device. Edition 0: it has no rings. `recalled`: what nobody gets again."""

    head: Head | None
    ring: str = ""
    edition: int = 0
    recalled: tuple[Head, ...] = ()


def read_rings(data: bytes, public_key: Path) -> Rings:
    """The rings, if the signature is right.

    Raises:
        WrongSignature, UnusableKey, BadBundle, BadRings.
    """
    value, _ = unseal(data, f"the channel's {RINGS}", public_key)
    try:
        if value["kind"] != "rings" or value["format"] != _FORMAT:
            raise BadBundle(f"this updater reads {RINGS} of format {_FORMAT}; bring it up to date")
        return Rings(
            int(value["edition"]),
            tuple(_ring(each) for each in value["rings"]),
            int(value["highest"]),
            tuple(checked(Head(**each)) for each in value["recalled"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBundle(f"the channel's {RINGS} cannot be read: {error!r}") from error


def offered(channel: Downloads, public_key: Path, device: Callable[[], str], asked: str, seen: int) -> Offer:
    """What the channel has for this device. `device`: gives its id; `seen`: the highest edition it followed.

    Raises:
        NoNetwork: also where rings were there before and are not now.
        WrongSignature, UnusableKey, BadBundle, BadRings.
    """
    data = channel.optional(RINGS)
    if data is None:
        if seen:
            raise NoNetwork(
                f"the channel had rings (edition {seen}) and has none now; it is looked at next time"
            )
        return Offer(read_head(channel.small(CHANNEL), channel.small(CHANNEL_SIGNATURE), public_key))
    rings = read_rings(data, public_key)
    if rings.edition < seen:
        raise NoNetwork(f"the channel shows rings of edition {rings.edition}; {seen} was seen here already")
    ring = rings.of(device(), asked)
    return Offer(ring.head, ring.name, rings.edition, rings.recalled)


def _ring(value: Mapping[str, Any]) -> Ring:
    head = value["head"]
    return Ring(
        str(value["name"]),
        float(value["share"]),
        None if head is None else checked(Head(**head)),
        float(value["since"]),
        str(value["why"]),
        tuple(checked(Head(**each)) for each in value["before"]),
    )
