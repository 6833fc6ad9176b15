"""Evaluation on real servers: gates judge new versions, clients ask for evaluations of their own, faults are
told.
"""

from __future__ import annotations

import time
import uuid

import psycopg
import pyarrow.parquet as pq
import pytest
from sartor.common.v1 import job_status_pb2, object_reference_pb2, standing_order_pb2
from sartor.evaluation.v1 import evaluation_pb2, gate_pb2
from sartor.evaluation.v1 import evaluation_service_pb2 as api
from sartor_datasets.reference_outputs import read_reference_outputs
from sartor_platform.errors import FailedPrecondition, InvalidArgument, NotFound, SartorError

from tests.integration.evaluation.conftest import EvaluationUnderTest, eventually, put, refused

APPROVED = "sartor.evaluation.v1.ModelVersionApproved"
REJECTED = "sartor.evaluation.v1.ModelVersionRejected"
SUCCEEDED = job_status_pb2.JOB_STATE_SUCCEEDED


def _gate(project: str, *rules: gate_pb2.Rule, **fields) -> gate_pb2.Gate:
    return gate_pb2.Gate(
        name=f"projects/{project}/gates/g",
        model=f"projects/{project}/models/m",
        rules=rules or [gate_pb2.Rule(metric="loss", at_most=100.0)],
        few_shot=gate_pb2.FewShotSearch(shots=[1], choices=["fixed", "retrieved"], items=4),
        **fields,
    )


def _inline(*items: evaluation_pb2.Item) -> evaluation_pb2.ItemList:
    return evaluation_pb2.ItemList(items=items or [evaluation_pb2.Item(prompt="How?", reference="So.")])


def test_a_standing_orders_version_is_judged_and_approved(evaluation: EvaluationUnderTest, unique_name):
    """ModelVersionCreated → base, prompted and tuned evaluated → ModelVersionApproved with every number."""
    project, run = unique_name, f"run{uuid.uuid4().hex[:8]}"
    rules = [
        gate_pb2.Rule(metric="loss", at_most=100.0),
        gate_pb2.Rule(metric="loss", suite="general", compared_to=gate_pb2.BASELINE_BASE, at_most=50.0),
    ]
    applied = evaluation.client.ApplyGate(
        api.ApplyGateRequest(gate=_gate(project, *rules, general_suite="builtin"), generation=7)
    )
    assert applied.order.revision == 1
    version = evaluation.model_version_created(project, standing_order="projects/p/trainingPlans/t", run=run)
    [made] = eventually(lambda: evaluation.of_run(project, run), "the gate's evaluation")
    assert made.gate == applied.name
    done = evaluation.wait(made.name)
    assert done.job.state == SUCCEEDED, done.job.error
    assert done.verdict.passed
    assert [candidate.id for candidate in done.candidates] == ["base", "prompted", "tuned"]
    assert {"base", "prompted", "tuned"} == {score.candidate for score in done.scores}
    assert any(line.suite == "general" and line.baseline == "base" for line in done.comparisons)

    [(event, headers)] = evaluation.announced(APPROVED, version)
    assert event["evaluation"] == made.name
    assert [rule["passed"] for rule in event["verdict"]["rules"]] == [True, True]
    assert event["verdict"]["rules"][0]["estimate"]["items"] == 10
    assert (headers["ce_sartorrun"], headers["ce_sartorgeneration"]) == (run, "7")
    name, outputs = read_reference_outputs(evaluation.fetch(done.reference_outputs))
    assert (name, len(outputs)) == (version, 10)
    assert event["referenceOutputs"]["sha256"] == done.reference_outputs.sha256
    assert pq.read_table(evaluation.fetch(done.results)).num_rows == 3 * 10 + 2 * 48
    assert "The gate lets this model pass" in evaluation.fetch(done.report_page).read_text("utf-8")


def test_a_version_that_breaks_a_rule_is_rejected_with_the_rule(evaluation: EvaluationUnderTest, unique_name):
    """No approval, but a rejection that says which rule and by how much."""
    project = unique_name
    rule = gate_pb2.Rule(metric="token_f1", compared_to=gate_pb2.BASELINE_PROMPTED, at_least=0.9)
    evaluation.client.ApplyGate(api.ApplyGateRequest(gate=_gate(project, rule)))
    version = evaluation.model_version_created(project, standing_order="projects/p/trainingPlans/t", run="r")
    [(event, _)] = evaluation.announced(REJECTED, version)
    [result, forgetting] = event["verdict"]["rules"]
    assert forgetting["rule"]["suite"] == "general"
    assert not result.get("passed", False)
    assert "is not at least 0.9" in result["explanation"]
    assert evaluation.announced(APPROVED, version, seconds=2) == []


