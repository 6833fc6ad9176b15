"""Shards that an attempt has prepared: kept in the object store, so that the next attempt goes on from them.

One tar a shard, named by a row until the curation has ended; then the rows go, and the sweep takes the
objects. A shard is used only where its digest is right, and the work itself looks at the fingerprint in its
note: what was made from something else is made again.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

from sartor_datasets.manifests import ObjectReference
from sartor_platform import fault_points, log
from sartor_platform.errors import DigestMismatch, ObjectNotFound
from sartor_platform.worker import JobContext

from sartor_curation import store

_STAGE = Path("shards") / "prepared"


def keep(context: JobContext, number: int) -> None:
    """Upload the files of a prepared shard, and remember them while the curation has not ended."""
    folder = context.folder / _STAGE
    packed = context.folder / f"shard-{number:05d}.tar"
    with tarfile.open(packed, "w") as tar:
        for path in sorted(folder.glob(f"{number:05d}.*")):
            tar.add(path, path.name)
    reference = context.put_for_later_attempts(packed, f"prepared/{number:05d}.tar")
    packed.unlink()
    fault_points.at("after_checkpoint_upload_before_row", attempt=context.job.attempt)
    with context.runtime.database.transaction() as tx:
        store.add_finished_shard(tx, context.job.resource, number, reference)


def stage_in(context: JobContext, shards: Mapping[int, ObjectReference]) -> None:
    """Put the shards where the work looks for them; one that is lost or damaged is left to be made again."""
    folder = context.folder / _STAGE
    folder.mkdir(parents=True)
    for done, (number, reference) in enumerate(shards.items(), 1):
        packed = context.folder / f"shard-{number:05d}.tar"
        try:
            context.runtime.objects.get_file(reference, packed)
        except (ObjectNotFound, DigestMismatch) as error:
            log.get().warning("curation.shard_not_resumed", number=number, error=error.message)
            continue
        _unpack(packed, folder, number)
        packed.unlink()
        context.report(0.05, stage="fetch", message=f"finished shard {done} of {len(shards)}")


def _unpack(packed: Path, folder: Path, number: int) -> None:
    """The files of the shard, its note last: without one it counts as not done."""
    with tarfile.open(packed) as tar:
        members = [one for one in tar.getmembers() if one.isfile() and one.name.startswith(f"{number:05d}.")]
        for member in sorted(members, key=lambda one: one.name.endswith(".json")):
            tar.extract(member, folder, filter="data")
