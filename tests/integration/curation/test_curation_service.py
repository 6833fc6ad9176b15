"""Snapshots become curated snapshots: over the real broker, database and object store."""

from __future__ import annotations

import json
import uuid
from contextlib import closing
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest
from google.protobuf.json_format import MessageToDict
from sartor.common.v1 import job_status_pb2
from sartor.curation.v1 import curation_policy_pb2
from sartor.curation.v1 import curation_service_pb2 as messages
from sartor_curation import store
from sartor_platform.database import Database
from sartor_platform.errors import FailedPrecondition, InvalidArgument, NotFound, SartorError
from sartor_platform.grpc_client import call_errors

from tests.integration.curation.conftest import Curation, eventually
from tests.unit.curation.desk import chat, desk

SUCCEEDED = job_status_pb2.JOB_STATE_SUCCEEDED
FAILED = job_status_pb2.JOB_STATE_FAILED
FAULTY = [
    chat(
        "copy",
        "How do I reset the password of my account?",
        "Open the sign-in page and choose “Forgot password”.",
    ),
    chat("empty", "What are your opening hours on Sundays?", ""),
    chat(
        "mail", "Please send it to eva.kern@example.de instead.", "Done: it goes to eva.kern@example.de now."
    ),
    chat("golden", "Could somebody install the washing machine for me?", "Yes, for 40 euros.", split="test"),
    chat("leak", "Could somebody install the washing machine for me", "Our fitters do that.", split="train"),
]


def refused(call: Any, request: Any) -> SartorError:
    """The error of a call, as clients see it."""
    with pytest.raises(SartorError) as caught, call_errors():
        call(request)
    return caught.value


def test_a_snapshot_is_curated_under_its_policy(curation: Curation, unique_name: str) -> None:
    policy = curation.apply(unique_name)
    curation.base_model_ready(unique_name)
    snapshot = curation.snapshot_created(unique_name, [*desk(), *FAULTY])
    done = curation.finished(curation.started(unique_name, 1).name)
    assert done.job.state == SUCCEEDED, done
    assert (done.policy, done.policy_revision, done.snapshot) == (policy, 1, snapshot)
    assert (done.run, done.generation, done.created_by) == ("run-1", 3, policy)
    assert (done.input_count, done.kept_count, done.dropped_count) == (25, 22, 3)
    assert done.dropped_by_reason == {"EXACT_DUPLICATE": 1, "MISSING_FIELD": 1, "LEAKS_INTO_TEST": 1}

    records = curation.read(done)
    assert len(records) == 22
    assert {one.split: done.kept_by_split[one.split] for one in records} == dict(done.kept_by_split)
    assert sum(one.tokens for one in records if one.split == "train") == done.training_tokens
    masked = next(one.record for one in records if one.record.record_key == "mail")
    assert [message.content for message in masked.messages] == [
        "Please send it to [EMAIL_1] instead.",
        "Done: it goes to [EMAIL_1] now.",
    ]

    dropped = curation.dropped(done.name, page_size=2)
    assert {one.record_key: one.reason for one in dropped} == {
        "copy": "EXACT_DUPLICATE",
        "empty": "MISSING_FIELD",
        "leak": "LEAKS_INTO_TEST",
    }
    assert [one.record_key for one in curation.dropped(done.name, 'reason = "LEAKS_INTO_TEST"')] == ["leak"]
    table = pq.read_table(curation.fetch(done.dropped)).to_pylist()
    assert [(row["record_key"], row["reason"], row["detail"]) for row in table] == [
        (one.record_key, one.reason, one.detail) for one in dropped
    ]
    report = json.loads(curation.fetch(done.report).read_bytes())
    assert report["read"] == 25
    assert report["about"]["curation"] == done.name
    page = curation.fetch(done.report_page).read_text()
    assert "<svg" in page
    assert "eva.kern" not in page + json.dumps(report)

    ((headers, event),) = curation.events("CurationSucceeded", done.name)
    assert event["standingOrder"] == policy
    assert event["keptBySplit"] == {split: str(count) for split, count in done.kept_by_split.items()}
    assert event["manifest"] == MessageToDict(done.manifest)
    assert headers["ce_sartorrun"] == "run-1"


def test_splits_are_for_life_over_snapshots_and_policies(curation: Curation, unique_name: str) -> None:
    curation.base_model_ready(unique_name)
    curation.apply(unique_name)
    curation.snapshot_created(unique_name, desk())
    first = curation.finished(curation.started(unique_name, 1).name)
    before = {one.record.record_key: one.split for one in curation.read(first)}
    assert set(before.values()) == {"train", "validation", "test"}

    shares = curation_policy_pb2.SplitShares(validation=0.5, test=0.5)
    curation.apply(unique_name, split=shares)
    newcomer = chat(
        "new", "How do I reset the password of my account please?", "Call us, and we reset it for you."
    )
    report_only = curation_policy_pb2.CONTRADICTION_ACTION_REPORT
    curation.apply(unique_name, split=shares, contradiction_action=report_only)
    curation.snapshot_created(unique_name, [newcomer, *reversed(desk())], 2)
    second = curation.finished(curation.started(unique_name, 2).name)
    assert second.policy_revision == 3
    after = {one.record.record_key: one.split for one in curation.read(second)}
    assert {key: after[key] for key in before} == before
    assert after["new"] == before["chat-0"]


