"""From the parity check to all users: approval, canary, stop rules, promotion and the way back by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
import openai
import psycopg
import pytest
from google.protobuf.duration_pb2 import Duration
from sartor.deployment.v1 import api_key_pb2, endpoint_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api

from tests.integration.deployment.conftest import (
    Deployment,
    Names,
    eventually,
)

NAMES = Names("desk-rollout")
PROJECT, MODEL, ENDPOINT = NAMES.project, NAMES.model, NAMES.endpoint
QUESTION = [{"role": "user", "content": "Where is my order?"}]
CANARY = endpoint_pb2.REVISION_STATE_CANARY
LIVE = endpoint_pb2.REVISION_STATE_LIVE
REJECTED = endpoint_pb2.REVISION_STATE_REJECTED
WAITS = endpoint_pb2.REVISION_STATE_AWAITING_APPROVAL


@pytest.fixture
def client(deployment: Deployment) -> openai.OpenAI:
    """The client users have."""
    return openai.OpenAI(base_url=deployment.gateway_url, api_key="none", max_retries=0, timeout=60)


def order(deployment: Deployment, rollout: endpoint_pb2.Rollout, **changes: float) -> None:
    """Order the endpoint with this rollout, and with two engines a revision."""
    deployment.client.ApplyEndpoint(
        api.ApplyEndpointRequest(
            endpoint=endpoint_pb2.Endpoint(
                name=ENDPOINT,
                model=MODEL,
                parity=endpoint_pb2.ParityBounds(loss_margin=0.05, top1_agreement=0.85),
                engine=endpoint_pb2.EngineSettings(context_length=256, slots=2, threads=1, replicas=2),
                rollout=rollout,
                watching=endpoint_pb2.Watching(**changes),
            )
        )
    )


def stepwise(*steps: int, watch: int = 0, approval: int = 0) -> endpoint_pb2.Rollout:
    """A canary in quick steps."""
    return endpoint_pb2.Rollout(
        canary=endpoint_pb2.Canary(steps=steps, step_time=Duration(nanos=200_000_000), min_requests=4),
        # Two cores under test are no measure of latency.
        stop=endpoint_pb2.StopRules(max_latency_ratio=900, max_error_increase=0.2),
        watch=Duration(seconds=watch),
        approval=approval,  # type: ignore[arg-type]
    )


def decisions(deployment: Deployment, version: str) -> list[str]:
    """What was decided about a version's revision, in order."""
    revision = deployment.revision_of(version)
    assert revision is not None
    found = deployment.client.ListDecisions(api.ListDecisionsRequest(parent=ENDPOINT)).decisions
    return [
        endpoint_pb2.DecisionKind.Name(each.kind).removeprefix("DECISION_KIND_")
        for each in reversed(found)
        if each.revision == revision.name
    ]


def in_state(deployment: Deployment, version: str, state: int) -> endpoint_pb2.Revision:
    """The version's revision, once it is in this state."""

    def look() -> endpoint_pb2.Revision | None:
        revision = deployment.revision_of(version)
        if revision is not None and revision.state == REJECTED != state:
            raise AssertionError(f"{revision.error.reason}: {revision.error.message}")
        return revision if revision is not None and revision.state == state else None

    return eventually(look, f"{version} is {state}")


class Users:
    """They ask without a pause, from three threads, and count what goes wrong."""

    def __init__(self, url: str) -> None:
        self.statuses: list[int] = []
        self._url = f"{url}/chat/completions"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(3)]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def ask_more(self, count: int) -> None:
        """Wait until so many more were answered, however."""
        enough = len(self.statuses) + count
        eventually(lambda: len(self.statuses) >= enough, f"{count} more answers")

    def _ask(self) -> None:
        body = {"model": "support", "messages": QUESTION, "max_tokens": 4, "stream": True}
        with httpx.Client(timeout=60) as client:
            while not self._stop.is_set():
                answer = client.post(self._url, json=body)
                whole = answer.text.rstrip().endswith("[DONE]")
                self.statuses.append(answer.status_code if whole else -1)
                time.sleep(0.02)


