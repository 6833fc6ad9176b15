"""Alembic migrations of one service's schema, run under an advisory lock, without an env.py in each service.

A service keeps numbered files `v0001_….py` in its package's `migrations` folder, each with `revision`,
`down_revision`, `upgrade()` and `downgrade()`. Alembic is imported only where there is something to do.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from sartor_platform import log
from sartor_platform.database import Database, take_time
from sartor_platform.platform_tables import (
    create_platform_tables_v1,
    create_platform_tables_v2,
    drop_platform_tables_v1,
    drop_platform_tables_v2,
)

__all__ = [
    "create_platform_tables_v1",
    "create_platform_tables_v2",
    "drop_platform_tables_v1",
    "drop_platform_tables_v2",
    "is_current",
    "upgrade",
]

_REVISION = re.compile(r"^(revision|down_revision)\b[^=]*=\s*[\"']([^\"']+)[\"']", re.MULTILINE)


def upgrade(database_url: str, package: str, *, schema: str = "") -> None:
    """Bring a service's schema to the newest revision of its package; many may call it at once.

    The schema is named after the package (`sartor_training` has `training`) unless one is given.
    """
    database = Database(database_url, schema or package.removeprefix("sartor_"))
    key = {"key": f"sartor.migrations.{database.schema}"}
    try:
        with database.read() as connection:
            connection.execute(text("SET statement_timeout = 0"))
            take_time(connection)
            connection.execute(text("SELECT pg_advisory_lock(hashtext(:key))"), key)
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{database.schema}"'))
            connection.commit()
            _run(connection, database.schema, _folder(package))
            connection.commit()
    finally:
        database.close()  # and with the session goes the lock


def is_current(database: Database, package: str) -> bool:
    """Whether the schema is at the newest revision already, or at one of a later release.

    A later one is only ever added to, so that this release can run beside the next. Cheap: reads the files'
    heads, not Alembic.
    """
    table = f'"{database.schema}".alembic_version'
    with database.read() as connection:
        known = connection.execute(
            text("SELECT to_regclass(:table) IS NOT NULL"), {"table": table}
        ).scalar_one()
        if not known:
            return False
        at = set(connection.execute(text(f"SELECT version_num FROM {table}")).scalars())  # noqa: S608 - our own name
    known, heads = _revisions(_folder(package))
    return at == heads or not at <= known


def _run(connection: Connection, schema: str, folder: Path) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(folder, version_locations=[folder])

    def steps(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), script, fn=steps, destination_rev="head") as environment:
        environment.configure(connection=connection, version_table_schema=schema)
        with environment.begin_transaction():
            environment.run_migrations()
    log.get().info("migrations.done", schema=schema, revision=",".join(script.get_heads()))


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"{package} is not installed, so its migrations cannot be found", name=package
        )
    return Path(next(iter(spec.submodule_search_locations))) / "migrations"


def _revisions(folder: Path) -> tuple[set[str], set[str]]:
    """All revisions, and those that no other comes after."""
    revisions: set[str] = set()
    parents: set[str] = set()
    for file in folder.glob("*.py"):
        found = dict(_REVISION.findall(file.read_text(encoding="utf-8")))
        if "revision" in found:
            revisions.add(found["revision"])
            parents.add(found.get("down_revision", ""))
    return revisions, revisions - parents
