"""Models by manifest into a folder: a base model once, into a cache by digest. Standard library only."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from sartor_datasets.manifests import BaseModelManifest, ManifestFile, ObjectReference


def stage_files(
    fetch: Callable[[ObjectReference], Path], files: Iterable[ManifestFile], folder: Path
) -> Path:
    """Put `files` under `folder` at their paths; hard links where the file system allows, else copies.

    Args:
        fetch: gives the verified local file of an object; it must not be changed afterwards.
    """
    for file in files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = fetch(file.object)
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, target)
    return folder


def stage_base_model(
    fetch: Callable[[ObjectReference], Path], manifest: BaseModelManifest, cache_folder: Path
) -> Path:
    """The folder `{cache_folder}/{digest}` with all files of a base model, made if it is not there yet.

    The folder appears whole or not at all, so two processes may stage the same model at once.
    """
    target = cache_folder / manifest.digest
    if target.is_dir():
        return target
    cache_folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{manifest.digest[:16]}-", dir=cache_folder))
    try:
        stage_files(fetch, manifest.files, partial)
        partial.chmod(0o755)
        os.rename(partial, target)
    except OSError:
        if not target.is_dir():  # not merely lost the race to another process
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
