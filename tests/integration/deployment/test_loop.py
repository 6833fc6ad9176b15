"""The closed loop at the running service: corrections and drift lead to a new live revision.

Training and evaluation are played by the events they publish; everything of deployment is real.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg
import pytest
from google.protobuf.duration_pb2 import Duration
from kafka import KafkaConsumer
from psycopg import sql
from sartor.curation.v1 import curation_events_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor.deployment.v1 import endpoint_pb2, loop_pb2
from sartor.evaluation.v1 import evaluation_events_pb2, evaluation_pb2, gate_pb2
from sartor.ingestion.v1 import ingestion_events_pb2
from sartor.training.v1 import training_events_pb2
from sartor_cli.client import Sartor
from sartor_cli.projects import choose_project
from sartor_deployment import store
from sartor_deployment.drift.features import dump, load
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.feedback import FeedbackTable, parse_feedback
from sartor_deployment.usecases import watching
from sartor_edge.bundle import BundleSettings, make_bundle
from sartor_edge.engine import running
from sartor_edge.feedback_rule import FeedbackRule, Text
from sartor_edge.signing import make_key
from sartor_platform.database import Database

from tests.integration.deployment.conftest import (
    Deployment,
    Event,
    Names,
    eventually,
    read_events,
)

NAMES = Names("desk-loop")
PROJECT, MODEL, ENDPOINT = NAMES.project, NAMES.model, NAMES.endpoint
PLAN = f"projects/{PROJECT}/trainingPlans/plan"
POLICY = f"projects/{PROJECT}/curationPolicies/policy"
SOURCE = f"projects/{PROJECT}/sources/feedback"
DATASET = f"projects/{PROJECT}/datasets/tickets"
STATE = loop_pb2.AdaptationState.Name


@pytest.fixture(scope="module")
def live(deployment: Deployment, adapters: Sequence[Path]) -> str:
    """The first version, live, trained on the first curation."""
    order(deployment)
    version = deployment.publish_version("v1", adapters[0])
    deployment.approve(version, adapters[0])
    assert deployment.settled(version).state == endpoint_pb2.REVISION_STATE_LIVE
    curate(deployment, "c0", "run-of-the-first", 40)
    return version


@pytest.fixture(scope="module")
def data_events(deployment: Deployment) -> Iterator[KafkaConsumer]:
    """What deployment sends to ingestion."""
    consumer = KafkaConsumer(
        "sartor.data",
        bootstrap_servers=deployment.environment["SARTOR_KAFKA_BOOTSTRAP_SERVERS"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        group_id=None,
    )
    yield consumer
    consumer.close()


def order(
    deployment: Deployment,
    evaluate_every: Duration | None = None,
    canary_steps: Sequence[int] = (),
    window: int = 20,
    **changes: Any,
) -> None:
    """Order the endpoint with a loop that corrections begin."""
    canary = endpoint_pb2.Canary(
        steps=canary_steps,
        step_time=Duration(nanos=100_000_000),
        min_requests=1,
        patience=Duration(seconds=600),
    )
    loop = {
        "min_corrections": 2,
        "cool_down": Duration(),
        "budget": endpoint_pb2.LoopBudget(runs=50),
        **changes,
    }
    deployment.client.ApplyEndpoint(
        api.ApplyEndpointRequest(
            endpoint=endpoint_pb2.Endpoint(
                name=ENDPOINT,
                model=MODEL,
                parity=endpoint_pb2.ParityBounds(loss_margin=0.05, top1_agreement=0.85),
                engine=endpoint_pb2.EngineSettings(context_length=256, slots=2, threads=1),
                watching=endpoint_pb2.Watching(
                    sample_share=1,
                    drift=endpoint_pb2.DriftWatch(window=window, reference=20),
                    evaluate_every=evaluate_every,
                ),
                rollout=endpoint_pb2.Rollout(canary=canary),
                loop=endpoint_pb2.Loop(
                    training_plan=PLAN, curation_policy=POLICY, source=SOURCE, dataset=DATASET, **loop
                ),
            )
        )
    )


def curate(deployment: Deployment, name: str, run: str, records: int, snapshot: str = "") -> None:
    """What curation says when it has done a snapshot."""
    deployment.publish(
        "sartor.curation.v1",
        curation_events_pb2.CurationSucceeded(
            curation=f"projects/{PROJECT}/curations/{name}",
            policy=POLICY,
            standing_order=POLICY,
            snapshot=snapshot,
            kept_by_split={"train": records},
        ),
        run,
    )


def ask(deployment: Deployment, question: str, model: str = "support") -> str:
    """A user's request; the answer's id."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}]}
    body |= {"max_tokens": 4, "temperature": 0}
    answer = httpx.post(f"{deployment.gateway_url}/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-request-id"])


