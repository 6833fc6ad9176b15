"""Fixtures every test may use: one set of real servers a session, and a fresh database a module.

Point the tests at your own servers with SARTOR_DATABASE_URL, SARTOR_KAFKA_BOOTSTRAP_SERVERS and
SARTOR_S3_ENDPOINT (with _ACCESS_KEY and _SECRET_KEY); what is not named is started here on free loopback
ports and removed afterwards. Topics are shared by the session: use a project name of your own (`unique_name`)
to tell your events from others'.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import hypothesis
import pytest
from sartor_local.databases import create_database, drop_database, with_database
from sartor_local.embedded import EmbeddedServers

# What torch and transformers make stays: looking through it for garbage took a tenth of the unit tests' time.
gc.set_threshold(100_000, 50, 50)
# How long one example takes says more of what else runs on this machine than of the code.
hypothesis.settings.register_profile("sartor", deadline=None)
hypothesis.settings.load_profile("sartor")


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers of this session are."""

    database_url: str
    kafka_bootstrap_servers: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    s3_bucket: str
    s3_secure: str
    folder: Path

    def environment(self) -> dict[str, str]:
        """The SARTOR_… variables with which a process of Sartor reaches these servers."""
        return {
            "SARTOR_DATABASE_URL": self.database_url,
            "SARTOR_KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "SARTOR_S3_ENDPOINT": self.s3_endpoint,
            "SARTOR_S3_ACCESS_KEY": self.s3_access_key,
            "SARTOR_S3_SECRET_KEY": self.s3_secret_key,
            "SARTOR_S3_BUCKET": self.s3_bucket,
            "SARTOR_S3_SECURE": self.s3_secure,
            "SARTOR_DATA_DIR": str(self.folder / "work"),
        }


def short_folder(prefix: str) -> Path:
    """A new temporary folder that other accounts may enter, as PostgreSQL needs when tests run as root."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def stack() -> Iterator[Servers]:
    """PostgreSQL, SeaweedFS and Tansu (or your own), up for the whole session."""
    folder = short_folder("sartor-tests-")
    try:
        with EmbeddedServers(folder) as servers:
            yield Servers(
                database_url=servers.database_url,
                kafka_bootstrap_servers=servers.kafka_bootstrap_servers,
                s3_endpoint=servers.s3_endpoint,
                s3_access_key=servers.s3_access_key,
                s3_secret_key=servers.s3_secret_key,
                s3_bucket=servers.s3_bucket,
                s3_secure=servers.s3_secure,
                folder=folder,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_database(stack: Servers) -> Iterator[Callable[[], str]]:
    """A function that makes an empty database and returns its URL; all of them are dropped at the end."""
    made: list[str] = []

    def make() -> str:
        name = f"test_{os.getpid()}_{uuid.uuid4().hex[:10]}"
        create_database(stack.database_url, name)
        made.append(name)
        return with_database(stack.database_url, name)

    yield make
    for name in made:
        drop_database(stack.database_url, name)


@pytest.fixture(scope="module")
def fresh_stack(stack: Servers, new_database: Callable[[], str]) -> Servers:
    """The session's servers with an empty database for this module alone."""
    return replace(stack, database_url=new_database())


@pytest.fixture
def unique_name() -> str:
    """A resource id nobody else uses, e.g. for a project."""
    return f"t{uuid.uuid4().hex[:12]}"
