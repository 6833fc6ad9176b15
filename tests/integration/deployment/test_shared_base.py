"""Adapters on a shared base through llama.cpp: live through parity, one file for all; refusals."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from safetensors.torch import load_file, save_file
from sartor.deployment.v1 import advice_pb2, endpoint_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor_cli.edge_bundle import write_bundle
from sartor_cli.faults import CommandFailed
from sartor_datasets.manifests import ObjectReference
from sartor_datasets.reference_outputs import write_reference_outputs
from sartor_deployment import store
from sartor_deployment.build.choose_form import decide, side_by_side
from sartor_deployment.build.forms import Merged, OnSharedBase
from sartor_deployment.build.weights import build
from sartor_deployment.resources import EngineSettings
from sartor_deployment.targets.engine_memory import need
from sartor_platform.database import Database

from tests.integration.deployment.conftest import (
    QUESTIONS,
    Deployment,
    Names,
    eventually,
    make_adapter,
    reference_outputs,
)
from tests.tiny_model import make_tiny_model

NAMES = Names("desk-shared-base")
PROJECT, MODEL, ENDPOINT = NAMES.project, NAMES.model, NAMES.endpoint

CONVERTER = Path(sys.prefix) / "share" / "sartor" / "converter"
pytestmark = pytest.mark.skipif(not CONVERTER.exists(), reason="the converter is not installed")
SHARED = {"a": f"projects/{PROJECT}/endpoints/a", "b": f"projects/{PROJECT}/endpoints/b"}
SETTLED = (endpoint_pb2.REVISION_STATE_LIVE, endpoint_pb2.REVISION_STATE_REJECTED)


def settled(deployment: Deployment, endpoint: str, version: str) -> endpoint_pb2.Revision:
    """An endpoint's revision of a version, once it is live or rejected."""

    def look() -> endpoint_pb2.Revision | None:
        found = deployment.client.ListRevisions(api.ListRevisionsRequest(parent=endpoint)).revisions
        return next((r for r in found if r.model_version == version and r.state in SETTLED), None)

    return eventually(look, f"{version} is settled on {endpoint}")


def answer(deployment: Deployment, model: str, question: str) -> str:
    """The greedy answer to a question."""
    asked = {"messages": [{"role": "user", "content": question}], "max_tokens": 12, "temperature": 0}
    url = f"{deployment.gateway_url}/chat/completions"
    told = httpx.post(url, json={"model": model, **asked}, timeout=60).raise_for_status()
    return str(told.json()["choices"][0]["message"]["content"])


def mapped(pid: int) -> set[int]:
    """The inodes of the GGUF-sized files that a process has mapped from the agent's folders."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {int(line.split()[4]) for line in lines if "/engines/" in line}


@pytest.fixture(scope="module")
def live(deployment: Deployment, adapters: Sequence[Path]) -> dict[str, endpoint_pb2.Revision]:
    """The same version merged on `support`, and as an adapter on the shared base of `a` and `b`."""
    for name in SHARED.values():
        shared = endpoint_pb2.Endpoint(
            name=name, model=MODEL, weights_form=endpoint_pb2.WEIGHTS_FORM_SHARED_BASE
        )
        shared.parity.CopyFrom(deployment.endpoint().parity)
        shared.engine.CopyFrom(deployment.endpoint().engine)
        kept = deployment.client.ApplyEndpoint(api.ApplyEndpointRequest(endpoint=shared))
        assert kept.weights_form == endpoint_pb2.WEIGHTS_FORM_SHARED_BASE
    version = deployment.publish_version("v1", adapters[0])
    deployment.approve(version, adapters[0])
    return {name: settled(deployment, name, version) for name in (ENDPOINT, *SHARED.values())}


def test_a_shared_revision_goes_live_through_parity_and_answers_as_the_merged_one(
    deployment: Deployment, live: dict[str, endpoint_pb2.Revision]
) -> None:
    """Both lose the same on the gate's answers, within the bound of parity; both shared ones say the same."""
    merged = live[ENDPOINT]
    assert deployment.endpoint().weights_form == endpoint_pb2.WEIGHTS_FORM_MERGED
    assert not merged.HasField("base_weights")
    for name in SHARED.values():
        shared = live[name]
        assert shared.state == endpoint_pb2.REVISION_STATE_LIVE, shared.error
        assert shared.parity.passed
        assert abs(shared.parity.served_loss - merged.parity.served_loss) < 0.05
        assert shared.weights.size_bytes < merged.weights.size_bytes
        assert shared.base_weights.size_bytes > shared.weights.size_bytes
    eventually(lambda: _answers_as_merged(deployment), "the gateway knows all three")


