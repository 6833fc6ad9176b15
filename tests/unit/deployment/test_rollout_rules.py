"""When a canary stops: by errors, latency or feedback, by how much, and not by too little evidence."""

from __future__ import annotations

import dataclasses

import pytest
from sartor_deployment.gateway.device_answers import DeviceAnswer
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.feedback import masked_feedback, parse_feedback
from sartor_deployment.gateway.sample import agreement, answer_text, masked_json, question_of
from sartor_deployment.gateway.traffic import Seen, traffic_row
from sartor_deployment.gateway.usage import Passage
from sartor_deployment.resources import EndpointSpec, WatchingSpec, WeightsForm, check_spec
from sartor_deployment.rollout import (
    Approval,
    Canary,
    RolloutSpec,
    Shadow,
    SmokePrompt,
    StopRules,
    judge,
    judge_shadow,
    lacks_feedback,
)
from sartor_deployment.store import Traffic
from sartor_platform.errors import InvalidArgument

GOOD = Traffic("live", requests=1000, errors=5, latency_p95_ms=200, feedback_count=50, feedback_mean=0.8)


def stop(new: Traffic, **rules: float) -> str:
    """The reason to take it back, or ""."""
    return judge(new, GOOD, dataclasses.replace(StopRules(), **rules), 50).stop  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"errors": 2}, ""),
        ({"errors": 4}, "ERRORS"),
        ({"requests": 10, "errors": 4}, ""),
        ({"requests": 10, "errors": 6}, "ERRORS"),
        ({"requests": 2, "errors": 2}, ""),
        ({"latency_p95_ms": 390}, ""),
        ({"latency_p95_ms": 410}, "LATENCY"),
        ({"requests": 49, "latency_p95_ms": 4000}, ""),
        ({"feedback_mean": 0.71}, ""),
        ({"feedback_mean": 0.69}, "FEEDBACK"),
        ({"feedback_mean": 0.0, "feedback_count": 19}, ""),
    ],
)
def test_a_canary_stops_for_a_reason_and_only_with_evidence(changes: dict[str, float], reason: str) -> None:
    """Each rule at both sides of its bound."""
    new = Traffic("new", requests=100, latency_p95_ms=200, feedback_count=20, feedback_mean=0.8)
    assert stop(dataclasses.replace(new, **changes)) == reason  # type: ignore[arg-type]


def test_trouble_of_the_whole_machine_is_not_the_canarys() -> None:
    """Both fail alike: it is not taken back for that."""
    both = Traffic("both", requests=100, errors=30, latency_p95_ms=9000)
    assert judge(both, dataclasses.replace(both, revision="live"), StopRules(), 50).stop == ""
    assert "allowed are" in judge(both, GOOD, StopRules(), 50).message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"agreement_mean": 0.49}, "AGREEMENT"),
        ({"agreement_mean": 0.49, "agreement_count": 49}, ""),
        ({"errors": 4, "agreement_mean": 0.0}, "ERRORS"),
    ],
)
def test_in_the_shadow_it_stops_by_the_same_rules_and_by_agreement(
    changes: dict[str, float], reason: str
) -> None:
    """Enough answers must have been compared."""
    new = Traffic("new", requests=100, latency_p95_ms=200, agreement_count=50, agreement_mean=0.51)
    found = judge_shadow(
        dataclasses.replace(new, **changes),  # type: ignore[arg-type]
        GOOD,
        StopRules(),
        Shadow(0.5, min_agreement=0.5),
    )
    assert found.stop == reason
    assert found.figures["agreement_count"] == changes.get("agreement_count", 50)


@pytest.mark.parametrize(
    ("scores_of_new", "scores_of_other", "lacks"),
    [(0, 0, False), (20, 20, False), (19, 50, True), (50, 19, True), (0, 1, True)],
)
def test_a_step_waits_for_scores_only_where_users_give_any(
    scores_of_new: int, scores_of_other: int, lacks: bool
) -> None:
    """Else a canary would pass the rule that goes by scores because too few had come."""
    new = Traffic("new", requests=100, feedback_count=scores_of_new)
    other = Traffic("live", requests=100, feedback_count=scores_of_other)
    assert lacks_feedback(new, other, StopRules()) is lacks


def test_agreement_is_the_f1_of_words() -> None:
    """In any order and any case."""
    assert agreement("Your order is late", "late is your Order") == 1
    assert agreement("yes", "no") == 0
    assert agreement("", "") == 1
    assert agreement("", "something") == 0
    assert agreement("a b", "a b c d") == pytest.approx(2 / 3)


def test_a_rollout_survives_json_and_an_old_order_has_none() -> None:
    """Orders of before this release have no rollout."""
    spec = EndpointSpec(
        "projects/p/models/m",
        rollout=RolloutSpec(
            (SmokePrompt("Hi", ("hello",), ("bye",)),), Canary((5, 50), 10, 5, 60), StopRules(0.1),
            Approval.BEFORE_CANARY, 600, Shadow(0.2, 10, 5, 60, 0.5),
        ),
        watching=WatchingSpec(0.1, 60),
    )  # fmt: skip
    assert EndpointSpec.from_json(spec.to_json()) == spec
    check_spec("projects/p/endpoints/e", spec)
    old = {key: spec.to_json()[key] for key in ("model", "quantization", "parity", "engine")}
    assert EndpointSpec.from_json(old).rollout == RolloutSpec()
    assert EndpointSpec.from_json(old).weights_form is WeightsForm.MERGED


