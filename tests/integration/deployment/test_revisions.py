"""The life of an endpoint from its first approved version to a rollback, with a tiny model."""

from __future__ import annotations

import io
import math
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import openai
import pytest
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor.deployment.v1 import endpoint_pb2
from sartor_cli.edge_bundle import write_bundle
from sartor_cli.faults import CommandFailed
from sartor_datasets.reference_outputs import ReferenceOutput
from sartor_models.classifier import load_classifier
from sartor_models.output_layer import OutputLayer

from tests.integration.deployment.conftest import (
    QUESTIONS,
    Deployment,
    Names,
    eventually,
)

NAMES = Names("desk-revisions")
MODEL, ENDPOINT = NAMES.model, NAMES.endpoint
QUESTION = [{"role": "user", "content": "Where is my order?"}]


@pytest.fixture
def client(deployment: Deployment) -> openai.OpenAI:
    """The client users have."""
    return openai.OpenAI(base_url=deployment.gateway_url, api_key="none", max_retries=0, timeout=60)


def answer(client: openai.OpenAI, model: str = "support") -> openai.types.chat.ChatCompletion:
    """One answer."""
    return client.chat.completions.create(model=model, messages=QUESTION, max_tokens=8, temperature=0, seed=1)


def test_an_approved_version_goes_live_with_its_numbers(
    deployment: Deployment, adapters: Sequence[Path], client: openai.OpenAI
) -> None:
    """Built, started, checked through its engine, promoted, announced."""
    version = deployment.publish_version("v1", adapters[0])
    deployment.approve(version, adapters[0], run="run-of-v1")

    revision = deployment.settled(version)

    assert revision.state == endpoint_pb2.REVISION_STATE_LIVE, revision.error
    assert revision.run == "run-of-v1"
    assert revision.created_by == ENDPOINT
    assert revision.parity.passed
    assert revision.parity.items == 4
    assert revision.parity.tokens_per_second > 0
    assert revision.parity.memory_bytes_per_second > 10**8
    assert abs(revision.parity.served_loss - revision.parity.reference_loss) < 0.05
    assert deployment.endpoint().live_revision == revision.name
    assert deployment.endpoint().url == deployment.gateway_url
    promoted = deployment.event("RevisionPromoted", revision=revision.name)
    assert promoted["modelVersion"] == version
    assert promoted["parity"]["top1Agreement"] >= 0.85
    eventually(lambda: "support" in [model.id for model in client.models.list()], "the gateway knows it")


def test_a_first_revision_has_nothing_to_go_back_to(deployment: Deployment) -> None:
    """And says by which commands another one comes."""
    with pytest.raises(grpc.RpcError, match="nothing to go back to") as caught:
        deployment.client.RollbackEndpoint(api.RollbackEndpointRequest(name=ENDPOINT, request_id="nothing"))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "`sartor loop start support`" in caught.value.details()


def test_the_openai_client_gets_answers(client: openai.OpenAI, deployment: Deployment) -> None:
    """By endpoint id and by revision name; the answer names the revision."""
    live = deployment.endpoint().live_revision
    by_endpoint = answer(client)
    assert by_endpoint.model == live
    assert by_endpoint.usage is not None
    assert by_endpoint.usage.completion_tokens > 0
    assert answer(client, live).choices[0].message.content == by_endpoint.choices[0].message.content
    assert client.models.retrieve("support").id == "support"