def _answers_as_merged(deployment: Deployment) -> bool:
    try:
        said = {name: answer(deployment, name, QUESTIONS[1][0]) for name in ("support", "a", "b")}
    except httpx.HTTPStatusError:
        return False
    assert said["a"] == said["b"]
    assert said["a"].split()[:1] == said["support"].split()[:1]
    return True


def test_two_endpoints_share_one_file_in_the_store_on_disk_and_in_memory(
    deployment: Deployment, live: dict[str, endpoint_pb2.Revision]
) -> None:
    """Built twice or once, kept once; what their engines map is one inode."""
    first, second = (live[name] for name in SHARED.values())
    assert first.base_weights == second.base_weights
    kept = first.base_weights.uri.removeprefix(f"s3://{deployment.bucket}/")
    objects = deployment.objects.list_objects(deployment.bucket, prefix="base-models/", recursive=True)
    # Training keeps the base model itself there.
    assert [each.object_name for each in objects if "/gguf/" in each.object_name] == [kept]
    engines = [mapped(pid) for pid in deployment.engine_pids()]
    assert len(engines) == 3
    inodes = [inode for each in engines for inode in each]
    assert sorted(inodes.count(inode) for inode in set(inodes)) == [1, 2]  # merged alone, the base twice


def test_of_two_builds_at_once_the_first_one_s_file_is_everyone_s(deployment: Deployment) -> None:
    """The second waits for the first and takes its file; a file that is lost is forgotten, no other."""
    database = Database(deployment.environment["SARTOR_DATABASE_URL"], "deployment")
    files = [ObjectReference(f"s3://b/{number}", str(number) * 64, number) for number in (1, 2)]
    with ThreadPoolExecutor(1) as pool, database.transaction() as first:
        assert store.keep_shared_base(first, "source", "Q8_0", files[0]) == files[0]

        def second() -> ObjectReference:
            with database.transaction() as tx:
                return store.keep_shared_base(tx, "source", "Q8_0", files[1])

        late = pool.submit(second)
        with pytest.raises(TimeoutError):
            late.result(0.2)  # it cannot know yet
        first.connection.commit()
        assert late.result(20) == files[0]
    with database.transaction() as tx:
        store.forget_shared_base(tx, "source", files[1])
        assert store.shared_bases(tx.connection, "source") == {"Q8_0": files[0]}
        store.forget_shared_base(tx, "source", files[0])
        assert store.shared_bases(tx.connection, "source") == {}


def test_advice_counts_an_adapter_with_its_base(
    deployment: Deployment, live: dict[str, endpoint_pb2.Revision]
) -> None:
    """Another machine needs both: as much as the merged weights, and a little more."""
    asked = advice_pb2.Requirements(requests_per_second=1)
    told = {
        name: deployment.client.RecommendTarget(
            api.RecommendTargetRequest(endpoint=name, requirements=asked)
        ).options
        for name in (ENDPOINT, SHARED["a"])
    }
    merged, shared = (
        {(each.machine, each.engine, each.quantization, each.replicas) for each in options}
        for options in told.values()
    )
    assert merged == shared


