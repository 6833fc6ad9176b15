"""Objects on this machine's disk, by digest: fetched once, verified, bounded; jobs get hard links."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from pathlib import Path

from sartor_platform import fault_points
from sartor_platform.objects import ObjectReference, ObjectStore


class ObjectCache:
    """Verified copies of objects in one folder, at most `limit_bytes`; the least recently used go first.

    A file that is linked elsewhere does not count: taking it away here would free nothing, and the next who
    asks would get a second copy, on disk and in memory.
    """

    def __init__(self, objects: ObjectStore, folder: Path, limit_bytes: int) -> None:
        self._objects = objects
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()

    def fetch(self, reference: ObjectReference, folder: Path) -> Path:
        """A verified copy inside `folder`, named by its digest; raises as `ObjectStore.get_file`."""
        wanted = folder / reference.sha256
        if wanted.exists():
            return wanted
        folder.mkdir(parents=True, exist_ok=True)
        kept = self._folder / reference.sha256[:2] / reference.sha256
        for _ in range(2):
            if not self._intact(kept, reference):
                self._objects.get_file(reference, kept)
                kept.chmod(0o444)
                self._shrink(keep=kept)
            try:
                _link(kept, wanted)
            except FileNotFoundError:
                continue  # another process made room in between
            return wanted
        return self._objects.get_file(reference, wanted)

    def _intact(self, path: Path, reference: ObjectReference) -> bool:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.utime(path)
        except FileNotFoundError:
            return False
        if digest == reference.sha256 or fault_points.switched_off(fault_points.DIGEST_CHECK):
            return True
        path.unlink(missing_ok=True)
        return False

    def _shrink(self, keep: Path) -> None:
        with self._lock:
            found = []
            for path in self._folder.glob("*/*"):
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    if status.st_nlink == 1:
                        found.append((status.st_mtime, status.st_size, path))
            total = sum(size for _, size, _ in found)
            for _, size, path in sorted(found):
                if total <= self._limit_bytes:
                    return
                if path != keep:
                    path.unlink(missing_ok=True)
                    total -= size


def _link(kept: Path, wanted: Path) -> None:
    try:
        os.link(kept, wanted)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError:  # the folders lie on different file systems
        shutil.copyfile(kept, wanted)