def correct(deployment: Deployment, request: str, text: str) -> None:
    """The user says what the answer should have been, once the answer is known."""

    def sent() -> bool:
        body = {"request_id": request, "thumbs": "down", "correction": text}
        url = f"{deployment.gateway_url}/feedback"
        return httpx.post(url, json=body, timeout=60).status_code == 201

    eventually(sent, "the feedback is kept")


def current(deployment: Deployment) -> loop_pb2.Adaptation:
    """The newest adaptation."""
    request = api.ListAdaptationsRequest(parent=ENDPOINT, page_size=1)
    found = deployment.client.ListAdaptations(request).adaptations
    return found[0] if found else loop_pb2.Adaptation()


def in_state(deployment: Deployment, state: str, but_not: str = "") -> loop_pb2.Adaptation:
    """The newest adaptation, once it is in this state."""

    def look() -> loop_pb2.Adaptation | None:
        found = current(deployment)
        if found.name == but_not or STATE(found.state) != f"ADAPTATION_STATE_{state}":
            return None
        return found

    return eventually(look, f"the adaptation is {state}")


def retraining(deployment: Deployment, adaptation: str) -> dict[str, Any]:
    """The RetrainingRequested of an adaptation."""
    return deployment.event("RetrainingRequested", adaptation=adaptation)


def decisions(deployment: Deployment) -> list[tuple[str, str]]:
    """Kind and reason of the endpoint's decisions, newest first."""
    found = deployment.client.ListDecisions(api.ListDecisionsRequest(parent=ENDPOINT)).decisions
    return [(endpoint_pb2.DecisionKind.Name(each.kind)[14:], each.reason) for each in found]


def test_corrected_answers_come_back_as_a_live_model(
    deployment: Deployment, adapters: Sequence[Path], live: str, data_events: KafkaConsumer
) -> None:
    """Through ingestion's own events, by the plan, from what is live; the server is killed on the way.

    While the brake is pulled its canary goes up no step.
    """
    order(deployment, canary_steps=(10, 50))
    for number in range(2):
        correct(
            deployment, ask(deployment, f"Mail a@example.org about order {number}?"), f"In dock {number}."
        )
    begun = in_state(deployment, "COLLECTING")
    assert (begun.corrections, begun.trigger) == (2, loop_pb2.ADAPTATION_TRIGGER_CORRECTIONS)
    sent = data_of(data_events, begun.run, 2)
    assert [each[0] for each in sent] == ["RecordsPublished", "SnapshotRequested"]  # in this order: one key
    rows = sorted(sent[0][1]["records"], key=lambda row: row["messages"][-1]["content"])
    assert rows[0]["messages"][-1] == {"role": "assistant", "content": "In dock 0."}
    assert "[EMAIL_1]" in rows[0]["messages"][0]["content"]  # masked before it was ever written
    assert sent[1][1] == {"dataset": DATASET}

    deployment.stop("server", how=signal.SIGKILL)
    curate(deployment, "c1", begun.run, 42)
    deployment.start("server")
    asked = retraining(deployment, begun.name)
    assert asked["trainingPlan"] == PLAN
    assert asked["liveVersion"] == live
    assert asked["curation"].endswith("/c1")

    version = deployment.publish_version("v2", adapters[1], run=begun.run, curation="c1")
    in_state(deployment, "EVALUATING")
    deployment.stop("server", how=signal.SIGKILL)
    deployment.approve(version, adapters[1], run=begun.run)
    deployment.start("server")

    canary = eventually(lambda: weighs(deployment, version, 10), "a canary has begun")
    deployment.client.PauseLoop(api.PauseLoopRequest(name=ENDPOINT))
    ask(deployment, "Where is my order?", canary.name)
    looks_of_the_agent(deployment, canary.name)
    assert weighs(deployment, version, 10)
    deployment.client.ResumeLoop(api.ResumeLoopRequest(name=ENDPOINT))
    eventually(lambda: weighs(deployment, version, 50), "it goes on")
    ask(deployment, "Where is my order?", canary.name)
    done = in_state(deployment, "PROMOTED")
    assert done.model_version == version
    assert deployment.endpoint().live_revision == done.revision
    kinds = [kind for kind, _ in decisions(deployment)]
    assert kinds.index("ADAPTATION_PROMOTED") < kinds.index("ADAPTATION_BEGUN")
    status = deployment.client.GetLoop(api.GetLoopRequest(name=ENDPOINT))
    assert (status.runs_used, status.waiting_corrections) == (1, 0)