def test_a_version_that_a_client_trained_is_not_judged(evaluation: EvaluationUnderTest, unique_name):
    """Without a standing order the gate stays silent, but the version can be evaluated."""
    project = unique_name
    evaluation.client.ApplyGate(api.ApplyGateRequest(gate=_gate(project)))
    version = evaluation.model_version_created(project, run="r")
    request = api.ListEvaluationsRequest(parent=f"projects/{project}")
    assert list(evaluation.client.ListEvaluations(request).evaluations) == []
    wanted = evaluation_pb2.Evaluation(
        candidates=[evaluation_pb2.Candidate(id="mine", model_version=version, shots=1)],
        curation=f"projects/{project}/curations/c",
        max_items=4,
    )
    done = evaluation.wait(evaluation.create(project, wanted).name)
    assert done.job.state == SUCCEEDED, done.job.error
    assert not done.HasField("verdict")
    assert not done.HasField("reference_outputs")
    assert evaluation.announced(APPROVED, version, seconds=2) == []


def test_a_client_evaluates_a_base_model_on_items_of_its_own(evaluation: EvaluationUnderTest, unique_name):
    """Inline items, a repeat with the same request_id, and the items' results, the worst first, in pages."""
    project = unique_name
    base = evaluation.base_model_ready(project)
    items = [
        evaluation_pb2.Item(id=f"i{n}", prompt=f"Question {n}?", reference=f"Answer {n}.") for n in range(5)
    ]
    items += [evaluation_pb2.Item(id=f"l{n}", prompt=f"Team {n}?", label=("a", "b")[n % 2]) for n in range(4)]
    wanted = evaluation_pb2.Evaluation(
        candidates=[evaluation_pb2.Candidate(id="base", base_model=base)], inline_items=_inline(*items)
    )
    request_id = str(uuid.uuid4())
    made = evaluation.create(project, wanted, request_id=request_id)
    assert evaluation.create(project, wanted, request_id=request_id).name == made.name
    done = evaluation.wait(made.name)
    assert done.job.state == SUCCEEDED, done.job.error
    assert done.created_by == "local"
    scores = {score.metric: score.estimate for score in done.scores}
    assert scores["token_f1"].items == 5
    assert scores["label_accuracy"].items == 4
    assert scores["loss"].lower <= scores["loss"].value <= scores["loss"].upper

    request = api.ListItemResultsRequest(parent=made.name, page_size=6)
    first = evaluation.client.ListItemResults(request)
    request.page_token = first.next_page_token
    second = evaluation.client.ListItemResults(request)
    results = [*first.item_results, *second.item_results]
    assert (len(first.item_results), second.next_page_token) == (6, "")
    assert {result.item_id for result in results} == {item.id for item in items}
    assert all("loss" in result.metrics for result in results)
    only = api.ListItemResultsRequest(parent=made.name, filter='item_id = "i3"')
    [found] = evaluation.client.ListItemResults(only).item_results
    assert (found.prompt, found.reference) == ("Question 3?", "Answer 3.")


def test_items_come_from_the_object_store_too(evaluation: EvaluationUnderTest, unique_name):
    """JSON lines by reference; a digest that differs and an object that is not there fail clearly."""
    project = unique_name
    base = evaluation.base_model_ready(project)
    path = evaluation.folder / f"{project}.jsonl"
    path.write_text('{"prompt": "How?", "reference": "So."}\n', "utf-8")
    key = f"test/{project}.jsonl"
    good = put(evaluation.objects, evaluation.servers.s3_bucket, path, key)
    uri = good.uri
    expected = {
        (uri, good.sha256): "",
        (uri, "0" * 64): "DIGEST_MISMATCH",
        (uri + "-gone", "1" * 64): "OBJECT_NOT_FOUND",
    }
    for (where, digest), reason in expected.items():
        reference = object_reference_pb2.ObjectReference(uri=where, sha256=digest, size_bytes=good.size_bytes)
        wanted = evaluation_pb2.Evaluation(
            candidates=[evaluation_pb2.Candidate(id="base", base_model=base)], items_object=reference
        )
        done = evaluation.wait(evaluation.create(project, wanted).name)
        assert done.job.error.reason == reason, done.job.error


def test_an_evaluation_can_be_cancelled_once(evaluation: EvaluationUnderTest, unique_name):
    """It ends CANCELLED; cancelling what has ended is refused with its state."""
    project = unique_name
    base = evaluation.base_model_ready(project)
    items = [
        evaluation_pb2.Item(prompt=f"Question {n}? " * 20, reference="Answer. " * 40) for n in range(400)
    ]
    wanted = evaluation_pb2.Evaluation(
        candidates=[evaluation_pb2.Candidate(id="base", base_model=base)], inline_items=_inline(*items)
    )
    made = evaluation.create(project, wanted)
    evaluation.client.CancelEvaluation(api.CancelEvaluationRequest(name=made.name))
    assert evaluation.wait(made.name).job.state == job_status_pb2.JOB_STATE_CANCELLED
    time.sleep(0.2)
    with refused(FailedPrecondition, "CANCELLED"):
        evaluation.client.CancelEvaluation(api.CancelEvaluationRequest(name=made.name))