def test_the_openai_client_streams(client: openai.OpenAI) -> None:
    """The pieces of a stream are the whole answer."""
    whole = answer(client).choices[0].message.content
    stream = client.chat.completions.create(
        model="support", messages=QUESTION, max_tokens=8, temperature=0, seed=1, stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == whole
    assert len(pieces) > 1


def test_an_unknown_model_is_a_404_the_client_understands(client: openai.OpenAI) -> None:
    """In OpenAI's shape, with what there is."""
    with pytest.raises(openai.NotFoundError) as caught:
        answer(client, "nobody")
    assert caught.value.code == "model_not_found"
    assert "support" in caught.value.message


def test_a_prompt_over_the_context_length_is_a_400(client: openai.OpenAI) -> None:
    """The engine's own error, in OpenAI's shape."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="support", messages=[{"role": "user", "content": "reset my password " * 400}]
        )
    assert caught.value.code == "context_length_exceeded"


def test_a_crashed_engine_is_restarted(deployment: Deployment, client: openai.OpenAI) -> None:
    """A request right after the crash waits and is answered by the new engine."""
    before = deployment.engine_pids()
    assert len(before) == 1
    os.kill(before[0], signal.SIGKILL)
    assert answer(client).choices[0].finish_reason in ("stop", "length")
    after = eventually(lambda: deployment.engine_pids(), "an engine runs")
    assert after != before


def test_an_engine_that_is_not_the_evaluated_model_is_rejected(
    deployment: Deployment, adapters: Sequence[Path], client: openai.OpenAI
) -> None:
    """References of another adapter: refused with the numbers, the old revision stays live."""
    live = deployment.endpoint().live_revision
    version = deployment.publish_version("v2", adapters[1])
    deployment.approve(version, adapters[0])

    revision = deployment.settled(version)

    assert revision.state == endpoint_pb2.REVISION_STATE_REJECTED
    assert revision.error.reason in ("PARITY_LOSS", "PARITY_TOP1")
    assert "top-1 agreement" in revision.error.message
    assert not revision.parity.passed
    assert deployment.endpoint().live_revision == live
    assert deployment.event("RevisionRejected", revision=revision.name)["reason"] == revision.error.reason
    assert answer(client).model == live


def test_corrupted_weights_are_rejected_and_the_live_revision_comes_back_after_kill(
    deployment: Deployment, adapters: Sequence[Path], client: openai.OpenAI
) -> None:
    """The agent is killed, the new weights are damaged in the store, the agent starts again."""
    live = deployment.endpoint().live_revision
    engines = deployment.engine_pids()
    deployment.stop("agent", how=signal.SIGKILL)
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in engines), "its engines die with it")
    version = deployment.publish_version("v3", adapters[2])
    deployment.approve(version, adapters[2])
    starting = endpoint_pb2.REVISION_STATE_STARTING

    def built() -> endpoint_pb2.Revision | None:
        revision = deployment.revision_of(version)
        return revision if revision is not None and revision.state == starting else None

    weights = eventually(built, "it is built").weights
    key = weights.uri.removeprefix(f"s3://{deployment.bucket}/")
    deployment.objects.put_object(deployment.bucket, key, io.BytesIO(b"GGUF" + bytes(100)), 104)
    deployment.start("agent")

    revision = deployment.settled(version)

    assert revision.state == endpoint_pb2.REVISION_STATE_REJECTED
    assert revision.error.reason == "DIGEST_MISMATCH"
    assert deployment.endpoint().live_revision == live
    assert answer(client).model == live


def test_a_version_without_reference_outputs_cannot_be_deployed_by_hand(
    deployment: Deployment, adapters: Sequence[Path]
) -> None:
    """FAILED_PRECONDITION says what to do first."""
    version = deployment.publish_version("v4", adapters[1])

    def refused() -> grpc.RpcError | None:
        with pytest.raises(grpc.RpcError) as caught:
            deployment.client.CreateRevision(
                api.CreateRevisionRequest(parent=ENDPOINT, model_version=version)
            )
        return caught.value if caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION else None

    assert "evaluate it first" in eventually(refused, "it is known").details()


def test_a_rollback_starts_the_earlier_engine_and_then_moves_the_traffic(
    deployment: Deployment, adapters: Sequence[Path], client: openai.OpenAI
) -> None:
    """A good second version supersedes the first; RollbackEndpoint brings the first back."""
    first = deployment.endpoint().live_revision
    version = f"{MODEL}/versions/v4"
    deployment.approve(version, adapters[1])
    second = deployment.settled(version)
    assert second.state == endpoint_pb2.REVISION_STATE_LIVE, second.error
    assert deployment.endpoint().previous_revision == first
    eventually(lambda: answer(client).model == second.name, "the traffic moves")

    request = api.RollbackEndpointRequest(name=ENDPOINT, request_id="roll-back-once")
    deployment.client.RollbackEndpoint(request)

    eventually(lambda: deployment.endpoint().live_revision == first, "it is rolled back")
    states = {revision.name: revision.state for revision in deployment.revisions()}
    assert states[first] == endpoint_pb2.REVISION_STATE_LIVE
    assert states[second.name] == endpoint_pb2.REVISION_STATE_ROLLED_BACK
    assert deployment.event("EndpointRolledBack", toRevision=first)["fromRevision"] == second.name
    eventually(lambda: answer(client).model == first, "the traffic is back")
    with pytest.raises(grpc.RpcError) as caught:
        deployment.client.RollbackEndpoint(api.RollbackEndpointRequest(name=ENDPOINT))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_after_kill_9_of_everything_the_live_revision_answers_again(
    deployment: Deployment, client: openai.OpenAI
) -> None:
    """Nothing but the database and the object store is needed to come back."""
    live = deployment.endpoint().live_revision
    deployment.stop("server", "worker", "agent", "gateway", how=signal.SIGKILL)
    deployment.start("server", "worker", "agent", "gateway")
    assert answer(client).model == live


def test_labels_are_served_but_neither_advised_about_nor_written_out_for_vllm_or_devices(
    deployment: Deployment, adapters: Sequence[Path], tmp_path: Path
) -> None:
    """Each says why, instead of reckoning with a model that writes."""
    folder = tmp_path / "version"
    shutil.copytree(adapters[0], folder)
    OutputLayer("single_label", ("Dock", "Till"), 128, temperature=0.1, max_length=40).save(folder)
    said = load_classifier(deployment.base, folder).predict([question for question, _ in QUESTIONS])
    outputs = [
        ReferenceOutput(
            str(number), ({"role": "user", "content": question},), each.labels[0], (0,), (0,), (0,),
            -math.log(max(each.probabilities[each.labels[0]], 1e-6)),
        )
        for number, ((question, _), each) in enumerate(zip(QUESTIONS, said, strict=True))
    ]  # fmt: skip
    version = deployment.publish_version("labels", folder)
    deployment.approve(version, folder, outputs=outputs)
    assert deployment.settled(version).state == endpoint_pb2.REVISION_STATE_LIVE
    for call, request in (
        (deployment.client.RecommendTarget, api.RecommendTargetRequest(endpoint=ENDPOINT)),
        (deployment.client.RenderTarget, api.RenderTargetRequest(name=ENDPOINT)),
    ):
        with pytest.raises(grpc.RpcError, match="says labels or numbers") as caught:
            call(request)
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    stack = SimpleNamespace(environment=deployment.environment)
    sartor: Any = SimpleNamespace(
        deployment=deployment.client, ask=lambda call, request: call(request), stack=stack
    )
    (tmp_path / "key.pem").touch()
    with pytest.raises(CommandFailed, match="says labels or numbers") as refused:
        write_bundle(sartor, ENDPOINT, tmp_path / "key.pem", tmp_path / "out")
    assert "/v1/classifications" in refused.value.advice
    assert not (tmp_path / "out").exists()