def test_smoke_prompts_stop_what_answers_wrongly(deployment: Deployment, adapters: Sequence[Path]) -> None:
    """The answer is in the reason; nothing went live."""
    smoke = endpoint_pb2.SmokePrompt(prompt="Who are you?", expect=["a word it does not say"])
    order(deployment, endpoint_pb2.Rollout(smoke_prompts=[smoke]))
    version = deployment.publish_version("s1", adapters[0])
    deployment.approve(version, adapters[0])
    revision = in_state(deployment, version, REJECTED)
    assert revision.error.reason == "SMOKE_FAILED"
    assert "a word it does not say" in revision.error.message
    assert decisions(deployment, version) == ["PARITY_PASSED", "REJECTED"]
    assert not deployment.endpoint().live_revision


def test_a_person_is_asked_where_the_project_file_says_so(
    deployment: Deployment, adapters: Sequence[Path], client: openai.OpenAI
) -> None:
    """It waits with its engines ready; approved it goes live, and the decision names the person."""
    order(
        deployment,
        endpoint_pb2.Rollout(
            approval=endpoint_pb2.APPROVAL_BEFORE_PROMOTION,
            smoke_prompts=[endpoint_pb2.SmokePrompt(prompt="Who are you?")],
        ),
        sample_share=1.0,
    )
    version = deployment.publish_version("a1", adapters[0])
    deployment.approve(version, adapters[0])
    revision = in_state(deployment, version, WAITS)
    assert not deployment.endpoint().live_revision
    deployment.client.ApproveRevision(api.ApproveRevisionRequest(name=revision.name))
    in_state(deployment, version, LIVE)
    kinds = ["PARITY_PASSED", "SMOKE_PASSED", "APPROVAL_ASKED", "APPROVED", "PROMOTED"]
    assert decisions(deployment, version) == kinds
    with pytest.raises(grpc.RpcError) as caught:
        deployment.client.ApproveRevision(api.ApproveRevisionRequest(name=revision.name))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION

    def both() -> bool:
        now = deployment.revision_of(version)
        return now is not None and now.ready_replicas == 2

    eventually(both, "both replicas answer")
    eventually(lambda: "support" in [model.id for model in client.models.list()], "the gateway knows it")


def test_sampled_requests_are_masked_and_feedback_is_kept(
    deployment: Deployment, client: openai.OpenAI
) -> None:
    """The address is not in the database; the thumb counts at once; feedback sent twice counts once."""
    text = "Write to jane.doe@example.com about my order"
    answer = client.chat.completions.create(
        model="support", messages=[{"role": "user", "content": text}], max_tokens=4
    )
    body = {
        "id": "fb-device-1",
        "request_id": answer.id,
        "thumbs": "up",
        "comment": "ask jane.doe@example.com",
    }

    def sent(**changes: str) -> int:
        url = f"{deployment.gateway_url}/feedback"
        return httpx.post(url, json={**body, **changes}, timeout=60).status_code

    eventually(lambda: sent() == 201, "the answer is known")
    assert sent() == 201
    other = client.chat.completions.create(
        model="support", messages=[{"role": "user", "content": "Thanks"}], max_tokens=1
    )
    # It would be lost: the id is that of the first.
    eventually(lambda: sent(request_id=other.id) == 409, "the other answer is known")
    assert sent(request_id="nobody's") == 404
    with psycopg.connect(deployment.environment["SARTOR_DATABASE_URL"]) as connection:
        kept = connection.execute(
            "SELECT question::text, answer FROM deployment.gateway_requests WHERE answer_id = %s", [answer.id]
        ).fetchone()
        comments = connection.execute("SELECT comment FROM deployment.feedback").fetchall()
    assert kept is not None
    assert "[EMAIL_1]" in kept[0]
    assert "jane" not in kept[0]
    assert comments == [("ask [EMAIL_1]",)]
    (traffic,) = deployment.client.SummarizeTraffic(api.SummarizeTrafficRequest(name=ENDPOINT)).revisions
    assert traffic.feedback_mean == 1.0
    assert traffic.feedback_count == 1
    assert traffic.completion_tokens > 0
    wrong = httpx.post(f"{deployment.gateway_url}/feedback", json={**body, "thumbs": "sideways"}, timeout=60)
    assert wrong.status_code == 400