def test_evaluations_and_gates_are_listed_and_filtered(evaluation: EvaluationUnderTest, unique_name):
    """Newest first, by state; gates with their revisions; an unchanged gate keeps its revision."""
    project = unique_name
    answers = evaluation_pb2.AnswerList(answers=[evaluation_pb2.Answer(item_id="i", text="So.")])
    wanted = evaluation_pb2.Evaluation(
        candidates=[evaluation_pb2.Candidate(id="mine", answers=answers)],
        inline_items=_inline(evaluation_pb2.Item(id="i", prompt="How?", reference="So.")),
    )
    names = [evaluation.create(project, wanted).name for _ in range(2)]
    for name in names:
        evaluation.wait(name)
    request = api.ListEvaluationsRequest(parent=f"projects/{project}", filter='state = "SUCCEEDED"')
    assert [one.name for one in evaluation.client.ListEvaluations(request).evaluations] == names[::-1]
    request.filter = 'state = "FAILED"'
    assert not evaluation.client.ListEvaluations(request).evaluations

    first = evaluation.client.ApplyGate(api.ApplyGateRequest(gate=_gate(project)))
    again = evaluation.client.ApplyGate(api.ApplyGateRequest(gate=_gate(project)))
    changed = evaluation.client.ApplyGate(api.ApplyGateRequest(gate=_gate(project, max_items=5)))
    assert [gate.order.revision for gate in (first, again, changed)] == [1, 1, 2]
    listed = evaluation.client.ListGates(api.ListGatesRequest(parent=f"projects/{project}")).gates
    assert [gate.max_items for gate in listed] == [5]
    stale = _gate(project, max_items=6)
    stale.order.CopyFrom(standing_order_pb2.OrderRevision(etag=first.order.etag))
    with refused(SartorError, "changed since"):
        evaluation.client.ApplyGate(api.ApplyGateRequest(gate=stale))


def test_a_gate_with_faults_is_refused_with_all_of_them(evaluation: EvaluationUnderTest, unique_name):
    """An unknown metric lists the known ones; nothing is applied."""
    gate = _gate(unique_name, gate_pb2.Rule(metric="bleurt", at_least=1.0), gate_pb2.Rule(metric="chrf"))
    gate.model = "models/m"
    gate.general_suite = "mmlu"
    with refused(InvalidArgument) as caught:
        evaluation.client.ApplyGate(api.ApplyGateRequest(gate=gate))
    fields = {violation.field for violation in caught.value.violations}
    assert fields == {"rules[0].metric", "rules[1]", "model", "general_suite"}
    assert "known are token_f1, rouge_l, " in caught.value.message
    with refused(NotFound, "there is no gate"):
        evaluation.client.GetGate(api.GetGateRequest(name=gate.name))


@pytest.fixture(scope="module")
def known_base(evaluation: EvaluationUnderTest) -> str:
    """A base model that evaluation knows."""
    return evaluation.base_model_ready(f"t{uuid.uuid4().hex[:12]}")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"candidates": []}, InvalidArgument, "must name 1 to 8 models"),
        ({"inline_items": None}, InvalidArgument, "the suite is empty"),
        ({"inline_items": [evaluation_pb2.Item(reference="x")]}, InvalidArgument, "prompt is empty"),
        ({"shots": 2}, InvalidArgument, "name a curation"),
        (
            {"base_model": "projects/{project}/baseModels/gone"},
            NotFound,
            "known are projects/{project}/baseModels/tiny",
        ),
        ({"base_model": "tiny"}, InvalidArgument, "must have the form"),
        (
            {"base_model": "projects/other/baseModels/tiny"},
            InvalidArgument,
            "must be a model of projects/{project}",
        ),
        ({"curation": "projects/{project}/curations/gone"}, NotFound, "no curation"),
    ],
)
def test_an_evaluation_that_cannot_be_made_is_refused(
    evaluation: EvaluationUnderTest, known_base: str, changes, error, words
):
    """Clear errors with what to do, before any job is made."""
    project = known_base.split("/")[1]
    name = changes.get("base_model", known_base).format(project=project)
    candidate = evaluation_pb2.Candidate(id="base", base_model=name, shots=changes.get("shots", 0))
    wanted = evaluation_pb2.Evaluation(candidates=changes.get("candidates", [candidate]))
    if "curation" in changes:
        wanted.curation = changes["curation"].format(project=project)
    elif changes.get("inline_items", ()) is not None:
        wanted.inline_items.CopyFrom(_inline(*changes.get("inline_items", ())))
    with refused(error, words.format(project=project)):
        evaluation.create(project, wanted)


