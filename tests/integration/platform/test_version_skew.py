"""A service of one release beside one of the next: each reads the other's events, and nobody repeats them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from grpc_tools import protoc
from sartor.training.v1.training_events_pb2 import BaseModelReady
from sartor_platform.database import Database
from sartor_platform.migrations import is_current, upgrade
from sqlalchemy import text

from tests.integration.platform.conftest import Platform, Seen, read_all, until
from tests.integration.platform.test_events import READY
from tests.integration.platform.test_processes import PACKAGE, ROOT

NEW_FIELD = "string quantization = 900;"
NEW_TYPE = "message BaseModelRetired { string base_model = 1; }"


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated code of a release whose event has another field, and that has another event."""
    folder = tmp_path_factory.mktemp("next")
    sources, made = folder / "protos", folder / "made"
    shutil.copytree(ROOT / "protos" / "sartor", sources / "sartor")
    made.mkdir()
    path = sources / "sartor/training/v1/training_events.proto"
    known = path.read_text()
    changed = known.replace("message BaseModelReady {", f"message BaseModelReady {{ {NEW_FIELD}")
    assert changed != known
    path.write_text(f"{changed}\n{NEW_TYPE}\n")
    training = sources.glob("sartor/training/v1/*events.proto")
    wanted = [*sources.glob("sartor/common/v1/*.proto"), *training]
    files = [str(file.relative_to(sources)) for file in wanted]
    well_known = resources.files("grpc_tools") / "_proto"
    assert protoc.main(["protoc", f"-I{sources}", f"-I{well_known}", f"--python_out={made}", *files]) == 0
    for inner in [path for path in made.rglob("*") if path.is_dir()]:
        (inner / "__init__.py").touch()
    return made


def test_events_of_the_next_release_are_read_and_never_repeated(
    platform: Platform, seen: Seen, fresh_stack: Any, next_release: Path
) -> None:
    """Unknown fields are ignored, unknown types are passed over, and our outbox has only ours."""
    later = Platform(platform.settings, f"n{platform.service}", platform._stack)
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.platform.next_release"],
        env={
            **os.environ, **fresh_stack.environment(), "NEXT_SERVICE": later.service,
            "PYTHONPATH": f"{next_release}{os.pathsep}{ROOT}",
            "OLDER_EVENT": BaseModelReady(base_model="older").SerializeToString().hex(),
        },
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"base_model": "older", "quantization": ""}
    sent = {dict(record.headers)["ce_type"]: json.loads(record.value)
            for record in read_all(platform.settings, later.topic, 2)}  # fmt: skip
    assert sent[READY.encode()]["quantization"] == "int8"
    assert set(sent) == {READY.encode(), b"sartor.training.v1.BaseModelRetired"}

    def handler(tx: Any, event: Any) -> None:
        seen(tx, event)
        tx.publish(BaseModelReady(base_model="ours"), subject="ours", run=event.run)

    platform.relay()
    platform.consumer({READY: handler}, [later.topic])
    until(lambda: platform.rows("SELECT 1 FROM outbox WHERE published_time IS NOT NULL"))
    assert seen.events[0].message.base_model == "projects/p/baseModels/b"
    (ours,) = platform.rows("SELECT source, subject, topic FROM outbox")
    assert (ours.source, ours.subject, ours.topic) == (f"/sartor/{platform.service}", "ours", platform.topic)
    with platform.database.transaction() as tx:
        tx.connection.execute(text("UPDATE relay_topics SET topic_id = 'lost'"))
    # As when the broker lost its log: what is retained is published again.
    records = until(lambda: read_all(platform.settings, platform.topic, 2))
    assert {dict(record.headers)["ce_source"] for record in records} == {
        f"/sartor/{platform.service}".encode()
    }
    assert len(read_all(platform.settings, later.topic, 2)) == 2
    assert not platform.rows("SELECT 1 FROM dead_letters")


def test_a_schema_of_the_next_release_does_not_keep_this_one_from_starting(fresh_stack: Any) -> None:
    """Migrations only add: a replica of this release may start beside those of the next."""
    database = Database(fresh_stack.database_url, "skewed")
    try:
        assert not is_current(database, PACKAGE)
        upgrade(fresh_stack.database_url, PACKAGE, schema="skewed")
        assert is_current(database, PACKAGE)
        with database.transaction() as tx:
            tx.connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
        assert not is_current(database, PACKAGE)
        with database.transaction() as tx:
            tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        assert is_current(database, PACKAGE)
    finally:
        database.close()