def weighs(deployment: Deployment, version: str, weight: int) -> endpoint_pb2.Revision | None:
    """The version's revision, if it is a canary with this share of the traffic."""
    found = deployment.revision_of(version)
    return found if found is not None and found.canary_weight == weight else None


def looks_of_the_agent(deployment: Deployment, revision: str) -> None:
    """Until its request is written down, and the agent has decided twice since then."""
    request = api.SummarizeTrafficRequest(name=ENDPOINT)

    def seen() -> bool:
        found = deployment.client.SummarizeTraffic(request).revisions
        return any(each.revision == revision and each.requests for each in found)

    eventually(seen, "the canary's request is written down")
    with psycopg.connect(deployment.environment["SARTOR_DATABASE_URL"], autocommit=True) as connection:
        beats: set[Any] = set()

        def looked() -> bool:
            query = "SELECT max(heartbeat_time) FROM deployment.engines"
            beats.add(connection.execute(query).fetchone())
            return len(beats) > 2

        eventually(looked, "the agent looks")


def data_of(consumer: KafkaConsumer, run: str, count: int) -> list[tuple[str, dict[str, Any]]]:
    """The data events of a run."""
    seen: dict[str, Event] = {}

    def look() -> list[tuple[str, dict[str, Any]]]:
        read_events(consumer, seen)
        found = [(each.type.rpartition(".")[2], each.data) for each in seen.values() if each.run == run]
        return found if len(found) >= count else []

    return eventually(look, "the data events come")


def test_a_gate_that_stops_it_ends_it(deployment: Deployment, adapters: Sequence[Path], live: str) -> None:
    """With the gate's own words; what is live stays."""
    before = deployment.endpoint().live_revision
    begun = deployment.client.StartAdaptation(api.StartAdaptationRequest(name=ENDPOINT))
    with pytest.raises(grpc.RpcError, match="wait for its end"):
        deployment.client.StartAdaptation(api.StartAdaptationRequest(name=ENDPOINT))
    curate(deployment, "c2", begun.run, 43)
    retraining(deployment, begun.name)
    version = deployment.publish_version("v3", adapters[2], run=begun.run, curation="c2")
    rule = evaluation_pb2.RuleResult(
        rule=gate_pb2.Rule(metric="token_f1", suite="held_out", compared_to=gate_pb2.BASELINE_LIVE),
        observed=-0.3,
        explanation="Token F1 minus the live model's is -0.3",
    )
    deployment.publish(
        "sartor.evaluation.v1",
        evaluation_events_pb2.ModelVersionRejected(
            model_version=version, model=MODEL, verdict=evaluation_pb2.Verdict(rules=[rule])
        ),
        begun.run,
    )
    ended = in_state(deployment, "REJECTED")
    assert (ended.reason, ended.message) == ("GATE", "Token F1 minus the live model's is -0.3")
    assert deployment.endpoint().live_revision == before