def test_names_of_another_form_are_refused(evaluation: EvaluationUnderTest):
    """With the form they should have."""
    for call, request in (
        (evaluation.client.GetEvaluation, api.GetEvaluationRequest(name="evaluations/x")),
        (evaluation.client.ListItemResults, api.ListItemResultsRequest(parent="x")),
        (evaluation.client.ListGates, api.ListGatesRequest(parent="x")),
    ):
        with refused(InvalidArgument, "is not a name of the form"):
            call(request)
    with refused(NotFound, "there is no evaluation"):
        evaluation.client.GetEvaluation(api.GetEvaluationRequest(name="projects/p/evaluations/x"))


def test_a_gate_compares_with_what_is_live(evaluation: EvaluationUnderTest, unique_name):
    """While nothing is live such a rule hinders nobody; then the live version answers the same items."""
    project = unique_name
    rule = gate_pb2.Rule(metric="loss", compared_to=gate_pb2.BASELINE_LIVE, at_most=0.0001)
    evaluation.client.ApplyGate(api.ApplyGateRequest(gate=_gate(project, rule, general_suite="none")))
    first = evaluation.model_version_created(project, standing_order="projects/p/trainingPlans/t", run="r1")
    [(event, _)] = evaluation.announced(APPROVED, first)
    assert "nothing is live yet" in event["verdict"]["rules"][0]["explanation"]
    endpoint = f"projects/{project}/endpoints/e"
    promoted = {"endpoint": endpoint, "revision": f"{endpoint}/revisions/r1", "modelVersion": first}
    kind = "sartor.deployment.v1.RevisionPromoted"
    evaluation.publish("sartor.deployment.v1", kind, endpoint, promoted)
    query = "SELECT version FROM evaluation.live_versions WHERE endpoint = %s"

    def known() -> bool:
        with psycopg.connect(evaluation.servers.database_url) as connection:
            return connection.execute(query, [endpoint]).fetchone() == (first,)

    eventually(known, "evaluation knows what is live")
    second = evaluation.model_version_created(
        project, standing_order="projects/p/trainingPlans/t", run="r2", number=2
    )
    [(event, _)] = evaluation.announced(APPROVED, second)
    [result] = event["verdict"]["rules"]
    assert result["rule"]["comparedTo"] == "BASELINE_LIVE"
    assert result["estimate"]["items"] == 10
    assert "minus the live model's" in result["explanation"]
    made = evaluation.client.GetEvaluation(api.GetEvaluationRequest(name=event["evaluation"]))
    assert [candidate.id for candidate in made.candidates] == ["base", "prompted", "live", "tuned"]


def test_what_is_live_is_judged_again_on_newer_items(evaluation: EvaluationUnderTest, unique_name):
    """Once the newer curation is known; the verdict is about the endpoint, and nothing is deployed by it."""
    project = unique_name
    rule = gate_pb2.Rule(metric="loss", compared_to=gate_pb2.BASELINE_LIVE, at_most=0.0001)
    strict = gate_pb2.Rule(metric="loss", at_most=0.0001)
    gate = _gate(project, rule, general_suite="none")
    evaluation.client.ApplyGate(api.ApplyGateRequest(gate=gate))
    version = evaluation.model_version_created(project, standing_order="projects/p/trainingPlans/t", run="r1")
    assert len(evaluation.announced(APPROVED, version)) == 1
    gate.rules.append(strict)
    evaluation.client.ApplyGate(api.ApplyGateRequest(gate=gate))
    endpoint, curation = f"projects/{project}/endpoints/e", f"projects/{project}/curations/newer"
    asked = {"endpoint": endpoint, "modelVersion": version, "curation": curation}
    kind = "sartor.deployment.v1.ReevaluationRequested"
    evaluation.publish("sartor.deployment.v1", kind, endpoint, asked, "again")
    evaluation.curation_succeeded(project, "newer")
    [(event, _)] = evaluation.announced("sartor.evaluation.v1.ModelVersionReevaluated", version)
    assert event["endpoint"] == endpoint
    passed = {rule["rule"]["comparedTo"]: rule.get("passed", False) for rule in event["verdict"]["rules"]}
    # Not compared with itself, and a bound that nobody keeps.
    assert passed == {"BASELINE_LIVE": True, "BASELINE_NOTHING": False}
    made = evaluation.client.GetEvaluation(api.GetEvaluationRequest(name=event["evaluation"]))
    assert made.curation == curation
    assert len(evaluation.announced(APPROVED, version)) == 1
