"""Brings a bundle's files onto the device: resumed where the network went, within what the disk can hold."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sartor_edge.bundle import BadBundle, Manifest, digest

_CHUNK = 2**18
_SPARE_BYTES = 64 * 2**20
_MOST_SMALL = 4 * 2**20


class NoNetwork(Exception):
    """The channel cannot be reached now; the device serves what it has."""


class NoSpace(Exception):
    """The disk cannot hold the new bundle; the message has the numbers."""


class Downloads:
    """What lies below one URL. A file that broke off goes on from its `.part` file."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout_seconds

    def small(self, path: str) -> bytes:
        """A small file, whole.

        Raises:
            NoNetwork.
        """
        with self._open(path, {}) as answer:
            return _read(answer, _MOST_SMALL, path)

    def optional(self, path: str) -> bytes | None:
        """A small file, or None where the server has none. Buckets that may not be listed say 403 to that.

        Raises:
            NoNetwork.
        """
        try:
            return self.small(path)
        except NoNetwork as error:
            cause = error.__cause__
            if isinstance(cause, urllib.error.HTTPError) and cause.code in (403, 404, 410):
                return None
            raise

    def file(self, path: str, target: Path, sha256: str, size: int) -> None:
        """A file of this digest and size; where it is there already, nothing is fetched.

        Raises:
            NoNetwork, NoSpace: what came is kept, and goes on next time.
            BadBundle: it is another file.
        """
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
            left = size - (have if resumed else 0)
            try:
                with part.open("ab" if resumed else "wb") as file:
                    while left > 0 and (chunk := _read(answer, min(_CHUNK, left), path)):
                        file.write(chunk)
                        left -= len(chunk)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise NoSpace(
                    f"the disk was full with {left / 1e6:.0f} MB of {path} to go; the current one serves on."
                    " Make room; it goes on next time"
                ) from error
        if left:
            raise NoNetwork(f"{path} broke off with {left} bytes to go; it goes on next time")

    @contextlib.contextmanager
    def _open(self, path: str, headers: dict[str, str]) -> Iterator[Any]:
        try:
            request = urllib.request.Request(f"{self._url}/{path}", headers=headers)  # noqa: S310 - set by its owner
            answer = urllib.request.urlopen(request, timeout=self._timeout)  # noqa: S310
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise NoNetwork(f"{self._url}/{path} cannot be fetched: {error}") from error
        except ValueError as error:
            raise NoNetwork(f"{self._url} is no address to fetch from: {error}; write https://…") from error
        with answer:
            yield answer


def check_space(folder: Path, manifest: Manifest) -> None:
    """Whether what is missing in `folder` fits onto its disk.

    Raises:
        NoSpace: with the numbers.
    """
    there = sum(path.stat().st_size for path in folder.iterdir())
    free = shutil.disk_usage(folder).free
    missing = manifest.size_bytes - there + _SPARE_BYTES
    if free < missing:
        raise NoSpace(
            f"the new revision needs {missing / 1e6:.0f} MB more, {free / 1e6:.0f} MB are free;"
            " the current one serves on"
        )


def _read(answer: Any, most: int, path: str) -> bytes:
    try:
        return bytes(answer.read(most))
    except (OSError, http.client.HTTPException) as error:
        raise NoNetwork(f"the network went while {path} was fetched; it goes on next time") from error
