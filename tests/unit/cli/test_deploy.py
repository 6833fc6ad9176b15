"""What `sartor deploy status` and `advise` show, and the project file's deployment part as it is sent."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict
from sartor.deployment.v1 import advice_pb2, endpoint_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor_cli import deploy
from sartor_cli.advice import data_class, show_advice
from sartor_cli.chat import rolled_back
from sartor_cli.faults import CommandFailed

from tests.unit.cli.test_project_file import GOOD, parse, part

ENDPOINT = "projects/desk/endpoints/support"


def test_a_revision_that_waits_says_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    """The command is there to be copied; a canary shows its share."""
    revisions = [
        endpoint_pb2.Revision(
            name=f"{ENDPOINT}/revisions/r3", state=endpoint_pb2.REVISION_STATE_AWAITING_APPROVAL
        ),
        endpoint_pb2.Revision(
            name=f"{ENDPOINT}/revisions/r2", state=endpoint_pb2.REVISION_STATE_CANARY, canary_weight=25
        ),
    ]
    deploy._show_endpoint(endpoint_pb2.Endpoint(name=ENDPOINT), revisions)
    shown = capsys.readouterr().out
    assert "sartor deploy approve support r3" in shown
    assert "canary (25 %)" in shown


def test_decisions_traffic_and_variants_show_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """Why, by whom, how fast, how small."""
    deploy._show_decisions(
        [
            endpoint_pb2.Decision(
                revision=f"{ENDPOINT}/revisions/r2", kind=endpoint_pb2.DECISION_KIND_REJECTED,
                reason="CANARY_ERRORS", message="12.0% of 50 requests failed", decided_by=ENDPOINT,
            )
        ]
    )  # fmt: skip
    deploy._show_traffic([api.RevisionTraffic(revision="r2", requests=1200, latency_p95_ms=345.6)])
    variant = endpoint_pb2.WeightsVariant(
        quantization="Q5_1", size_bytes=98_000_000, loss_gap=0.0123, chosen=True
    )
    revision = endpoint_pb2.Revision(name=f"{ENDPOINT}/revisions/r2", variants=[variant])
    deploy._show_variants([revision])
    shown = capsys.readouterr().out
    for text in (
        "CANARY_ERRORS: 12.0% of 50",
        "rejected",
        "1,200",
        "346",
        "Q5_1",
        "98.0",
        "+0.0123",
        "taken",
    ):
        assert text in shown


def test_an_adapter_on_a_shared_base_is_shown_with_both_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    """What this endpoint costs, and what it shares."""
    shared = endpoint_pb2.Revision(
        name=f"{ENDPOINT}/revisions/r4", state=endpoint_pb2.REVISION_STATE_LIVE,
        variants=[
            endpoint_pb2.WeightsVariant(
                quantization="Q8_0+adapter", size_bytes=9_800_000, shared_bytes=171_400_000, chosen=True
            )
        ],
    )  # fmt: skip
    shared.weights.size_bytes, shared.base_weights.size_bytes = 9_800_000, 171_400_000
    shared.base_weights.sha256 = "0f" * 32
    assert deploy._weights_text(shared) == "9.8 MB on a shared base of 171.4 MB (0f0f0f0f)"
    deploy._show_variants([shared])
    shown = capsys.readouterr().out
    assert "Q8_0+adapter" in shown
    assert "171.4" in shown


def test_a_rollback_says_whether_the_traffic_has_moved_already() -> None:
    """It has where the engines before were still warm, also to the first revision of all."""
    live, earlier = (f"projects/p/endpoints/support/revisions/{name}" for name in ("r2", "r1"))
    before = endpoint_pb2.Endpoint(
        name="projects/p/endpoints/support", live_revision=live, previous_revision=earlier
    )
    assert rolled_back(before, before) == (
        earlier,
        "support: r1 is started and then answers instead of r2.",
    )
    done = endpoint_pb2.Endpoint(name=before.name, live_revision=earlier)
    assert rolled_back(before, done) == (earlier, "support: r1 answers again instead of r2.")


def test_advice_shows_cost_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    """What decides for the first, why not for the other; a class that is not known is told."""
    options = [
        advice_pb2.TargetOption(
            machine="edge-box",
            replicas=2,
            cost_per_month=70,
            deciding="data_class",
            efficiency=0.71,
            efficiency_measured=True,
        ),
        advice_pb2.TargetOption(machine="cloud-l4", accelerator="NVIDIA L4", reasons=["too far away"]),
    ]
    show_advice(
        api.RecommendTargetResponse(
            options=options, model_statement="A roofline.", currency="EUR", basis="Of a CPU."
        )
    )
    shown = capsys.readouterr().out
    for text in (
        "2 × edge-box", "NVIDIA L4", "A MONTH EUR", "data class", "too far away", "A roofline.",
        "0.71 measured", "0.00 assumed", "Of a CPU.",
    ):  # fmt: skip
        assert text in shown
    with pytest.raises(CommandFailed, match="no class of data"):
        data_class("moon")


DOCUMENTED = """
deployment:
  name: support
  model: assistant
  quantization: auto
  weights: auto
  allowed_loss: 0.02
  engine: {context_length: 2048, slots: 4, replicas: 2, queue: 256}
  rollout:
    smoke_prompts:
      - {prompt: "How do I reset my password?", expect: [password], forbid: ["as an AI"]}
    canary: {steps: [5, 25, 50], step_seconds: 300, min_requests: 50, patience_seconds: 3600}
    stop: {max_error_increase: 0.02, max_latency_ratio: 2, max_feedback_drop: 0.1, min_feedback: 20}
    approval: before_promotion
    watch_seconds: 900
  watching: {sample_share: 0.05, retention_seconds: 2592000}
"""


def test_the_documented_deployment_part_becomes_the_endpoint_it_describes() -> None:
    """Seconds become durations, words become constants."""
    text = "\n".join(line for line in GOOD.split("deployment:")[0].splitlines()) + DOCUMENTED
    sent = ParseDict(part(parse(text), "deployment"), endpoint_pb2.Endpoint(), ignore_unknown_fields=True)
    assert sent.quantization == endpoint_pb2.QUANTIZATION_AUTO
    assert sent.weights_form == endpoint_pb2.WEIGHTS_FORM_AUTO
    assert (sent.engine.replicas, sent.engine.queue) == (2, 256)
    assert list(sent.rollout.canary.steps) == [5, 25, 50]
    assert sent.rollout.canary.step_time.seconds == 300
    assert sent.rollout.approval == endpoint_pb2.APPROVAL_BEFORE_PROMOTION
    assert sent.rollout.smoke_prompts[0].forbid == ["as an AI"]
    assert sent.rollout.watch.seconds == 900
    assert sent.watching.sample_share == 0.05