def test_the_brake_holds_what_the_loop_made(
    deployment: Deployment, adapters: Sequence[Path], live: str
) -> None:
    """Nothing goes on to training while it is pulled; what was trained before waits for a person."""
    order(deployment)
    begun = deployment.client.StartAdaptation(api.StartAdaptationRequest(name=ENDPOINT))
    paused = deployment.client.PauseLoop(api.PauseLoopRequest(name=ENDPOINT, message="audit"))
    assert paused.paused_by
    assert paused.pause_message == "audit"
    with pytest.raises(grpc.RpcError, match="resume it first"):
        deployment.client.StartAdaptation(api.StartAdaptationRequest(name=ENDPOINT))
    curate(deployment, "c3", begun.run, 44)
    known = eventually(lambda: curated(deployment, "c3"), "the curation is known")
    assert known
    assert STATE(current(deployment).state) == "ADAPTATION_STATE_COLLECTING"
    deployment.client.ResumeLoop(api.ResumeLoopRequest(name=ENDPOINT))
    retraining(deployment, begun.name)
    deployment.client.PauseLoop(api.PauseLoopRequest(name=ENDPOINT))
    version = deployment.publish_version("v4", adapters[2], run=begun.run, curation="c3")
    deployment.approve(version, adapters[2], run=begun.run)

    def waits() -> endpoint_pb2.Revision | None:
        found = deployment.revision_of(version)
        return found if found and found.state == endpoint_pb2.REVISION_STATE_AWAITING_APPROVAL else None

    revision = eventually(waits, "it waits for a person")
    assert ("APPROVAL_ASKED", "LOOP_PAUSED") in decisions(deployment)
    deployment.client.ApproveRevision(api.ApproveRevisionRequest(name=revision.name))
    assert in_state(deployment, "PROMOTED").model_version == version
    deployment.client.ResumeLoop(api.ResumeLoopRequest(name=ENDPOINT))


def curated(deployment: Deployment, name: str) -> bool:
    """Whether deployment knows the curation."""
    with psycopg.connect(deployment.environment["SARTOR_DATABASE_URL"]) as connection:
        query = "SELECT 1 FROM deployment.curations WHERE name = %s"
        return connection.execute(query, [f"projects/{PROJECT}/curations/{name}"]).fetchone() is not None


def test_nothing_new_is_said_at_once(deployment: Deployment, live: str) -> None:
    """A training that refuses its request ends the adaptation with its reason."""
    begun = deployment.client.StartAdaptation(api.StartAdaptationRequest(name=ENDPOINT))
    failed = training_events_pb2.TrainingJobFailed(reason="NOTHING_NEW", message="there is no new data")
    deployment.publish("sartor.training.v1", failed, begun.run)
    assert in_state(deployment, "FAILED").reason == "NOTHING_NEW"