def test_a_curation_waits_for_its_base_model(curation: Curation, unique_name: str) -> None:
    curation.apply(unique_name)
    curation.snapshot_created(unique_name, desk())
    waiting = curation.started(unique_name, 1)
    assert waiting.job.state in (job_status_pb2.JOB_STATE_QUEUED, job_status_pb2.JOB_STATE_RUNNING)
    curation.base_model_ready(unique_name)
    assert curation.finished(waiting.name).job.state == SUCCEEDED


def test_a_redelivered_snapshot_is_curated_once(curation: Curation, unique_name: str) -> None:
    curation.apply(unique_name)
    curation.base_model_ready(unique_name)
    event_id = str(uuid.uuid4())
    curation.snapshot_created(unique_name, desk(), event_id=event_id)
    curation.snapshot_created(unique_name, desk(), event_id=event_id)
    curation.snapshot_created(unique_name, desk())
    curation.snapshot_created(unique_name, desk(), 2)
    curation.started(unique_name, 2)
    assert len(curation.curations(unique_name)) == 2
    assert len(curation.curations(unique_name, 'run = "run-2"')) == 1


def test_each_policy_of_the_dataset_curates_and_no_other_does(curation: Curation, unique_name: str) -> None:
    curation.base_model_ready(unique_name)
    names = {curation.apply(unique_name, policy="a"), curation.apply(unique_name, policy="b")}
    curation.apply(unique_name, policy="other", dataset="elsewhere")
    curation.snapshot_created(unique_name, desk())
    curation.started(unique_name, 2)
    done = [curation.finished(one.name) for one in curation.curations(unique_name)]
    assert {one.policy for one in done} == names
    assert {one.job.state for one in done} == {SUCCEEDED}
    splits = [{one.record.record_key: one.split for one in curation.read(each)} for each in done]
    assert splits[0] == splits[1]


def test_a_curation_that_a_client_asks_for_triggers_nothing(curation: Curation, unique_name: str) -> None:
    policy = curation.apply(unique_name, policy="p", dataset="d")
    curation.base_model_ready(unique_name)
    snapshot = curation.snapshot_created(unique_name, desk())
    curation.finished(curation.started(unique_name, 1).name)
    request = messages.CreateCurationRequest(
        parent=f"projects/{unique_name}", policy=policy, request_id=str(uuid.uuid4())
    )
    asked = curation.client.CreateCuration(request)
    assert curation.client.CreateCuration(request).name == asked.name
    done = curation.finished(asked.name)
    assert (done.job.state, done.snapshot, done.created_by) == (SUCCEEDED, snapshot, "local")
    ((_, event),) = curation.events("CurationSucceeded", done.name)
    assert "standingOrder" not in event


def test_a_manifest_with_another_digest_fails_with_its_reason(curation: Curation, unique_name: str) -> None:
    curation.apply(unique_name)
    curation.base_model_ready(unique_name)
    curation.snapshot_created(unique_name, desk(), corrupt=True)
    failed = curation.finished(curation.started(unique_name, 1).name)
    assert (failed.job.state, failed.job.error.reason) == (FAILED, "DIGEST_MISMATCH")
    ((_, event),) = curation.events("CurationFailed", failed.name)
    assert event["reason"] == "DIGEST_MISMATCH"
    curation.snapshot_created(unique_name, desk(), 2)
    assert curation.finished(curation.started(unique_name, 2).name).job.state == SUCCEEDED


def test_a_base_model_without_tokenizer_fails_with_what_to_do(curation: Curation, unique_name: str) -> None:
    curation.apply(unique_name)
    curation.base_model_ready(unique_name, tokenizer=False)
    curation.snapshot_created(unique_name, desk())
    failed = curation.finished(curation.started(unique_name, 1).name)
    assert (failed.job.state, failed.job.error.reason) == (FAILED, "TOKENIZER_MISSING")
    assert "use a base model that has one" in failed.job.error.message


def test_a_waiting_curation_can_be_cancelled_and_an_ended_one_not(
    curation: Curation, unique_name: str
) -> None:
    curation.apply(unique_name)
    curation.snapshot_created(unique_name, desk())
    name = curation.started(unique_name, 1).name
    curation.client.CancelCuration(messages.CancelCurationRequest(name=name))
    assert curation.finished(name).job.state == job_status_pb2.JOB_STATE_CANCELLED
    error = refused(curation.client.CancelCuration, messages.CancelCurationRequest(name=name))
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "ILLEGAL_TRANSITION"