def test_a_device_gets_no_bundle_of_an_adapter_without_its_base(
    deployment: Deployment, live: dict[str, endpoint_pb2.Revision], tmp_path: Path
) -> None:
    """The command says which setting to change."""

    client = SimpleNamespace(deployment=deployment.client, ask=lambda call, request: call(request))
    (tmp_path / "key.pem").touch()
    with pytest.raises(CommandFailed, match="shares with other endpoints") as caught:
        write_bundle(client, SHARED["a"], tmp_path / "key.pem", tmp_path / "out")  # type: ignore[arg-type]
    assert "weights: merged" in caught.value.advice


def test_an_adapter_of_another_base_is_rejected_and_what_is_live_stays(
    deployment: Deployment, live: dict[str, endpoint_pb2.Revision], adapters: Sequence[Path], tmp_path: Path
) -> None:
    """By its shape, before an engine is started."""
    other = make_adapter(make_tiny_model(tmp_path / "other", hidden=64), tmp_path / "adapter", 1)
    version = deployment.publish_version("v2", other)
    deployment.approve(version, adapters[0])
    for name in SHARED.values():
        refused = settled(deployment, name, version)
        assert refused.state == endpoint_pb2.REVISION_STATE_REJECTED
        assert refused.error.reason == "ADAPTER_MISMATCH"
        assert "of another base model" in refused.error.message
        endpoint = deployment.client.GetEndpoint(api.GetEndpointRequest(name=name))
        assert endpoint.live_revision == live[name].name
    assert answer(deployment, "b", QUESTIONS[1][0])


def test_a_version_that_cannot_share_is_rejected_there_and_live_elsewhere(
    deployment: Deployment,
    live: dict[str, endpoint_pb2.Revision],
    adapters: Sequence[Path],
    tmp_path: Path,
) -> None:
    """DoRA: refused on a shared base, where the old revision stays; merged where the choice is free."""
    free = deployment.client.GetEndpoint(api.GetEndpointRequest(name=SHARED["b"]))
    free.weights_form = endpoint_pb2.WEIGHTS_FORM_AUTO
    deployment.client.ApplyEndpoint(api.ApplyEndpointRequest(endpoint=free))
    dora = _dora(deployment.base, adapters[1], tmp_path / "dora")
    version = deployment.publish_version("v3", dora)
    deployment.approve(version, dora)
    merged = settled(deployment, SHARED["b"], version)
    assert merged.state == endpoint_pb2.REVISION_STATE_LIVE, merged.error
    assert not merged.HasField("base_weights")
    decisions = deployment.client.ListDecisions(api.ListDecisionsRequest(parent=SHARED["b"])).decisions
    (chosen,) = [d for d in decisions if d.kind == endpoint_pb2.DECISION_KIND_WEIGHTS_FORM_CHOSEN]
    assert "cannot share its base: llama.cpp does not read DoRA" in chosen.message
    refused = settled(deployment, SHARED["a"], version)
    assert refused.state == endpoint_pb2.REVISION_STATE_REJECTED
    assert refused.error.reason == "ADAPTER_NOT_SHAREABLE"
    assert "weights: merged" in refused.error.message
    endpoint = deployment.client.GetEndpoint(api.GetEndpointRequest(name=SHARED["a"]))
    assert endpoint.live_revision == live[SHARED["a"]].name
    assert answer(deployment, "a", QUESTIONS[1][0])


def test_a_base_that_is_lost_is_built_again(
    deployment: Deployment, live: dict[str, endpoint_pb2.Revision]
) -> None:
    """Neither the store nor this machine has the file any more: the next build makes the same one."""
    base = live[SHARED["a"]].base_weights
    key = base.uri.removeprefix(f"s3://{deployment.bucket}/")
    deployment.objects.remove_object(deployment.bucket, key)
    (deployment.folder / "data" / "objects" / base.sha256[:2] / base.sha256).unlink()
    made = deployment.client.CreateRevision(
        api.CreateRevisionRequest(parent=SHARED["a"], model_version=live[SHARED["a"]].model_version)
    )

    def look() -> endpoint_pb2.Revision | None:
        found = deployment.client.GetRevision(api.GetRevisionRequest(name=made.name))
        return found if found.state in SETTLED else None

    again = eventually(look, "it is settled")
    assert again.state == endpoint_pb2.REVISION_STATE_LIVE, again.error
    assert again.base_weights == base
    assert deployment.objects.stat_object(deployment.bucket, key).size == base.size_bytes