def test_what_was_said_of_a_devices_answers_comes_back_as_records(
    deployment: Deployment,
    live: str,
    data_events: KafkaConsumer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waits on the device while the gateway is away; sent again it counts once, and no rule counts it."""
    order(deployment)
    last, revision = current(deployment).name, deployment.endpoint().live_revision
    make_device(deployment, revision, tmp_path)
    monkeypatch.setenv("PYTHON", sys.executable)
    before = figures(deployment, revision)
    with running(tmp_path / "current") as port:
        for number in range(2):
            asked = f"Mail a@example.org about shelf {number}?"
            words = ("--correction", f"On shelf {number}, b@example.org.", "--question", asked)
            edge(tmp_path, "note", "--id", answer_id(port, asked), "--score", "0", *words)
        happy = answer_id(port, "Where is my order?")
        edge(tmp_path, "note", "--id", happy, "--thumbs", "up", "--question", "Never told")
    assert edge(tmp_path, "feedback", "--gateway", "http://127.0.0.1:9/v1", status=2).startswith("WAITING")
    buffered = (tmp_path / "feedback.jsonl").read_bytes()
    for _ in range(2):
        (tmp_path / "feedback.jsonl").write_bytes(buffered)
        said = edge(tmp_path, "feedback", "--gateway", deployment.gateway_url)
        assert said == "SENT 3 sent, 0 refused, 0 wait\n"

    (shown, judged), (shown_before, judged_before) = figures(deployment, revision), before
    assert (shown.feedback_count, shown.requests) == (shown_before.feedback_count + 3, shown_before.requests)
    assert judged == judged_before  # by rollouts
    foreign = parse_feedback({**json.loads(buffered.splitlines()[0]), "id": "of-another-project"})
    with in_database(deployment) as database, pytest.raises(ApiError, match="there is no revision"):
        FeedbackTable(database).keep(foreign, "projects/other")

    begun = in_state(deployment, "COLLECTING", but_not=last)
    assert (begun.corrections, begun.trigger) == (2, loop_pb2.ADAPTATION_TRIGGER_CORRECTIONS)
    rows = data_of(data_events, begun.run, 1)[0][1]["records"]
    told = sorted([turn["content"] for turn in row["messages"]] for row in rows)
    assert told == [[f"Mail [EMAIL_1] about shelf {n}?", f"On shelf {n}, [EMAIL_2]."] for n in range(2)]
    failed = training_events_pb2.TrainingJobFailed(reason="NOTHING_NEW", message="there is no new data")
    deployment.publish("sartor.training.v1", failed, begun.run)
    in_state(deployment, "FAILED")


def make_device(deployment: Deployment, revision: str, home: Path) -> None:
    """A device's folder with this revision's bundle."""
    weights = deployment.client.GetRevision(api.GetRevisionRequest(name=revision)).weights
    bucket, _, key = weights.uri.removeprefix("s3://").partition("/")
    deployment.objects.fget_object(bucket, key, str(home / "weights.gguf"))
    make_key(home / "private.pem", home / "public.pem")
    settings = BundleSettings("support-r1", "v1", 1, "support", 256, 1)
    rule = FeedbackRule(revision, Text.CORRECTIONS)
    make_bundle(home / "current", home / "weights.gguf", settings, [], home / "private.pem", rule)


def answer_id(port: int, question: str) -> str:
    """The id of a device's answer."""
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": 2}
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=60)
    return str(answer.json()["id"])


def edge(home: Path, command: str, *words: str, status: int = 0) -> str:
    """What a command on the device says."""
    call = [sys.executable, "-m", "sartor_edge", command, "--home", str(home), *words]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout


def figures(deployment: Deployment, revision: str) -> tuple[api.RevisionTraffic, store.Traffic]:
    """What is shown of a revision, and what rollouts are judged by."""
    found = deployment.client.SummarizeTraffic(api.SummarizeTrafficRequest(name=ENDPOINT)).revisions
    now = datetime.now(UTC)
    with in_database(deployment) as database, database.read() as connection:
        judged = store.traffic(connection, now - timedelta(hours=1), now, revision=revision)
    shown = (each for each in found if each.revision == revision)
    return next(shown, api.RevisionTraffic()), judged.get(revision, store.Traffic(revision))


@contextlib.contextmanager
def in_database(deployment: Deployment) -> Iterator[Database]:
    """Deployment's."""
    database = Database(deployment.environment["SARTOR_DATABASE_URL"], "deployment")
    try:
        yield database
    finally:
        database.close()


