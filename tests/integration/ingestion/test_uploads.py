"""Files come in by gRPC, and standing orders are checked whole."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sartor.common.v1 import job_status_pb2
from sartor.ingestion.v1 import ingestion_service_pb2 as messages
from sartor.ingestion.v1 import project_pb2, source_pb2
from sartor_ingestion.__main__ import sweep_uploads
from sartor_ingestion.settings import IngestionSettings
from sartor_ingestion.store import uploads
from sartor_platform.database import Database
from sartor_platform.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from sartor_platform.grpc_client import call_errors
from sartor_platform.listen import Listener
from sartor_platform.objects import ObjectStore
from sartor_platform.runtime import Runtime
from sartor_platform.settings import read
from sartor_platform.watch import Watchers

from tests.integration.ingestion.conftest import Ingestion

ROWS = [
    {"id": f"k{i}", "text": f"Grüße {i}", "label": "a" if i % 2 else "b", "language": "de"} for i in range(50)
]


def as_jsonl() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def as_csv() -> bytes:
    lines = ["id;text;label;language", *(";".join(row.values()) for row in ROWS)]
    return "\r\n".join(lines).encode("utf-8-sig")


def as_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("file_name", "make"),
    [("rows.jsonl", as_jsonl), ("rows.csv", as_csv), ("rows.parquet", as_parquet), ("no name", as_parquet)],
    ids=["jsonl", "csv", "parquet", "parquet-seen-by-content"],
)
def test_the_same_rows_in_any_format_are_the_same_records(
    ingestion: Ingestion, unique_name: str, file_name: str, make: Callable[[], bytes]
) -> None:
    source = ingestion.apply(unique_name)
    found = ingestion.upload(source, make(), file_name)
    assert found.job.state == job_status_pb2.JOB_STATE_SUCCEEDED, found
    assert (found.accepted_count, found.rejected_count, found.unchanged_count) == (50, 0, 0)
    records = {record.record_key: record for record in ingestion.read(ingestion.seal(unique_name))}
    assert {key: (r.text, r.label, dict(r.attributes)) for key, r in records.items()} == {
        row["id"]: (row["text"], row["label"], {"language": "de"}) for row in ROWS
    }
    assert len({record.record_id for record in records.values()}) == 50


def test_a_text_file_is_a_document(ingestion: Ingestion, unique_name: str) -> None:
    found = ingestion.upload(ingestion.apply(unique_name), "Grüße\n".encode(), "letter.txt")
    assert found.format == source_pb2.DATA_FORMAT_TEXT
    (record,) = ingestion.read(ingestion.seal(unique_name))
    assert (record.kind, record.text) == ("document", "Grüße")
    assert record.position == f"{found.name}#1"


def test_chats_and_prompts_are_told_apart_row_by_row(ingestion: Ingestion, unique_name: str) -> None:
    rows = [
        {"id": 1, "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]},
        {"id": 2, "prompt": "q", "completion": "a"},
        {"id": 3, "text": "t", "label": "l"},
    ]
    data = "\n".join(json.dumps(row) for row in rows).encode()
    ingestion.upload(ingestion.apply(unique_name), data, "rows.jsonl")
    records = sorted(ingestion.read(ingestion.seal(unique_name)), key=lambda record: record.record_key)
    assert [record.kind for record in records] == ["chat", "chat", "labelled"]


def test_the_same_file_again_changes_nothing(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name, quiet_seconds=0.5)
    ingestion.upload(source, as_jsonl(), "rows.jsonl")
    ingestion.snapshot(unique_name, 1)
    found = ingestion.upload(source, as_jsonl(), "rows.jsonl")
    assert (found.accepted_count, found.unchanged_count) == (50, 50)
    ingestion.pending(unique_name, 0)
    assert len(ingestion.snapshots(unique_name)) == 1
    changed = as_jsonl().replace("Grüße 7".encode(), b"changed")
    assert ingestion.upload(source, changed, "rows.jsonl").unchanged_count == 49
    snapshot = ingestion.snapshot(unique_name, 2)
    assert (snapshot.added_count, snapshot.superseded_count, snapshot.record_count) == (0, 1, 50)
    assert len(ingestion.read(snapshot)) == 50


def test_a_repeated_upload_with_one_request_id_is_one_import(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    request_id = str(uuid.uuid4())
    first = ingestion.upload(source, as_jsonl(), "rows.jsonl", request_id=request_id)
    assert ingestion.upload(source, as_jsonl(), "rows.jsonl", request_id=request_id).name == first.name
    assert len(ingestion.imports(unique_name)) == 1
    objects = ingestion.objects.list_objects(
        ingestion.servers.s3_bucket, f"{unique_name}/uploads/", recursive=True
    )
    assert len(list(objects)) == 1
    with pytest.raises(InvalidArgument) as error, call_errors():
        ingestion.upload(source, b"{}", "rows.jsonl", request_id=request_id)
    assert error.value.reason == "REQUEST_ID_REUSED"


def test_bytes_with_another_digest_are_refused_and_not_kept(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    with pytest.raises(InvalidArgument) as error, call_errors():
        ingestion.upload(source, as_jsonl(), "rows.jsonl", sha256=hashlib.sha256(b"other").hexdigest())
    assert error.value.reason == "DIGEST_MISMATCH"
    objects = ingestion.objects.list_objects(ingestion.servers.s3_bucket, f"{unique_name}/", recursive=True)
    assert list(objects) == []


def test_what_a_killed_server_left_of_an_upload_is_swept(
    ingestion: Ingestion, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ingestion.upload(ingestion.apply(unique_name), as_jsonl(), "rows.jsonl").object.uri
    for name, value in ingestion.servers.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SARTOR_UPLOAD_GRACE_SECONDS", "0")
    settings = read(IngestionSettings)
    database, store = Database(settings.database_url, "ingestion"), ObjectStore(settings)
    runtime = Runtime(settings, database, store, Watchers(Listener(database)), "ingestion")
    try:
        key = f"{unique_name}/uploads/left"
        with database.transaction() as tx:
            uploads.begin(tx, store.uri(key))
        store.put_bytes(key, b"here the server was killed")
        sweep_uploads(runtime)
        assert [store.uri(each) for each in store.list_keys(f"{unique_name}/uploads/")] == [kept]
        with database.transaction() as tx:
            assert uploads.abandon(tx, 0) == []
    finally:
        database.close()


def test_an_upload_that_was_given_up_meanwhile_names_no_object(
    ingestion: Ingestion, unique_name: str
) -> None:
    database = Database(ingestion.servers.environment()["SARTOR_DATABASE_URL"], "ingestion")
    try:
        with database.transaction() as tx:
            uploads.begin(tx, f"s3://b/{unique_name}")
        with database.transaction() as tx:
            assert uploads.abandon(tx, 0) == [f"s3://b/{unique_name}"]
            assert not uploads.settle(tx, f"s3://b/{unique_name}")
            uploads.forget(tx, f"s3://b/{unique_name}")
    finally:
        database.close()


def test_an_upload_needs_a_header_and_a_known_source(ingestion: Ingestion, unique_name: str) -> None:
    with pytest.raises(InvalidArgument, match="header"), call_errors():
        ingestion.client.UploadRecords(iter([messages.UploadRecordsRequest(chunk=b"x")]))
    with pytest.raises(NotFound) as error, call_errors():
        ingestion.upload(f"projects/{unique_name}/sources/s", b"{}", "rows.jsonl")
    assert error.value.reason == "SOURCE_NOT_FOUND"


@pytest.mark.parametrize(
    ("data", "file_name", "reason"),
    [(b"PAR1 nonsense", "rows.parquet", "MALFORMED_PARQUET"), (b"", "rows.csv", "NO_HEADER")],
)
def test_a_file_that_cannot_be_read_fails_its_import_with_the_reason(
    ingestion: Ingestion, unique_name: str, data: bytes, file_name: str, reason: str
) -> None:
    found = ingestion.upload(ingestion.apply(unique_name), data, file_name)
    assert found.job.state == job_status_pb2.JOB_STATE_FAILED
    assert found.job.error.reason == reason
    assert "Traceback" not in found.job.error.message


def test_every_row_is_accepted_or_rejected_with_its_line(ingestion: Ingestion, unique_name: str) -> None:
    lines = [b'{"id": %d, "text": "ok"}' % i if i % 3 else b"{broken" for i in range(1, 301)]
    found = ingestion.upload(ingestion.apply(unique_name), b"\n".join(lines), "rows.jsonl")
    assert (found.accepted_count, found.rejected_count) == (200, 100)
    request = messages.ListRejectedRecordsRequest(parent=found.name, page_size=30)
    positions: list[str] = []
    while True:
        page = ingestion.client.ListRejectedRecords(request)
        positions += [rejected.position for rejected in page.rejected_records]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert sorted(positions) == sorted(f"{found.name}#{i}" for i in range(3, 301, 3))


def test_a_quota_bounds_an_import(ingestion: Ingestion, unique_name: str) -> None:
    found = ingestion.upload(ingestion.apply(unique_name, quota=20), as_jsonl(), "rows.jsonl")
    assert (found.accepted_count, found.rejected_count) == (20, 30)
    assert {rejected.reason for rejected in ingestion.rejected(found.name)} == {"QUOTA_EXCEEDED"}


def a_bad_source(project: str) -> source_pb2.Source:
    return source_pb2.Source(
        name=f"projects/{project}/sources/UPPER",
        dataset="projects/another/datasets/d",
        topic="sartor.training.v1",
        mapping=source_pb2.Mapping(attributes=["a", "a"], kind=99),  # type: ignore[arg-type]  # a later release's
        quota_records=-1,
        snapshot_rule=source_pb2.SnapshotRule(quiet_seconds=-1),
    )


@pytest.mark.parametrize("validate_only", [True, False])
def test_all_faults_of_a_source_are_reported_at_once(
    ingestion: Ingestion, unique_name: str, validate_only: bool
) -> None:
    request = messages.ApplySourceRequest(source=a_bad_source(unique_name), validate_only=validate_only)
    with pytest.raises(InvalidArgument) as error, call_errors():
        ingestion.client.ApplySource(request)
    assert error.value.reason == "BAD_SOURCE"
    assert {violation.field for violation in error.value.violations} == {
        "source.name",
        "source.topic",
        "source.mapping.kind",
        "source.mapping.attributes",
        "source.quota_records",
        "source.snapshot_rule.quiet_seconds",
    }


def test_validation_alone_changes_nothing_and_needs_no_project(
    ingestion: Ingestion, unique_name: str
) -> None:
    source = source_pb2.Source(
        name=f"projects/{unique_name}/sources/s", dataset=f"projects/{unique_name}/datasets/d"
    )
    shown = ingestion.client.ApplySource(messages.ApplySourceRequest(source=source, validate_only=True))
    assert (shown.topic, shown.mapping.messages) == ("sartor.data", "messages")
    with pytest.raises(NotFound) as error, call_errors():
        ingestion.client.ApplySource(messages.ApplySourceRequest(source=source))
    assert error.value.reason == "PROJECT_NOT_FOUND"


def test_an_unchanged_order_keeps_its_revision_and_the_project_counts_generations(
    ingestion: Ingestion, unique_name: str
) -> None:
    def apply(project_file: str, **options: object) -> project_pb2.Project:
        project = project_pb2.Project(name=f"projects/{unique_name}", project_file=project_file)
        return ingestion.client.ApplyProject(messages.ApplyProjectRequest(project=project, **options))

    first, second, third = apply("a"), apply("a"), apply("b")
    assert [p.order.revision for p in (first, second, third)] == [1, 1, 2]
    assert [p.order.generation for p in (first, second, third)] == [1, 2, 3]
    with pytest.raises(Aborted, match="generation 3"), call_errors():
        apply("c", generation=2)
    stale = project_pb2.Project(name=third.name, order=first.order)
    with pytest.raises(Aborted) as error, call_errors():
        ingestion.client.ApplyProject(messages.ApplyProjectRequest(project=stale))
    assert error.value.reason == "ETAG_MISMATCH"


def test_a_snapshot_of_nothing_says_what_to_do(ingestion: Ingestion, unique_name: str) -> None:
    ingestion.apply(unique_name)
    request = messages.RequestSnapshotRequest(dataset=f"projects/{unique_name}/datasets/d")
    with pytest.raises(FailedPrecondition) as error, call_errors():
        ingestion.client.RequestSnapshot(request)
    assert error.value.reason == "DATASET_EMPTY"


def test_bad_names_are_named(ingestion: Ingestion) -> None:
    with pytest.raises(InvalidArgument) as error, call_errors():
        ingestion.client.GetSnapshot(messages.GetSnapshotRequest(name="projects/P/datasets/d/snapshots/1"))
    assert error.value.reason == "BAD_RESOURCE_NAME"
    assert error.value.violations[0].field == "name"


def test_lists_hold_what_was_made(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    ingestion.upload(source, as_jsonl(), "rows.jsonl")
    snapshot = ingestion.seal(unique_name)
    client, parent = ingestion.client, f"projects/{unique_name}"
    assert [s.name for s in client.ListSources(messages.ListSourcesRequest(parent=parent)).sources] == [
        source
    ]
    assert parent in [
        p.name for p in client.ListProjects(messages.ListProjectsRequest(page_size=1000)).projects
    ]
    (dataset,) = client.ListDatasets(messages.ListDatasetsRequest(parent=parent)).datasets
    assert (dataset.record_count, dataset.latest_snapshot) == (50, snapshot.name)
    by_run = messages.ListSnapshotsRequest(parent=f"{parent}/datasets/-", filter=f'run = "{snapshot.run}"')
    assert [s.name for s in client.ListSnapshots(by_run).snapshots] == [snapshot.name]
    assert client.GetSnapshot(messages.GetSnapshotRequest(name=snapshot.name)) == snapshot