def _dora(base: Path, adapter: Path, folder: Path) -> Path:
    """A DoRA adapter that learned the rows' lengths as they were."""
    folder.mkdir()
    weights, of_base = load_file(adapter / "adapter_model.safetensors"), load_file(base / "model.safetensors")
    for name in [name for name in weights if name.endswith("lora_A.weight")]:
        stem = name.removesuffix(".lora_A.weight")
        lengths = of_base[f"{stem.removeprefix('base_model.model.')}.weight"].norm(dim=1)
        weights[f"{stem}.lora_magnitude_vector"] = lengths
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = json.loads((adapter / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    return folder


@pytest.fixture
def task(
    tiny_base: Path, adapters: Sequence[Path], live: dict[str, endpoint_pb2.Revision], tmp_path: Path
) -> dict[str, Any]:
    """What a build job is given that must choose by itself."""
    references = tmp_path / "references.jsonl"
    write_reference_outputs(references, "v", reference_outputs(tiny_base, adapters[0]))
    named = tmp_path / live[SHARED["a"]].base_weights.uri.split("/base-models/")[1].split("/")[0]
    named.symlink_to(tiny_base)  # the folder's name is in the file
    return {
        "base": str(named), "version": str(adapters[0]), "quantization": "Q8_0", "weights_form": "AUTO",
        "converter": str(CONVERTER), "references": str(references), "context_length": 256, "slots": 2,
        "threads": 1, "max_tokens": 500, "budget_seconds": 10.0, "allowed_loss": 0.02, "loss_margin": 0.05,
        "top1_agreement": 0.8,
    }  # fmt: skip


def quiet(_fraction: float, **_figures: Any) -> None:
    """Nobody watches."""


def test_auto_measures_both_forms_and_gives_the_numbers(
    task: dict[str, Any], live: dict[str, endpoint_pb2.Revision], tmp_path: Path
) -> None:
    """The table has both rows with their sizes; the base is built as the worker built it, byte for byte."""
    result = build(task, tmp_path, quiet)  # type: ignore[arg-type]
    merged, shared = result["variants"]
    assert (merged["quantization"], shared["quantization"]) == ("Q8_0", "Q8_0+adapter")
    assert merged["tokens_per_second"] > 0 < shared["tokens_per_second"]
    assert abs(merged["loss"] - shared["loss"]) < 0.02
    assert shared["size_bytes"] < merged["size_bytes"]
    assert merged["chosen"] is not shared["chosen"]
    assert shared["chosen"] is result["verdict"]["shared"] is (result["base"] is not None)
    assert f"{result['verdict']['figures']['speed_of_merged']:.2f}" in result["verdict"]["message"]

    forms = OnSharedBase(task, tmp_path, quiet)  # type: ignore[arg-type]
    base = forms.stored("Q8_0").model
    with base.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == live[SHARED["a"]].base_weights.sha256

    # Room for the adapter's own memory and half of the weights, which engines of other endpoints have mapped.
    needed = need(base, EngineSettings(task["context_length"], task["slots"], task["threads"]))
    room = {"free_bytes": needed.own_bytes + needed.file_bytes // 2 + 100_000, "mapped_bases": ["Q8_0"]}
    stored = Merged(task, tmp_path, quiet).stored("Q8_0")  # type: ignore[arg-type]
    found = side_by_side({**task, **room}, "Q8_0", stored, forms.stored("Q8_0"))
    assert "ENGINE_NEEDS_MEMORY" in found.merged.error
    assert decide(found, allowed_loss=0.02, loss_margin=0.05, top1_agreement=0.8).shared