def test_all_faults_of_a_rollout_are_told_at_once() -> None:
    """Steps that do not rise, a share above one, an empty prompt."""
    rollout = RolloutSpec((SmokePrompt(" "),), Canary((50, 20)), StopRules(max_error_increase=2))
    with pytest.raises(InvalidArgument) as caught:
        check_spec("projects/p/endpoints/e", EndpointSpec("projects/p/models/m", rollout=rollout))
    assert {fault.field for fault in caught.value.violations} == {
        "endpoint.rollout.canary.steps",
        "endpoint.rollout.stop.max_error_increase",
        "endpoint.rollout.smoke_prompts[0].prompt",
    }


def test_what_is_sampled_is_masked_whole_or_streamed() -> None:
    """The same address has the same placeholder, and the streamed answer is put together."""
    text = "Mail a@example.com or b@example.com, again a@example.com"
    assert masked_json(text) == "Mail [EMAIL_1] or [EMAIL_2], again [EMAIL_1]"
    stream = (
        b'data: {"choices":[{"delta":{"content":"He"}}]}\n\ndata: {"choices":[{"delta":{"content":"y"}}]}\n\n'
    )
    assert answer_text(stream + b"data: [DONE]\n\n") == "Hey"
    assert answer_text(b'{"choices":[{"text":"whole"}]}') == "whole"
    assert question_of(b'{"prompt": "x"}') == [{"role": "user", "content": "x"}]
    two = b'{"choices":[{"index":1,"text":"other"},{"index":0,"text":"first"}]}'
    assert answer_text(two) == "first"


def test_names_addresses_and_secrets_are_masked_too_with_one_number_for_one_value() -> None:
    """In all messages and the answer: a placeholder of the answer means what it means in the question."""
    said = "My name is Peter Schneider, I live at Hauptstr. 12, 10115 Berlin. The password is hunter2!secret"
    asked = [{"role": "system", "content": "Copy a@b.org"}, {"role": "user", "content": f"{said}, c@d.org"}]
    question, answer = masked_json([asked, "Dear Peter Schneider, we write to c@d.org"])
    assert question[0]["content"] == "Copy [EMAIL_1]"
    text = question[1]["content"]
    assert not [word for word in ("Schneider", "Hauptstr", "hunter2", "c@d.org") if word in text]
    assert "[ADDRESS_1]" in text
    assert "[SECRET_1]" in text
    assert answer == "Dear [NAME_1], we write to [EMAIL_2]"


def test_what_no_database_takes_is_left_out_of_samples() -> None:
    """NUL and half a surrogate pair, which JSON may carry: else they would cost a whole batch of requests."""
    asked = b'{"messages": [{"role": "user", "content": [{"a\\u0000": "x\\u0000y\\ud800z"}]}]}'
    assert masked_json(question_of(asked)) == [{"role": "user", "content": [{"a": "xy?z"}]}]
    with pytest.raises(ApiError, match="without NUL"):
        parse_feedback({"request_id": "r\x00", "score": 1})


def test_a_sample_that_cannot_be_read_still_counts_as_a_request() -> None:
    """Its figures are kept, its text is not."""
    deep = b'{"messages": [{"role": "user", "content": ' + b"[" * 900 + b"]" * 900 + b"}]}"
    seen = Seen("req-1", "e", "e/revisions/r1", "", 200, False, 1.0, question=deep)
    row = traffic_row(seen, Passage(keep_text=True))
    assert (row.id, row.question, row.status) == ("req-1", None, 200)


def test_feedback_is_masked_with_one_number_for_one_person_in_all_of_it() -> None:
    """A correction of a device's answer is trained on with its question."""
    device = {
        "revision": "r",
        "messages": [{"role": "user", "content": "Who is a@example.org?"}],
        "answer": "b@example.org",
    }
    given = {"request_id": "r", "correction": "b@example.org knows a@example.org", "device": device}
    masked = masked_feedback(parse_feedback(given))
    assert masked.correction == "[EMAIL_2] knows [EMAIL_1]"
    assert masked.device == DeviceAnswer("r", [{"role": "user", "content": "Who is [EMAIL_1]?"}], "[EMAIL_2]")
    assert masked_feedback(parse_feedback({"request_id": "r", "score": 1})).correction is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"request_id": "r"},
        {"request_id": "r", "score": 2},
        {"request_id": "r", "score": True},
        {"request_id": "r", "thumbs": "sideways"},
        {"request_id": "r", "thumbs": []},
        {"request_id": "r", "thumbs": None},
        {"request_id": "r", "correction": " \n"},
        {"request_id": "r", "thumbs": "up", "score": 1},
        {"request_id": 5, "thumbs": "up"},
        {"request_id": "r", "thumbs": "up", "stars": 5},
        {"request_id": "r", "thumbs": "up", "device": "r3"},
        {"request_id": "r", "thumbs": "up", "device": {"answer": "a"}},
        {"request_id": "r", "thumbs": "up", "device": {"revision": "r3", "prompt": "p"}},
        {"request_id": "r", "thumbs": "up", "device": {"revision": "r3", "messages": "Where?"}},
        {"request_id": "r", "thumbs": "up", "device": {"revision": "r3", "messages": [{"role": "user"}]}},
        {"request_id": "r", "thumbs": "up", "device": {"revision": "r3", "answer": 5}},
    ],
)
def test_feedback_that_says_nothing_clear_is_refused(body: dict[str, object]) -> None:
    """With 400 and what is wrong."""
    with pytest.raises(ApiError) as caught:
        parse_feedback(body)
    assert caught.value.status == 400
