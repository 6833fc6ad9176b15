"""Where devices look for the newest bundle: a folder served by any web server or bucket.

channel.json (signed, as channel.sig) names the newest revision and its sequence number; bundles lie below
`revisions/`. A device never takes a sequence that is not higher than its own, so an old bundle, though well
signed, cannot be played back to it. Where rings.json is there too (rings.py), it comes first.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from sartor_edge.bundle import MANIFEST, BadBundle, Manifest, digest, verify_bundle
from sartor_edge.signing import WrongSignature, sign, verify

CHANNEL, CHANNEL_SIGNATURE = "channel.json", "channel.sig"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest revision of a channel, and the digest of its manifest."""

    revision: str
    sequence: int
    manifest_sha256: str


def publish(bundle: Path, channel: Path, private_key: Path, public_key: Path) -> Head:
    """Put a bundle into a channel and make it the newest.

    Raises:
        WrongSignature, BadBundle, UnusableKey: nothing was published.
    """
    manifest = verify_bundle(bundle, public_key)
    _check_newer(channel, manifest.settings.sequence, digest(bundle / MANIFEST), public_key)
    head = place(bundle, channel, manifest)
    point(channel, head, private_key)
    return head


def place(bundle: Path, channel: Path, manifest: Manifest) -> Head:
    """Copy a bundle below `revisions/`, where no device takes it yet.

    A revision that was bundled again, with a higher sequence, lies beside the first: somebody may fetch that.
    """
    sha256 = digest(bundle / MANIFEST)
    name = manifest.settings.revision.replace("/", "_")
    there = channel / "revisions" / name / MANIFEST
    if there.exists() and digest(there) != sha256:
        name = f"{name}.s{manifest.settings.sequence}"
    target = channel / "revisions" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(bundle, target)
    return Head(name, manifest.settings.sequence, sha256)


def point(channel: Path, head: Head, private_key: Path) -> None:
    """Make a bundle the newest."""
    data = (json.dumps(asdict(head), indent=2) + "\n").encode()
    # The signature first: a device that looks in between finds a pair that does not fit, and comes again.
    for file, content in ((CHANNEL_SIGNATURE, sign(private_key, data)), (CHANNEL, data)):
        part = channel / f".{file}.part"
        part.write_bytes(content)
        os.replace(part, channel / file)


def _check_newer(channel: Path, sequence: int, manifest_sha256: str, public_key: Path) -> None:
    """Refuse what no device would take: they only go up."""
    try:
        now = read_head(
            (channel / CHANNEL).read_bytes(), (channel / CHANNEL_SIGNATURE).read_bytes(), public_key
        )
    except (FileNotFoundError, WrongSignature, BadBundle):
        return  # nothing that a device would follow
    if sequence < now.sequence or (sequence == now.sequence and manifest_sha256 != now.manifest_sha256):
        raise BadBundle(
            f"the channel is at sequence {now.sequence}, so no device would take {sequence}: make the bundle"
            f" with `sartor deploy bundle --sequence {now.sequence + 1}`"
        )


def read_head(data: bytes, signature: bytes, public_key: Path) -> Head:
    """The newest revision, if its signature is right.

    Raises:
        WrongSignature, UnusableKey, BadBundle.
    """
    verify(public_key, data, signature, "the channel")
    try:
        return checked(Head(**json.loads(data)))
    except (ValueError, TypeError) as error:
        raise BadBundle(f"the channel cannot be read: {error}") from error


def checked(head: Head) -> Head:
    """The same, if it stays in its folder.

    Raises:
        BadBundle.
    """
    if Path(head.revision).name != head.revision or head.revision.startswith("."):
        raise BadBundle(f"the channel names a revision outside its folder: {head.revision!r}")
    return head