def test_clients_mistakes_are_told_in_openais_words(deployment: Deployment, client: openai.OpenAI) -> None:
    """A prompt over the context length, a model that is not there, a plain completion that works."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="support", messages=[{"role": "user", "content": "order " * 2000}], max_tokens=4
        )
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="nobody", prompt="x")
    plain = client.completions.create(model="support", prompt="Where", max_tokens=3, temperature=0)
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 3  # sampled, a model of random weights may end before


def test_what_the_openai_client_may_ask_for_reaches_the_engine(client: openai.OpenAI) -> None:
    """Several answers, stop words, log probabilities, a JSON schema, usage at a stream's end."""
    asked: list[Any] = [{"role": "user", "content": "Where is my order?"}]
    two = client.chat.completions.create(
        model="support", messages=asked, max_tokens=3, n=2, logprobs=True, temperature=0
    )
    assert [choice.index for choice in two.choices] == [0, 1]
    assert two.choices[0].logprobs is not None
    # Tokens that are parts of one character are told as one.
    assert 1 <= len(two.choices[0].logprobs.content or ()) <= 3
    schema = {"type": "object", "properties": {"a": {"enum": [7]}}, "required": ["a"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    said = client.chat.completions.create(
        model="support", messages=asked, max_tokens=200, response_format=form, stop=["}"]
    ).choices[0]
    assert said.finish_reason == "stop"
    assert "".join((said.message.content or "").split()).startswith('{"a":7')
    *_, last = client.chat.completions.create(
        model="support", messages=asked, max_tokens=3, temperature=0, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    assert last.usage is not None
    assert last.usage.completion_tokens == 3
    assert client.models.retrieve("support").id == "support"


def test_a_key_is_hashed_lists_without_secret_and_ends(deployment: Deployment) -> None:
    """With it the gateway answers; revoked, 401; the database holds no secret."""
    request = api.CreateApiKeyRequest(
        parent=f"projects/{PROJECT}", api_key_id="app", api_key=api_key_pb2.ApiKey(requests_per_minute=50),
        request_id="key-once",
    )  # fmt: skip
    key = deployment.client.CreateApiKey(request)
    assert not deployment.client.CreateApiKey(request).secret
    models = f"{deployment.gateway_url}/models"
    headers = {"Authorization": f"Bearer {key.secret}"}
    eventually(
        lambda: httpx.get(models, headers=headers, timeout=60).status_code == 200, "the gateway knows it"
    )
    listed = deployment.client.ListApiKeys(api.ListApiKeysRequest(parent=f"projects/{PROJECT}")).api_keys
    assert [(each.name, each.secret) for each in listed] == [(key.name, "")]
    with psycopg.connect(deployment.environment["SARTOR_DATABASE_URL"]) as connection:
        rows = connection.execute("SELECT k::text FROM deployment.api_keys k").fetchall()
    assert rows
    assert key.secret not in str(rows)
    deployment.client.RevokeApiKey(api.RevokeApiKeyRequest(name=key.name))
    eventually(lambda: httpx.get(models, headers=headers, timeout=60).status_code == 401, "it is refused")


def test_the_live_revision_is_written_out_for_kubernetes_and_advised_about(deployment: Deployment) -> None:
    """With the objects that were approved, and the adapter's own rank; advice uses the measured weights."""
    rendered = deployment.client.RenderTarget(api.RenderTargetRequest(name=ENDPOINT)).files
    files = {each.name: each.content for each in rendered}
    assert "adapter_model.safetensors" in files["files.yaml"]
    assert "sha256sum --check" in files["files.yaml"]
    assert f"{PROJECT}--support=/models/version" in files["deployment.yaml"]
    for_kserve = api.RenderTargetRequest(name=ENDPOINT, form=api.KUBERNETES_FORM_KSERVE)
    kserve = {each.name: each.content for each in deployment.client.RenderTarget(for_kserve).files}
    assert kserve["files.yaml"] == files["files.yaml"]
    assert f"{PROJECT}--support=/models/version" in kserve["llminferenceservice.yaml"]
    advice = deployment.client.RecommendTarget(api.RecommendTargetRequest(endpoint=ENDPOINT))
    assert not advice.impossible
    assert advice.options[0].deciding
    assert advice.currency == "EUR"
    assert "tokens a second where memory gave" in advice.basis  # in its parity check
    measured = {each.machine: each.efficiency_measured for each in advice.options}
    assert measured["edge-box"]
    assert not measured["cloud-h100"]
    impossible = api.RecommendTargetRequest(endpoint=ENDPOINT)
    impossible.requirements.latency_p95_ms = 0.0001
    assert deployment.client.RecommendTarget(impossible).impossible.startswith("No, because")


def test_a_canary_goes_up_step_by_step_without_a_failed_request_even_after_kill_9(
    deployment: Deployment, adapters: Sequence[Path]
) -> None:
    """The agent that decides is killed in the middle; the next one goes on. Users notice nothing."""
    first = deployment.endpoint().live_revision
    order(deployment, stepwise(30, 60, watch=600))
    version = deployment.publish_version("c1", adapters[1])
    deployment.approve(version, adapters[1])
    both = (first, in_state(deployment, version, CANARY).name)
    killed = deployment.engines_ready(*both)
    deployment.stop("agent", how=signal.SIGKILL)
    deployment.start("agent")
    eventually(lambda: len(deployment.engines_ready(*both) - killed) == 4, "their engines are back")
    with Users(deployment.gateway_url) as users:
        promoted = in_state(deployment, version, LIVE)
        users.ask_more(10)
    assert set(users.statuses) == {200}
    kinds = ["PARITY_PASSED", "CANARY_STARTED", "CANARY_STEP", "PROMOTED"]
    assert decisions(deployment, version) == kinds
    step = deployment.client.ListDecisions(api.ListDecisionsRequest(parent=ENDPOINT)).decisions[1]
    assert step.figures["requests"] >= 4
    assert step.figures["next_weight"] == 60
    told = deployment.event("RevisionPromoted", revision=promoted.name)
    assert told["previousRevision"] == first
    eventually(lambda: len(deployment.decided(promoted.name)) >= len(kinds), "every decision is told")
    events = deployment.decided(promoted.name)
    assert [each["kind"] for each in events] == [f"DECISION_KIND_{kind}" for kind in kinds]
    assert events[0]["figures"].keys() >= {"served_loss", "top1_agreement"}
    assert events[2]["figures"] == dict(step.figures)


def test_what_fails_after_its_promotion_goes_back_by_itself_at_once(deployment: Deployment) -> None:
    """The revision before is still warm: its engines never stopped, so the traffic is back in a moment."""
    bad, good = deployment.endpoint().live_revision, deployment.endpoint().previous_revision
    with psycopg.connect(deployment.environment["SARTOR_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(
            "INSERT INTO deployment.gateway_requests (id, answer_id, endpoint, revision, api_key, status,"
            " failed, first_byte_ms, total_ms, prompt_tokens, completion_tokens)"
            " SELECT 'bad-' || n, '', %s, %s, '', 500, true, 1, 1, 0, 0 FROM generate_series(1, 2000) n",
            [ENDPOINT, bad],
        )
    eventually(lambda: deployment.endpoint().live_revision == good, "it goes back", 20)
    found = deployment.client.ListDecisions(api.ListDecisionsRequest(parent=ENDPOINT)).decisions[0]
    assert found.kind == endpoint_pb2.DECISION_KIND_ROLLED_BACK
    assert found.reason == "ERRORS"
    assert found.figures["error_rate"] > 0.5


def test_in_the_shadow_a_revision_answers_nobody_and_is_judged(
    deployment: Deployment, adapters: Sequence[Path]
) -> None:
    """Asked what users ask, first stopped because it says something else, then on to the canary and live."""
    before = deployment.endpoint().live_revision
    rollout = stepwise(50)
    rollout.shadow.CopyFrom(
        endpoint_pb2.Shadow(share=1, time=Duration(nanos=200_000_000), min_requests=4, min_agreement=1)
    )
    order(deployment, rollout)
    version = deployment.publish_version("w1", adapters[2])
    deployment.approve(version, adapters[2])
    with Users(deployment.gateway_url):
        rejected = in_state(deployment, version, REJECTED)
    assert rejected.error.reason == "SHADOW_AGREEMENT"
    assert decisions(deployment, version) == ["PARITY_PASSED", "SHADOW_STARTED", "REJECTED"]
    assert deployment.endpoint().live_revision == before

    rollout.shadow.min_agreement = 0
    order(deployment, rollout)
    version = deployment.publish_version("w2", adapters[2])
    deployment.approve(version, adapters[2])
    with Users(deployment.gateway_url) as users:
        live = in_state(deployment, version, LIVE)
    assert set(users.statuses) == {200}
    assert decisions(deployment, version) == [
        "PARITY_PASSED", "SHADOW_STARTED", "SHADOW_PASSED", "CANARY_STARTED", "PROMOTED",
    ]  # fmt: skip
    found = deployment.client.ListDecisions(api.ListDecisionsRequest(parent=ENDPOINT)).decisions
    passed = next(each for each in found if each.kind == endpoint_pb2.DECISION_KIND_SHADOW_PASSED)
    assert passed.revision == live.name
    assert passed.figures["agreement_count"] >= 4


def test_a_canary_whose_engines_crash_in_a_loop_is_taken_back_and_the_live_one_answers_on(
    deployment: Deployment, adapters: Sequence[Path]
) -> None:
    """Killed again and again, they are started ever later, then given up; the live revision answers on."""
    live = deployment.endpoint().live_revision
    rollout = stepwise(50)
    rollout.canary.min_requests = 1_000_000  # what users meet decides nothing here
    rollout.stop.max_error_increase = 1
    order(deployment, rollout)
    version = deployment.publish_version("c2", adapters[2])
    deployment.approve(version, adapters[2])
    canary = in_state(deployment, version, CANARY)
    killed: set[int] = set()

    def given_up() -> bool:
        with psycopg.connect(deployment.environment["SARTOR_DATABASE_URL"]) as connection:
            rows = connection.execute(
                "SELECT pid FROM deployment.engines WHERE revision = %s AND pid <> 0", [canary.name]
            ).fetchall()
        for (pid,) in rows:
            if pid not in killed:
                killed.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return in_state_now(deployment, version) == REJECTED

    with Users(deployment.gateway_url) as users:
        eventually(given_up, "it is given up")
    rejected = in_state(deployment, version, REJECTED)
    assert rejected.error.reason == "ENGINE_FAILED"
    assert "its engine does not run: " in rejected.error.message
    assert "sartor logs deployment-agent" in rejected.error.message
    assert rejected.canary_weight == 0
    assert len(killed) >= 3
    assert deployment.endpoint().live_revision == live
    # Streams that were open at a killed engine end with an error event; nothing else may go wrong.
    assert set(users.statuses) <= {200, -1}
    with Users(deployment.gateway_url) as users:
        users.ask_more(10)
    assert set(users.statuses) == {200}


def in_state_now(deployment: Deployment, version: str) -> int:
    """The state of the version's revision."""
    revision = deployment.revision_of(version)
    assert revision is not None
    return revision.state
