"""What clients may ask: answers they have, endpoints, suites, single items at once, and comparisons of it
all."""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pyarrow.parquet as pq
import pytest
from sartor.common.v1 import job_status_pb2
from sartor.evaluation.v1 import evaluation_pb2, gate_pb2, suite_pb2
from sartor.evaluation.v1 import evaluation_service_pb2 as api
from sartor_platform.errors import FailedPrecondition, InvalidArgument, NotFound

from tests.integration.evaluation.conftest import EvaluationUnderTest, eventually, put, refused
from tests.unit.evaluation.harness.make_expected import HERE

SUCCEEDED = job_status_pb2.JOB_STATE_SUCCEEDED
Candidate, Item = evaluation_pb2.Candidate, evaluation_pb2.Item


class _Service(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = request["messages"][-1]["content"]
        status, text = (500, "") if "fail" in question else (200, f"So {question.rstrip('?').split()[-1]}.")
        body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def service(evaluation: EvaluationUnderTest):
    """An OpenAI-compatible service where evaluation's settings allow one."""
    server = ThreadingHTTPServer(("127.0.0.1", evaluation.service_port), _Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{evaluation.service_port}/v1"
    server.shutdown()
    server.server_close()


def _items(count: int = 12, **fields: str) -> evaluation_pb2.ItemList:
    items = [Item(id=f"i{n}", prompt=f"How {n}?", reference=f"So {n}.", **fields) for n in range(count)]
    return evaluation_pb2.ItemList(items=items)


def _answers(texts: dict[str, str]) -> evaluation_pb2.AnswerList:
    given = [evaluation_pb2.Answer(item_id=key, text=text) for key, text in texts.items()]
    return evaluation_pb2.AnswerList(answers=given)


def _done(evaluation: EvaluationUnderTest, project: str, wanted: evaluation_pb2.Evaluation):
    done = evaluation.wait(evaluation.create(project, wanted).name)
    assert done.job.state == SUCCEEDED, done.job.error
    return done


def test_a_service_and_answers_are_compared_and_failures_counted(
    evaluation: EvaluationUnderTest, unique_name: str, service: str
) -> None:
    """Whoever answers: the same items, paired; an item that was not answered enters no score."""
    items = _items()
    items.items.append(Item(id="bad", prompt="Please fail?", reference="No."))
    wanted = evaluation_pb2.Evaluation(
        candidates=[
            Candidate(id="mine", answers=_answers({f"i{n}": "So what." for n in range(12)} | {"bad": "No."})),
            Candidate(
                id="theirs",
                service=evaluation_pb2.ModelService(url=service, model="m", retries=1, timeout_seconds=5),
            ),
        ],
        inline_items=items,
        metrics=["token_f1", "exact_match"],
    )
    done = _done(evaluation, unique_name, wanted)
    scores = {(score.metric, score.candidate): score for score in done.scores}
    assert {score.metric for score in done.scores} == {"token_f1", "exact_match"}
    theirs = scores["token_f1", "theirs"]
    assert (theirs.estimate.value, theirs.estimate.items, theirs.failed) == (1.0, 12, 1)
    [line] = [line for line in done.comparisons if line.metric == "token_f1"]
    assert (line.difference.items, line.candidate, line.verdict) == (
        12,
        "theirs",
        "better (only 12 independent items: a rough guide)",
    )
    assert line.adjusted_p_value >= line.p_value
    assert line.minimum_detectable_effect >= 0
    assert "HTTP status 500" in evaluation.fetch(done.junit).read_text("utf-8")
    table = pq.read_table(evaluation.fetch(done.results))
    assert table.column("failure").to_pylist().count("HTTP status 500") == 1

    listed = evaluation.client.ListItemResults(
        api.ListItemResultsRequest(
            parent=done.name, order_by="disagreement", filter='slices.length = "short"'
        )
    ).item_results
    assert {listed[0].item_id, listed[1].item_id} == {"bad"}
    with refused(InvalidArgument, "known are worst and disagreement"):
        evaluation.client.ListItemResults(api.ListItemResultsRequest(parent=done.name, order_by="best"))


def test_only_allowed_urls_are_asked(evaluation: EvaluationUnderTest, unique_name: str) -> None:
    """No client makes this service ask machines of its network."""
    service = evaluation_pb2.ModelService(url="http://169.254.169.254/v1", model="m")
    wanted = evaluation_pb2.Evaluation(candidates=[Candidate(id="a", service=service)], inline_items=_items())
    with refused(InvalidArgument, "may not be asked"):
        evaluation.create(unique_name, wanted)


def test_a_service_that_is_down_fails_the_evaluation(
    evaluation: EvaluationUnderTest, unique_name: str
) -> None:
    """Nothing was measured, so nothing is said."""
    url = f"http://127.0.0.1:{evaluation.service_port}/v1"
    service = evaluation_pb2.ModelService(url=url, model="m", retries=1)
    wanted = evaluation_pb2.Evaluation(
        candidates=[Candidate(id="a", service=service)], inline_items=_items(3)
    )
    done = evaluation.wait(evaluation.create(unique_name, wanted).name)
    assert done.job.error.reason == "CANDIDATE_FAILED"
    assert "failed at 3 of 3 items" in done.job.error.message


def test_suites_are_versioned_and_a_task_file_is_one(
    evaluation: EvaluationUnderTest, unique_name: str
) -> None:
    """Apply, change, list; an evaluation asks the revision of its time."""
    project, client = f"projects/{unique_name}", evaluation.client
    base = evaluation.base_model_ready(unique_name)
    checks = suite_pb2.Suite(
        name=f"{project}/suites/checks",
        inline_items=evaluation_pb2.ItemList(items=[Item(id=f"c{n}", prompt=f"Say {n}") for n in range(3)]),
        pattern=r"\d",
        metrics=["regex_match", "answer_words"],
    )
    assert client.ApplySuite(api.ApplySuiteRequest(suite=checks)).order.revision == 1
    ((told, _),) = evaluation.announced("sartor.evaluation.v1.SuiteApplied", checks.name)
    assert told["suite"] == checks.name
    assert len(told["objects"]) == 1  # where curation finds what is asked
    checks.pattern = "[0-9]"
    assert client.ApplySuite(api.ApplySuiteRequest(suite=checks)).order.revision == 2
    harness = suite_pb2.Suite(
        name=f"{project}/suites/choice", task=(HERE / "choice.yaml").read_text("utf-8"), max_items=4
    )
    for path in (HERE / "choice_train.jsonl", HERE / "choice_test.jsonl"):
        kept = put(evaluation.objects, evaluation.servers.s3_bucket, path, f"test/{unique_name}/{path.name}")
        harness.data[path.name].uri = kept.uri
        harness.data[path.name].sha256 = kept.sha256
        harness.data[path.name].size_bytes = kept.size_bytes
    client.ApplySuite(api.ApplySuiteRequest(suite=harness))
    listed = client.ListSuites(api.ListSuitesRequest(parent=project)).suites
    assert {suite.name for suite in listed} == {checks.name, harness.name}
    assert client.GetSuite(api.GetSuiteRequest(name=checks.name)).pattern == "[0-9]"

    wanted = evaluation_pb2.Evaluation(
        candidates=[Candidate(id="base", base_model=base)], suites=[checks.name, harness.name]
    )
    done = _done(evaluation, unique_name, wanted)
    found = {(score.suite, score.metric): score.estimate for score in done.scores}
    assert found["choice", "choice_accuracy"].items == 4
    assert found["checks", "regex_match"].items == 3
    assert {suite for suite, _ in found} == {"choice", "checks"}
    board = client.ListLeaderboard(
        api.ListLeaderboardRequest(parent=project, metric="choice_accuracy", suite="choice")
    ).entries
    assert [(entry.model, entry.evaluation) for entry in board] == [(base, done.name)]
    with refused(NotFound, "there is no suite"):
        evaluation.create(
            unique_name,
            evaluation_pb2.Evaluation(
                candidates=[Candidate(id="base", base_model=base)], suites=[f"{project}/suites/gone"]
            ),
        )
    with refused(InvalidArgument, "the suite is empty"):
        client.ApplySuite(api.ApplySuiteRequest(suite=suite_pb2.Suite(name=f"{project}/suites/none")))


def test_asking_again_does_not_run_the_model_again(evaluation: EvaluationUnderTest, unique_name: str) -> None:
    """Another choice of metrics over the same items: the answers are remembered, and the figures the same."""
    base = evaluation.base_model_ready(unique_name)
    items = evaluation_pb2.ItemList(
        items=[Item(prompt=f"What is {uuid.uuid4()}? ", reference="So. " * 5) for _ in range(4)]
    )
    wanted = evaluation_pb2.Evaluation(candidates=[Candidate(id="base", base_model=base)], inline_items=items)
    first = _done(evaluation, unique_name, wanted)
    wanted.metrics.append("loss")
    again = _done(evaluation, unique_name, wanted)
    asked = [json.loads(evaluation.fetch(one.report).read_text("utf-8"))["asked"] for one in (first, again)]
    assert asked == [{"base": 4}, {"base": 0}]
    [loss] = [score.estimate for score in again.scores]
    assert loss == next(score.estimate for score in first.scores if score.metric == "loss")
    compared = evaluation.client.CompareEvaluations(
        api.CompareEvaluationsRequest(name=again.name, baseline=first.name)
    )
    assert dict(compared.shared_items) == {"held_out": 4}
    assert {line.metric: line.difference.value for line in compared.comparisons}["loss"] == 0.0
    with refused(NotFound, "known are base"):
        evaluation.client.CompareEvaluations(
            api.CompareEvaluationsRequest(name=again.name, candidate="tuned")
        )


def test_evaluations_of_other_items_are_not_compared(
    evaluation: EvaluationUnderTest, unique_name: str
) -> None:
    """The same ids with other questions are other items."""
    made = []
    for word in ("How", "Why"):
        items = [Item(id="i", prompt=f"{word}?", reference="So.")]
        wanted = evaluation_pb2.Evaluation(
            candidates=[Candidate(id="a", answers=_answers({"i": "So."}))],
            inline_items=evaluation_pb2.ItemList(items=items),
        )
        made.append(_done(evaluation, unique_name, wanted))
    with refused(FailedPrecondition, "no item in common"):
        evaluation.client.CompareEvaluations(
            api.CompareEvaluationsRequest(name=made[0].name, baseline=made[1].name)
        )


def test_a_few_items_are_answered_at_once_for_many_clients(
    evaluation: EvaluationUnderTest, unique_name: str
) -> None:
    """The model is loaded once; fifty clients at a time get what CreateEvaluation finds."""
    base = evaluation.base_model_ready(unique_name)
    items = list(_items(3).items)
    request = api.EvaluateOnceRequest(
        parent=f"projects/{unique_name}", candidate=Candidate(id="b", base_model=base), items=items
    )
    first = eventually(lambda: _once(evaluation, request), "a runner")
    wanted = evaluation_pb2.Evaluation(
        candidates=[Candidate(id="b", base_model=base)], inline_items=_items(3)
    )
    done = _done(evaluation, unique_name, wanted)
    listed = evaluation.client.ListItemResults(api.ListItemResultsRequest(parent=done.name)).item_results
    expected = {one.item_id: (one.answer, pytest.approx(one.metrics["loss"], rel=1e-3)) for one in listed}
    with ThreadPoolExecutor(50) as clients:
        found = list(clients.map(lambda _: evaluation.client.EvaluateOnce(request, timeout=60), range(50)))
    for one in [first, *found]:
        assert {row.item_id: (row.answer, row.metrics["loss"]) for row in one.item_results} == expected
    assert not any(one.loaded for one in found)

    request.metrics.append("token_f1")
    assert set(evaluation.client.EvaluateOnce(request).item_results[0].metrics) == {"token_f1"}
    with refused(InvalidArgument, "give 1 to 16"):
        evaluation.client.EvaluateOnce(
            api.EvaluateOnceRequest(parent=request.parent, candidate=request.candidate, items=items * 6)
        )
    with refused(InvalidArgument, "'bleurt' is no metric"):
        evaluation.client.EvaluateOnce(
            api.EvaluateOnceRequest(
                parent=request.parent, candidate=request.candidate, items=items, metrics=["bleurt"]
            )
        )


def _once(evaluation: EvaluationUnderTest, request: api.EvaluateOnceRequest):
    """The answer, or None where the model is still being loaded: then that is what it says."""
    try:
        return evaluation.client.EvaluateOnce(request, timeout=5)
    except grpc.RpcError as error:
        if error.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
            raise
        return None


def test_a_gate_asks_its_suites_and_blocks_what_forgets(
    evaluation: EvaluationUnderTest, unique_name: str
) -> None:
    """Rules by slice and non-inferiority are in the event with their numbers, and so is the default one."""
    project, client = f"projects/{unique_name}", evaluation.client
    suite = suite_pb2.Suite(name=f"{project}/suites/own", inline_items=_items(24, language="de"))
    client.ApplySuite(api.ApplySuiteRequest(suite=suite))
    rules = [
        gate_pb2.Rule(metric="loss", suite="own", compared_to=gate_pb2.BASELINE_BASE, not_worse_by=90.0,
                      slice="language"),
        gate_pb2.Rule(metric="loss", suite="own", at_most=100.0, slice="language=fr"),
    ]  # fmt: skip
    gate = gate_pb2.Gate(
        name=f"{project}/gates/g",
        model=f"{project}/models/m",
        rules=rules,
        suites=[suite.name],
        few_shot=gate_pb2.FewShotSearch(shots=[1], choices=["fixed"], items=4),
        correction=gate_pb2.CORRECTION_HOLM,
    )
    kept = client.ApplyGate(api.ApplyGateRequest(gate=gate))
    assert (kept.rules[0].not_worse_by, kept.correction) == (90.0, gate_pb2.CORRECTION_HOLM)
    version = evaluation.model_version_created(
        unique_name, standing_order="projects/p/trainingPlans/t", run="r"
    )
    [(event, _)] = evaluation.announced("sartor.evaluation.v1.ModelVersionRejected", version)
    german, french, general = event["verdict"]["rules"]
    assert (german["passed"], german["rule"]["slice"]) == (True, "language=de")
    assert not french.get("passed", False)
    assert "no part language=fr" in french["explanation"]
    assert (general["rule"]["suite"], general["rule"]["metric"]) == ("general", "choice_accuracy")
