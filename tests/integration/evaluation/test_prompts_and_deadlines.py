"""Prompts as standing orders, models crossed with them, suites of behaviour and cost, deadlines, and items as
they finish: through the service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sartor.common.v1 import job_status_pb2
from sartor.evaluation.v1 import evaluation_pb2, prompt_pb2, suite_pb2
from sartor.evaluation.v1 import evaluation_service_pb2 as api
from sartor_platform.errors import InvalidArgument, NotFound

from tests.integration.evaluation.conftest import EvaluationUnderTest, refused

Candidate, Item = evaluation_pb2.Candidate, evaluation_pb2.Item


def _items(count: int) -> evaluation_pb2.ItemList:
    return evaluation_pb2.ItemList(
        items=[Item(id=f"i{n}", prompt=f"Where is parcel {n}?", reference=f"At {n}.") for n in range(count)]
    )


def test_prompts_are_versioned_and_refused_with_every_fault(
    evaluation: EvaluationUnderTest, unique_name: str
) -> None:
    """Apply, change, read, list; a form without a place for the question is none."""
    project, client = f"projects/{unique_name}", evaluation.client
    brief = prompt_pb2.Prompt(name=f"{project}/prompts/brief", system="Be brief.")
    assert client.ApplyPrompt(api.ApplyPromptRequest(prompt=brief)).order.revision == 1
    brief.format = "Q: {question}"
    assert client.ApplyPrompt(api.ApplyPromptRequest(prompt=brief)).order.revision == 2
    assert client.GetPrompt(api.GetPromptRequest(name=brief.name)).format == "Q: {question}"
    listed = client.ListPrompts(api.ListPromptsRequest(parent=project)).prompts
    assert [prompt.name for prompt in listed] == [brief.name]
    bad = prompt_pb2.Prompt(name=f"{project}/prompts/bad", format="Hello", shots=99, choice="best")
    with refused(InvalidArgument, "format must have {question} once") as caught:
        client.ApplyPrompt(api.ApplyPromptRequest(prompt=bad))
    assert {fault.field for fault in caught.value.violations} == {"format", "shots", "choice"}
    with refused(NotFound, "there is no prompt"):
        client.GetPrompt(api.GetPromptRequest(name=f"{project}/prompts/gone"))


def test_one_evaluation_crosses_models_with_prompts_and_streams_its_items(
    evaluation: EvaluationUnderTest, unique_name: str
) -> None:
    """Every item of every candidate arrives once while it runs; robustness, bias and cost are scored."""
    project, client = f"projects/{unique_name}", evaluation.client
    base = evaluation.base_model_ready(unique_name)
    prompt = prompt_pb2.Prompt(name=f"{project}/prompts/brief", system="Be brief.")
    client.ApplyPrompt(api.ApplyPromptRequest(prompt=prompt))
    robust = suite_pb2.Suite(
        name=f"{project}/suites/robust", inline_items=_items(3), variations=["typos", "case"]
    )
    fair = suite_pb2.Suite(name=f"{project}/suites/fair", builtin="bias", max_items=8)
    for suite in (robust, fair):
        made = client.ApplySuite(api.ApplySuiteRequest(suite=suite))
        assert (made.builtin, list(made.variations)) == (suite.builtin, list(suite.variations))
    wanted = evaluation_pb2.Evaluation(
        candidates=[Candidate(id="base", base_model=base)],
        prompts=[prompt.name],
        suites=[robust.name, fair.name],
        inline_items=_items(5),
        cost_clients=[2],
    )
    name = evaluation.create(unique_name, wanted).name
    heard = []
    for state in client.WatchEvaluation(api.WatchEvaluationRequest(name=name, items=True), timeout=120):
        heard += [(row.suite, row.candidate, row.item_id) for row in state.finished_items]
    done = client.GetEvaluation(api.GetEvaluationRequest(name=name))
    assert done.job.state == job_status_pb2.JOB_STATE_SUCCEEDED, done.job.error
    assert list(done.prompts) == [prompt.name]
    assert {(suite, who) for suite, who, _ in heard} == {
        (suite, who) for suite in ("held_out", "robust", "fair") for who in ("base", "base+brief")
    }
    assert len(heard) == len(set(heard)) == 2 * (5 + 3 * 4 + 8)
    metrics = {(score.suite, score.metric) for score in done.scores}
    assert {("robust", "variation_spread"), ("fair", "pair_gap"), ("cost_2", "tokens_per_second")} <= metrics


def test_what_cannot_be_crossed_or_measured_is_refused(
    evaluation: EvaluationUnderTest, unique_name: str
) -> None:
    """A prompt that is not there, for answers that are there already, and a deadline that is over."""
    base = evaluation.base_model_ready(unique_name)
    wanted = evaluation_pb2.Evaluation(
        candidates=[Candidate(id="base", base_model=base)],
        inline_items=_items(1),
        prompts=[f"projects/{unique_name}/prompts/gone"],
    )
    with refused(NotFound, "there is no prompt"):
        evaluation.create(unique_name, wanted)
    wanted.prompts[:] = ["gone"]
    wanted.cost_clients.append(1000)
    with refused(InvalidArgument, "must have the form") as caught:
        evaluation.create(unique_name, wanted)
    assert {fault.field for fault in caught.value.violations} == {"prompts[0]", "cost_clients"}
    shots = prompt_pb2.Prompt(name=f"projects/{unique_name}/prompts/shots", shots=2)
    evaluation.client.ApplyPrompt(api.ApplyPromptRequest(prompt=shots))
    wanted.prompts[:] = [shots.name]
    del wanted.cost_clients[:]
    with refused(InvalidArgument, "examples of a training split: name a curation"):
        evaluation.create(unique_name, wanted)
    wanted.candidates.add(id="base+shots", base_model=base)
    with refused(InvalidArgument, "would make base+shots a second time"):
        evaluation.create(unique_name, wanted)
    late = evaluation_pb2.Evaluation(candidates=wanted.candidates, inline_items=_items(1))
    late.deadline.FromDatetime(datetime.now(UTC) - timedelta(seconds=1))
    with refused(InvalidArgument, "is in the past"):
        evaluation.create(unique_name, late)


def test_what_is_not_done_by_its_deadline_fails_with_that_reason(
    evaluation: EvaluationUnderTest, unique_name: str
) -> None:
    """Far too many long answers for a moment's time."""
    base = evaluation.base_model_ready(unique_name)
    items = [Item(prompt=f"Tell {n} {'more ' * 40}", reference="word " * 200) for n in range(600)]
    wanted = evaluation_pb2.Evaluation(
        candidates=[Candidate(id="base", base_model=base)],
        inline_items=evaluation_pb2.ItemList(items=items),
    )
    wanted.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=5))
    made = evaluation.create(unique_name, wanted)
    assert made.HasField("deadline")
    done = evaluation.wait(made.name)
    assert done.job.state == job_status_pb2.JOB_STATE_FAILED
    assert done.job.error.reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("kind", ["builtin", "variations"])
def test_suites_that_come_with_sartor_are_named(
    evaluation: EvaluationUnderTest, unique_name: str, kind: str
) -> None:
    """An unknown one is told with those that are known."""
    name = f"projects/{unique_name}/suites/s"
    if kind == "builtin":
        suite = suite_pb2.Suite(name=name, builtin="toxic")
        words = "known are bias, leakage"
    else:
        suite = suite_pb2.Suite(name=name, inline_items=_items(1), variations=["rhymes"])
        words = "known are typos, case, choice_order, wording"
    with refused(InvalidArgument, words):
        evaluation.client.ApplySuite(api.ApplySuiteRequest(suite=suite))