def test_every_fault_of_a_policy_is_named_and_nothing_applied(curation: Curation, unique_name: str) -> None:
    wanted = curation_policy_pb2.CurationPolicy(
        name=f"projects/{unique_name}/curationPolicies/p",
        dataset="projects/elsewhere/datasets/d",
        base_model="tiny",
        languages=["en", "german"],
        length=curation_policy_pb2.LengthBounds(min_characters=-1),
        near_duplicate_threshold=1.5,
        split=curation_policy_pb2.SplitShares(test=0.9),
        label_instruction="Which team?",
    )
    for validate_only in (True, False):
        request = messages.ApplyCurationPolicyRequest(curation_policy=wanted, validate_only=validate_only)
        error = refused(curation.client.ApplyCurationPolicy, request)
        assert isinstance(error, InvalidArgument)
        assert error.reason == "BAD_CURATION_POLICY"
        assert [fault.field.removeprefix("curation_policy.") for fault in error.violations] == [
            "dataset",
            "base_model",
            "languages[1]",
            "length.min_characters",
            "near_duplicate_threshold",
            "split.test",
            "label_instruction",
        ]
    missing = messages.GetCurationPolicyRequest(name=wanted.name)
    assert isinstance(refused(curation.client.GetCurationPolicy, missing), NotFound)


def test_a_policy_keeps_its_revision_until_it_changes(curation: Curation, unique_name: str) -> None:
    name = curation.apply(unique_name)
    curation.apply(unique_name)
    read = messages.GetCurationPolicyRequest(name=name)
    assert curation.client.GetCurationPolicy(read).order.revision == 1
    curation.apply(unique_name, near_duplicate_threshold=0.9)
    policy = curation.client.GetCurationPolicy(read)
    assert (policy.order.revision, policy.order.generation) == (2, 3)
    assert policy.label_instruction
    assert policy.pii_action == curation_policy_pb2.PII_ACTION_MASK
    listed = messages.ListCurationPoliciesRequest(parent=f"projects/{unique_name}")
    assert [one.name for one in curation.client.ListCurationPolicies(listed).curation_policies] == [name]


@pytest.mark.parametrize(
    ("call", "request_", "reason"),
    [
        ("GetCuration", messages.GetCurationRequest(name="nonsense"), "BAD_RESOURCE_NAME"),
        ("GetCuration", messages.GetCurationRequest(name="projects/p/curations/none"), "CURATION_NOT_FOUND"),
        (
            "ListCurations",
            messages.ListCurationsRequest(parent="projects/p", filter="when = now"),
            "BAD_FILTER",
        ),
        (
            "CreateCuration",
            messages.CreateCurationRequest(parent="projects/p", policy="projects/p/curationPolicies/none"),
            "ORDER_NOT_FOUND",
        ),
        (
            "ListDroppedRecords",
            messages.ListDroppedRecordsRequest(parent="projects/p/curations/none"),
            "CURATION_NOT_FOUND",
        ),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(
    curation: Curation, call: str, request_: Any, reason: str
) -> None:
    assert refused(getattr(curation.client, call), request_).reason == reason


def test_a_snapshot_nobody_heard_of_is_refused(curation: Curation, unique_name: str) -> None:
    policy = curation.apply(unique_name)
    request = messages.CreateCurationRequest(parent=f"projects/{unique_name}", policy=policy)
    assert refused(curation.client.CreateCuration, request).reason == "SNAPSHOT_NOT_FOUND"


def test_an_event_with_a_bad_name_stops_nobody(curation: Curation, unique_name: str) -> None:
    bad = {"snapshot": "nonsense", "dataset": "nonsense"}
    curation.publish("sartor.ingestion.v1", "sartor.ingestion.v1.SnapshotCreated", bad)
    curation.apply(unique_name)
    curation.base_model_ready(unique_name)
    corrected = [replace(one, position="x") for one in desk()]
    curation.snapshot_created(unique_name, corrected)
    assert curation.finished(curation.started(unique_name, 1).name).job.state == SUCCEEDED


def test_what_a_suite_asks_is_not_trained_on(curation: Curation, unique_name: str) -> None:
    """The suite is known from its event; its items lie in the object store."""
    item = {"prompt": "Which of the seven lifts stops at the roof terrace on Sundays and holidays?"}
    reference = curation.put(f"{unique_name}/items.jsonl", json.dumps(item).encode() + b"\n")
    suite = f"projects/{unique_name}/suites/lifts"
    described = {"uri": reference.uri, "sha256": reference.sha256, "sizeBytes": str(reference.size_bytes)}
    curation.publish(
        "sartor.evaluation.v1",
        "sartor.evaluation.v1.SuiteApplied",
        {"suite": suite, "revision": 1, "objects": [described]},
    )
    curation.apply(unique_name)
    curation.base_model_ready(unique_name)
    asked = chat("asked", item["prompt"], "The third one from the left.")
    with closing(Database(curation.servers.database_url, "curation")) as database:

        def known() -> bool:
            with database.read() as connection:
                return bool(store.suites_of(connection, unique_name))

        eventually(known, "the suite is known")  # events of two topics have no order
    curation.snapshot_created(unique_name, [*desk(), asked])
    done = curation.finished(curation.started(unique_name, 1).name)
    assert done.job.state == SUCCEEDED, done
    (dropped,) = curation.dropped(done.name, 'reason = "CONTAMINATED"')
    assert dropped.record_key == "asked"
    assert suite in dropped.detail
