"""The data folder: where everything of one stack lives, and the checks that it can."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from sartor_local.faults import DiskFull, FolderRefused

NEEDED_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets of one stack, made once and kept in the data folder, readable by its owner only."""

    database_password: str
    s3_access_key: str
    s3_secret_key: str


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Paths inside one data folder. Nothing of the stack lies outside of it."""

    root: Path

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def temporary(self) -> Path:
        """TMPDIR of every child."""
        return self.root / "tmp"

    @property
    def work(self) -> Path:
        """Work folders of jobs and the shared model cache (SARTOR_DATA_DIR of the services)."""
        return self.root / "work"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def state_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "supervisor.lock"

    @property
    def credentials_file(self) -> Path:
        return self.root / "credentials.json"

    @property
    def ports_file(self) -> Path:
        return self.root / "ports.json"

    def log_of(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def open_folder(path: Path, needed_bytes: int = NEEDED_BYTES) -> DataFolder:
    """Makes the folder's rooms if they are missing and checks that the stack can live there.

    Raises:
        FolderRefused: it cannot be written.
        DiskFull: fewer than `needed_bytes` are free.
    """
    folder = DataFolder(path.expanduser().resolve())
    try:
        for room in (folder.root, folder.logs, folder.temporary, folder.work, folder.reports, folder.objects):
            room.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderRefused(
            folder.root, f"{error.strerror or error}. Choose another one with --data-dir."
        ) from error
    if not os.access(folder.root, os.W_OK | os.X_OK):
        raise FolderRefused(
            folder.root, "it cannot be written by this user. Choose another one with --data-dir."
        )
    free = shutil.disk_usage(folder.root).free
    if free < needed_bytes:
        raise DiskFull(folder.root, free, needed_bytes)
    return folder


def credentials(folder: DataFolder) -> Credentials:
    """The folder's secrets; made on the first call."""
    if folder.credentials_file.exists():
        return Credentials(**json.loads(folder.credentials_file.read_text()))
    made = Credentials(secrets.token_urlsafe(24), f"sartor{secrets.token_hex(7)}", secrets.token_urlsafe(30))
    write_private(folder.credentials_file, json.dumps(asdict(made)))
    return made


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(draft, path)