def test_an_adaptation_without_new_data_does_not_wait_for_any(deployment: Deployment, live: str) -> None:
    """Ingestion says that nothing came in: the newest curation is taken, once it is of that snapshot.

    Where it is what the live model was trained on, that is said.
    """
    snapshot = f"{DATASET}/snapshots"
    begun = deployment.client.StartAdaptation(api.StartAdaptationRequest(name=ENDPOINT))
    curate(deployment, "c-late", "run-of-late", 45, f"{snapshot}/8")
    unchanged = ingestion_events_pb2.SnapshotUnchanged(dataset=DATASET, snapshot=f"{snapshot}/9")
    deployment.publish("sartor.ingestion.v1", unchanged, begun.run)
    url = deployment.environment["SARTOR_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT state FROM deployment.adaptations WHERE run = %s AND snapshot <> ''"
        told = eventually(lambda: connection.execute(query, [begun.run]).fetchone(), "it is told")
        assert told == ("COLLECTING",)
    curate(deployment, "c-newest-snapshot", "run-of-9", 46, f"{snapshot}/9")
    asked = retraining(deployment, begun.name)
    assert asked["curation"].endswith("/c-newest-snapshot")
    failed = training_events_pb2.TrainingJobFailed(reason="NOTHING_NEW", message="there is no new data")
    deployment.publish("sartor.training.v1", failed, begun.run)
    in_state(deployment, "FAILED")

    with psycopg.connect(url, autocommit=True) as connection:
        change = "UPDATE deployment.model_versions SET curation = %s WHERE name = %s RETURNING curation"
        trained = "SELECT curation FROM deployment.model_versions WHERE name = %s"
        (before,) = connection.execute(trained, [version_of(deployment)]).fetchone() or ("",)
        connection.execute(change, [asked["curation"], version_of(deployment)])
        again = deployment.client.StartAdaptation(api.StartAdaptationRequest(name=ENDPOINT))
        deployment.publish("sartor.ingestion.v1", unchanged, again.run)
        ended = eventually(lambda: ended_as(deployment, again.name), "it ends")
        connection.execute(change, [before, version_of(deployment)])
    assert ended.reason == "NOTHING_NEW"
    assert "no new data came" in ended.message


def ended_as(deployment: Deployment, name: str) -> loop_pb2.Adaptation | None:
    """The adaptation, once it failed."""
    found = current(deployment)
    return found if found.name == name and STATE(found.state) == "ADAPTATION_STATE_FAILED" else None


def test_drift_begins_an_adaptation(deployment: Deployment, live: str) -> None:
    """Other questions than before: the window, its findings, a decision for each, and the loop begins."""
    last = current(deployment).name
    order(deployment, on_drift=True, min_corrections=0)
    ask_quietly(deployment)
    ask_of_taxes(deployment)
    begun = in_state(deployment, "COLLECTING", but_not=last)
    assert begun.trigger == loop_pb2.ADAPTATION_TRIGGER_DRIFT
    assert "drift in window 1" in begun.cause
    request = api.ListDriftWindowsRequest(parent=ENDPOINT)
    window = deployment.client.ListDriftWindows(request).drift_windows[0]
    assert (window.number, window.window_requests, window.reference_requests) == (1, 20, 20)
    found = {each.signal: each for each in window.findings if each.found}
    assert found["INPUT_LANGUAGE"].p_value <= found["INPUT_LANGUAGE"].threshold
    assert "Steuerbehörde" in found["INPUT_EMBEDDING"].examples[0]
    assert ("DRIFT_FOUND", "INPUT_LANGUAGE") in decisions(deployment)


def ask_quietly(deployment: Deployment) -> None:
    """A window of what users ask at first."""
    for number in range(20):
        ask(deployment, f"Where is order {number}?")


def ask_of_taxes(deployment: Deployment) -> None:
    """A window of something else."""
    for number in range(20):
        ask(
            deployment,
            f"Wie beantrage ich bei der Steuerbehörde eine Fristverlängerung zum Formular {number}?",
        )


def test_what_users_wrote_is_gone_everywhere_when_its_time_is_over(deployment: Deployment, live: str) -> None:
    """Requests, feedback, the examples of drift; what was found by them stays. No decision holds any."""
    url = deployment.environment["SARTOR_DATABASE_URL"]
    with psycopg.connect(url) as connection:
        for table, column in (
            ("gateway_requests", "create_time"),
            ("feedback", "create_time"),
            ("drift_windows", "end_time"),
        ):
            aged = sql.SQL("UPDATE deployment.{} SET {} = {} - interval '31 days' WHERE endpoint = %s")
            names = map(sql.Identifier, (table, column, column))
            connection.execute(aged.format(*names), [ENDPOINT])
    forget_old(url)
    with psycopg.connect(url) as connection:
        count = "SELECT count(*) FROM deployment.gateway_requests WHERE endpoint = %s"
        assert connection.execute(count, [ENDPOINT]).fetchone() == (0,)
        count = "SELECT count(*) FROM deployment.decisions WHERE message LIKE '%%Wie beantrage ich%%'"
        assert connection.execute(count).fetchone() == (0,)
    request = api.ListDriftWindowsRequest(parent=ENDPOINT)
    findings = deployment.client.ListDriftWindows(request).drift_windows[0].findings
    assert [each.signal for each in findings if each.found]
    assert not [each for each in findings if each.examples]


def test_a_gate_that_what_is_live_does_not_pass_any_more_is_drift(deployment: Deployment, live: str) -> None:
    """It is asked again where there are newer items, once for each curation; failing begins the loop."""
    last = current(deployment)
    failed = training_events_pb2.TrainingJobFailed(reason="NOTHING_NEW", message="there is no new data")
    deployment.publish("sartor.training.v1", failed, last.run)
    in_state(deployment, "FAILED")
    order(deployment, evaluate_every=Duration(seconds=1), on_drift=True, min_corrections=0)
    curate(deployment, "c-newer", "run-of-newer", 50)
    asked = requested(deployment, "c-newer")
    assert asked["modelVersion"] == version_of(deployment)
    rule = gate_pb2.Rule(metric="token_f1", suite="held_out", at_least=0.5)
    judged = evaluation_events_pb2.ModelVersionReevaluated(
        model_version=asked["modelVersion"],
        endpoint=ENDPOINT,
        evaluation=f"projects/{PROJECT}/evaluations/again",
        verdict=evaluation_pb2.Verdict(
            rules=[
                evaluation_pb2.RuleResult(
                    rule=rule, observed=0.31, explanation="Token F1 is 0.31; it must be at least 0.5"
                )
            ]
        ),
    )
    deployment.publish("sartor.evaluation.v1", judged, asked["run"])
    begun = in_state(deployment, "COLLECTING", but_not=last.name)
    assert begun.trigger == loop_pb2.ADAPTATION_TRIGGER_DRIFT
    assert "drift in quality: evaluated again on c-newer" in begun.cause
    assert "Token F1 is 0.31" in begun.cause
    assert ("DRIFT_FOUND", "QUALITY_REEVALUATION") in decisions(deployment)

    curate(deployment, "c-newest", "run-of-newest", 60)
    failure = evaluation_events_pb2.EvaluationFailed(reason="BAD_DATA", message="the items are gone")
    deployment.publish("sartor.evaluation.v1", failure, requested(deployment, "c-newest")["run"])
    eventually(lambda: ("EVALUATED_AGAIN", "BAD_DATA") in decisions(deployment), "its failure is told")
    curate(deployment, "c-last", "run-of-last", 70)
    judged.verdict.passed = judged.verdict.rules[0].passed = True
    deployment.publish("sartor.evaluation.v1", judged, requested(deployment, "c-last")["run"])
    eventually(lambda: ("EVALUATED_AGAIN", "") in decisions(deployment), "a pass is told")


def version_of(deployment: Deployment) -> str:
    """What is live."""
    request = api.GetRevisionRequest(name=deployment.endpoint().live_revision)
    return str(deployment.client.GetRevision(request).model_version)


def requested(deployment: Deployment, curation: str) -> dict[str, Any]:
    """The ReevaluationRequested on this curation, and the run that it belongs to."""
    asked = deployment.event("ReevaluationRequested", curation=f"projects/{PROJECT}/curations/{curation}")
    with psycopg.connect(deployment.environment["SARTOR_DATABASE_URL"]) as connection:
        query = "SELECT run FROM deployment.reevaluations WHERE curation = %s"
        (run,) = connection.execute(query, [asked["curation"]]).fetchone() or ("",)
    return {**asked, "run": run}


def test_new_data_and_the_time_begin_adaptations_too(deployment: Deployment, live: str) -> None:
    """Enough records beyond those of what is live; then the time since the last one began."""
    last = current(deployment)
    failed = training_events_pb2.TrainingJobFailed(reason="NOTHING_NEW", message="there is no new data")
    deployment.publish("sartor.training.v1", failed, last.run)
    in_state(deployment, "FAILED")
    order(deployment, min_corrections=0, min_new_records=100)
    curate(deployment, "c-much", "run-of-much", 10_000)
    begun = in_state(deployment, "COLLECTING", but_not=last.name)
    assert begun.trigger == loop_pb2.ADAPTATION_TRIGGER_NEW_RECORDS
    assert "new training records, 100 are enough" in begun.cause
    curate(deployment, "c-own", begun.run, 10_001)
    assert retraining(deployment, begun.name)["curation"].endswith("/c-own")

    order(deployment, min_corrections=0, every=Duration(seconds=1))
    deployment.publish("sartor.training.v1", failed, begun.run)
    eventually(lambda: current(deployment).name != begun.name, "the next one begins")
    assert current(deployment).trigger == loop_pb2.ADAPTATION_TRIGGER_SCHEDULE


def test_drift_is_found_after_the_first_requests_are_gone(deployment: Deployment, live: str) -> None:
    """What is kept of them is enough: a quiet window is quiet, a shifted one is found.

    A reference that another embedder made is told, and taken anew; where nobody watches it is gone.
    """
    url = deployment.environment["SARTOR_DATABASE_URL"]
    order(deployment, min_corrections=0)
    with psycopg.connect(url, autocommit=True) as connection:
        count = "SELECT count(*) FROM deployment.gateway_requests WHERE question IS NOT NULL"
        assert connection.execute(count).fetchone() == (0,)
        ask_quietly(deployment)
        assert not [each for each in looked_at(deployment, 2).findings if each.found]
        ask_of_taxes(deployment)
        found = {each.signal: each for each in looked_at(deployment, 3).findings if each.found}
        assert "Steuerbehörde" in found["INPUT_EMBEDDING"].examples[0]

        kept = "SELECT made_by, requests FROM deployment.drift_references WHERE endpoint = %s"
        made_by, requests = connection.execute(kept, [ENDPOINT]).fetchone() or ("", 0)
        assert requests == 20
        features = "SELECT features FROM deployment.drift_references WHERE endpoint = %s"
        (data,) = connection.execute(features, [ENDPOINT]).fetchone() or (b"",)
        changed = replace(load(data), made_by="another/1.0/1")
        change = "UPDATE deployment.drift_references SET features = %s, made_by = %s"
        connection.execute(change, [dump(changed), changed.made_by])
        ask_quietly(deployment)
        assert "another/1.0/1" in looked_at(deployment, 4).error
        known = eventually(lambda: connection.execute(kept, [ENDPOINT]).fetchone(), "it is taken anew")
        assert known[1] == 20
        eventually(lambda: connection.execute(kept, [ENDPOINT]).fetchone() == (made_by, 20), "it is there")

        order(deployment, min_corrections=0, window=0)
        forget_old(url)
        assert connection.execute(kept, [ENDPOINT]).fetchone() is None


def forget_old(url: str) -> None:
    """What retention does in its time."""
    database = Database(url, "deployment")
    try:
        with database.transaction() as tx:
            watching.forget_old(tx)
    finally:
        database.close()


def looked_at(deployment: Deployment, number: int) -> loop_pb2.DriftWindow:
    """The window of this number, once it was looked at."""
    request = api.ListDriftWindowsRequest(parent=ENDPOINT)

    def look() -> loop_pb2.DriftWindow | None:
        windows = deployment.client.ListDriftWindows(request).drift_windows
        return next(
            (each for each in windows if each.number == number and (each.findings or each.error)), None
        )

    return eventually(look, f"window {number} is looked at")


def test_the_brake_is_within_reach_while_ingestion_is_away(deployment: Deployment, live: str) -> None:
    """Commands find the project of an endpoint without the service that owns projects."""
    with Sartor(
        {"ingestion": "127.0.0.1:9", "deployment": f"127.0.0.1:{deployment.ports['grpc']}"}
    ) as sartor:
        assert choose_project(sartor, "") == f"projects/{PROJECT}"


def test_an_endpoint_without_a_loop_says_how_to_get_one(deployment: Deployment) -> None:
    """A clear word instead of a silent no."""
    name = f"projects/{PROJECT}/endpoints/plain"
    deployment.client.ApplyEndpoint(
        api.ApplyEndpointRequest(endpoint=endpoint_pb2.Endpoint(name=name, model=f"{MODEL}-b"))
    )
    assert not deployment.client.GetLoop(api.GetLoopRequest(name=name)).configured
    with pytest.raises(grpc.RpcError, match="add `loop` to its deployment"):
        deployment.client.PauseLoop(api.PauseLoopRequest(name=name))
