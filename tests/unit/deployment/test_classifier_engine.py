"""A version that says labels: packed, served by its own engine, reached through the gateway, and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from sartor_datasets.reference_outputs import ReferenceOutput, write_reference_outputs
from sartor_deployment.build.classifier import is_packed, unpack
from sartor_deployment.build.weights import build
from sartor_deployment.gateway.routes import Route
from sartor_deployment.gateway.sample import answer_text, question_of
from sartor_deployment.parity.check import check
from sartor_deployment.resources import EngineSettings
from sartor_deployment.store import Correction
from sartor_deployment.targets.engine_api import EngineApi
from sartor_deployment.targets.engine_memory import EngineMemory, need
from sartor_deployment.targets.local_llama_cpp import EngineDied, LocalEngine
from sartor_deployment.usecases.adaptations import record_row
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
from sartor_models.classifier import load_classifier
from sartor_models.load import load_model
from sartor_models.output_layer import OutputLayer
from sartor_platform.errors import DataLoss, FailedPrecondition

from tests.tiny_model import make_tiny_model
from tests.unit.deployment.engines import FixedRoutes, engine, gateway, send_json
from tests.unit.deployment.test_serving import ENDPOINT, table_of

LABELS = ("Dock", "Till", "Bench")
TEXTS = ["Where is my order?", "I was charged twice", "The brake squeaks", "x y z"]
BOUNDS = {"loss_margin": 0.05, "top1_agreement": 0.97, "budget_seconds": 20, "classifier": True}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Base, version, and the file that a build makes of them."""
    folder = tmp_path_factory.mktemp("classifier")
    base, version = make_tiny_model(folder / "base"), folder / "version"
    adapter = LoraAdapter(rank=4, alpha=8)
    model = add_lora(load_model(base), adapter, seed=3)
    for weight in adapter_weights(model).values():
        torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(1))
    save_adapter(version, adapter, adapter_weights(model), base_model="tiny")
    torch.manual_seed(4)
    OutputLayer("single_label", LABELS, 64, temperature=0.1, max_length=40).save(version)
    (folder / "job").mkdir()
    task = {"base": str(base), "version": str(version), "quantization": "Q8_0", "converter": ""}
    built = build(task, folder / "job", lambda *_, **__: None)  # type: ignore[arg-type]
    return base, version, Path(built["weights"])


@pytest.fixture(scope="module")
def served(packed: tuple[Path, Path, Path]) -> Iterator[str]:
    """The URL of its engine."""
    started = LocalEngine(packed[2], "r1", EngineSettings(threads=1))
    try:
        address = started.wait_for_address(120)
        assert address is not None
        yield address.url
    finally:
        started.stop()


def test_the_gateway_passes_labels_on(packed: tuple[Path, Path, Path], served: str) -> None:
    """One text or several, with calibrated probabilities, as the loaded version says them."""
    expected = load_classifier(packed[0], packed[1]).predict(TEXTS)
    with gateway(FixedRoutes(table_of(Route("r1", (served,), ENDPOINT)))) as front:
        url = f"{front}/v1/classifications"
        several = httpx.post(url, json={"model": "support", "input": TEXTS}, timeout=30)
        one = httpx.post(url, json={"model": "support", "input": TEXTS[0]}, timeout=30)
    assert several.status_code == one.status_code == 200
    data = several.json()["data"]
    assert [each["label"] for each in data] == [said.labels[0] for said in expected]
    for each, said in zip(data, expected, strict=True):
        assert each["probabilities"] == pytest.approx(dict(said.probabilities), abs=0.02)
    assert one.json()["data"][0]["label"] == data[0]["label"]
    assert several.json()["usage"]["prompt_tokens"] == sum(said.tokens for said in expected)


@pytest.mark.parametrize("given", [{}, {"input": []}, {"input": [1]}, {"input": ""}, {"input": [" "]}])
def test_bad_input_is_refused_with_a_reason(served: str, given: dict[str, object]) -> None:
    """Nothing, a number, an empty text."""
    with gateway(FixedRoutes(table_of(Route("r1", (served,), ENDPOINT)))) as front:
        answer = httpx.post(f"{front}/v1/classifications", json={"model": "support", **given}, timeout=30)
    assert answer.status_code == 400
    assert "input" in answer.json()["error"]["message"]


def test_each_model_says_which_way_to_ask_it(served: str) -> None:
    """A chat with a classifier, a classification by a model that writes."""
    body = {"model": "support", "messages": [{"role": "user", "content": "hi"}]}
    tools = [{"type": "function", "function": {"name": "look"}}]
    chosen = {"tools": tools, "tool_choice": "required"}
    with gateway(FixedRoutes(table_of(Route("r1", (served,), ENDPOINT)))) as front:
        for more in (chosen, {"response_format": {"type": "json_object"}}, {"stop": "."}):
            chat = httpx.post(f"{front}/v1/chat/completions", json=body | more, timeout=30)
            assert chat.status_code == 400
            assert "ask /v1/classifications" in chat.json()["error"]["message"]
    missing = {"error": {"message": "File Not Found", "type": "not_found_error"}}
    body = {"model": "support", "input": "hi"}
    with (
        engine(lambda handler, _: send_json(handler, 404, missing)) as url,  # as llama.cpp says it
        gateway(FixedRoutes(table_of(Route("r1", (url,), ENDPOINT)))) as front,
    ):
        wrong = httpx.post(f"{front}/v1/classifications", json=body, timeout=30)
    assert wrong.status_code == 400
    assert "ask /v1/chat/completions" in wrong.json()["error"]["message"]


def test_the_agents_questions_are_answered(served: str) -> None:
    """Alive, a real answer, and nothing to do."""
    api = EngineApi(served)
    api.alive()
    api.answers()
    assert api.busy_slots() == 0


def references(packed: tuple[Path, Path, Path], path: Path, *, wrong: bool) -> Path:
    """What the gate saw the version say; or another version."""
    said = load_classifier(packed[0], packed[1]).predict(TEXTS)
    outputs = []
    for number, (text, each) in enumerate(zip(TEXTS, said, strict=True)):
        label = next(name for name in LABELS if (name != each.labels[0]) == wrong)
        loss = -math.log(max(each.probabilities[label], 1e-6))
        message = ({"role": "user", "content": text},)
        outputs.append(ReferenceOutput(str(number), message, label, (0,), (0,), (0,), loss))
    write_reference_outputs(path, "m", outputs)
    return path


@pytest.mark.parametrize("wrong", [False, True])
def test_parity_holds_for_what_was_evaluated_only(
    packed: tuple[Path, Path, Path], served: str, tmp_path: Path, wrong: bool
) -> None:
    """The same labels with the same losses pass; a version that says others does not."""
    path = references(packed, tmp_path / "r.jsonl", wrong=wrong)
    found = check({"references": str(path), "url": served, **BOUNDS}, tmp_path, lambda *_, **__: None)  # type: ignore[arg-type]
    assert found["parity"]["passed"] is not wrong
    assert found["parity"]["top1_agreement"] == (0.0 if wrong else 1.0)


def test_a_file_that_is_not_whole_is_refused(packed: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """By its engine too; and an engine without memory is never started."""
    whole = packed[2].read_bytes()
    broken = tmp_path / "weights.gguf"
    broken.write_bytes(whole[: len(whole) // 2])
    assert is_packed(packed[2])
    with pytest.raises(DataLoss, match="no whole classifier"):
        unpack(broken, tmp_path / "u")
    started = LocalEngine(broken, "r1", EngineSettings(threads=1))
    with pytest.raises(EngineDied, match="no whole classifier"):
        started.wait_for_address(60)
    memory = EngineMemory(0, lambda: 10**6)
    with (
        pytest.raises(FailedPrecondition, match="the classifier with its runtime"),
        memory.hold(need(packed[2], EngineSettings())),
    ):
        raise AssertionError("it was let in")


def test_samples_and_corrections_of_labels_keep_their_kind() -> None:
    """A corrected label becomes a labelled record, not a chat."""
    question = question_of(json.dumps({"model": "m", "input": ["pay twice", "b"]}).encode())
    assert question[0]["content"] == "pay twice"
    body = json.dumps({"data": [{"label": "Till", "labels": ["Till"]}]}).encode()
    assert answer_text(body) == "Till"
    assert record_row(Correction("r", question, "Dock")) == {
        "id": "correction-r", "text": "pay twice", "label": "Dock",
    }  # fmt: skip
