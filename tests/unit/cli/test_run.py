"""A run is shown as its stages, along the standing orders that follow from its snapshot."""

from __future__ import annotations

import pytest
from sartor.common.v1.job_status_pb2 import JobError, JobProgress, JobState, JobStatus
from sartor.curation.v1.curation_pb2 import Curation
from sartor.curation.v1.curation_policy_pb2 import CurationPolicy
from sartor.deployment.v1.endpoint_pb2 import Endpoint, Revision, RevisionState
from sartor.evaluation.v1.evaluation_pb2 import Evaluation, RuleResult, Verdict
from sartor.evaluation.v1.gate_pb2 import Gate
from sartor.ingestion.v1.dataset_pb2 import Snapshot
from sartor.training.v1.base_model_pb2 import BaseModel
from sartor.training.v1.training_job_pb2 import TrainingJob
from sartor.training.v1.training_plan_pb2 import TrainingPlan
from sartor_cli.run import Found, Orders, Run, stages_of
from sartor_cli.run_view import RunLines, figures_text, patient, run_table, stage_text
from sartor_cli.stage import Stage, StageState
from sartor_platform.errors import Unavailable

P = "projects/p"
DONE = JobStatus(state=JobState.JOB_STATE_SUCCEEDED)
ORDERS = Orders(
    P,
    [
        CurationPolicy(
            name=f"{P}/curationPolicies/c", dataset=f"{P}/datasets/d", base_model=f"{P}/baseModels/b"
        )
    ],
    [
        TrainingPlan(
            name=f"{P}/trainingPlans/t",
            curation_policy=f"{P}/curationPolicies/c",
            model=f"{P}/models/m",
            base_model=f"{P}/baseModels/b",
        )
    ],
    [Gate(name=f"{P}/gates/g", model=f"{P}/models/m")],
    [Endpoint(name=f"{P}/endpoints/e", model=f"{P}/models/m", url="http://127.0.0.1:1/v1")],
)
SNAPSHOT = Snapshot(name=f"{P}/datasets/d/snapshots/s", record_count=300, added_count=300, rejected_count=2)
BASE = BaseModel(name=f"{P}/baseModels/b", job=DONE, parameter_count=135_000_000)
CURATION = Curation(
    policy=f"{P}/curationPolicies/c", job=DONE, kept_count=250, input_count=300, training_tokens=9000
)
JOB = TrainingJob(plan=f"{P}/trainingPlans/t", job=DONE)
PASSED = Evaluation(
    gate=f"{P}/gates/g", job=DONE, verdict=Verdict(passed=True, rules=[RuleResult(passed=True)])
)


def run_of(**found: object) -> Run:
    stages = tuple(stages_of(ORDERS, Found(snapshots=[SNAPSHOT], **found)))  # type: ignore[arg-type]
    return Run("r", P, stages)


def states(run: Run) -> dict[str, str]:
    return {stage.title: stage.state.value for stage in run.stages}


def test_stages_to_come_are_known_from_the_standing_orders() -> None:
    """Right after the snapshot the whole way is visible."""
    run = run_of(base_models=[BASE])
    assert states(run) == {
        "snapshot": "succeeded",
        "base model": "succeeded",
        "curation": "waiting",
        "training": "waiting",
        "evaluation": "waiting",
        "gate": "waiting",
        "deployment": "waiting",
    }
    assert not run.ended


def test_a_run_that_went_all_the_way_has_succeeded() -> None:
    """A live revision is the end."""
    live = Revision(name=f"{P}/endpoints/e/revisions/1", state=RevisionState.REVISION_STATE_LIVE)
    live.parity.top1_agreement = 0.99
    run = run_of(base_models=[BASE], curations=[CURATION], jobs=[JOB], evaluations=[PASSED], revisions=[live])
    assert run.ended
    assert run.succeeded
    assert run.faults == []
    assert "live at http://127.0.0.1:1/v1" in run.stages[-1].outcome


def test_a_rejected_version_ends_the_run_with_the_broken_rules() -> None:
    """What was not reached is said, and why the gate did not open."""
    verdict = Verdict(rules=[RuleResult(passed=False, explanation="token_f1 lower bound -0.01 is below 0")])
    evaluation = Evaluation(gate=f"{P}/gates/g", job=DONE, verdict=verdict)
    run = run_of(curations=[CURATION], jobs=[JOB], evaluations=[evaluation])
    assert run.ended
    assert not run.succeeded
    assert states(run)["gate"] == "failed"
    assert states(run)["deployment"] == "not reached"
    assert run.faults == ["gate: rejected: token_f1 lower bound -0.01 is below 0"]


def test_a_failed_job_stops_everything_after_it() -> None:
    """The reason of the job is the reason of the run."""
    error = JobError(reason="BASE_MODEL_UNKNOWN", message="no such package")
    failed = Curation(
        policy=f"{P}/curationPolicies/c", job=JobStatus(state=JobState.JOB_STATE_FAILED, error=error)
    )
    run = run_of(curations=[failed])
    assert run.ended
    assert run.faults == ["curation: BASE_MODEL_UNKNOWN: no such package"]
    assert {state for title, state in states(run).items() if title not in ("snapshot", "curation")} == {
        "not reached"
    }


def test_a_rejected_revision_fails_its_stage() -> None:
    """What was live stays live; this run did not make it."""
    revision = Revision(name=f"{P}/endpoints/e/revisions/1", state=RevisionState.REVISION_STATE_REJECTED)
    revision.error.reason, revision.error.message = "PARITY_FAILED", "agreement 91 %"
    run = run_of(curations=[CURATION], jobs=[JOB], evaluations=[PASSED], revisions=[revision])
    assert run.faults == ["deployment: PARITY_FAILED: agreement 91 %"]


def test_a_running_job_shows_what_it_does() -> None:
    """Share, figures and the time left come from the job's progress."""
    progress = JobProgress(
        stage="epoch 2 of 3", fraction=0.5, figures={"loss": 1.234, "tokens_per_second": 321.0}
    )
    progress.eta.seconds = 42
    job = TrainingJob(plan=f"{P}/trainingPlans/t")
    job.job.CopyFrom(JobStatus(state=JobState.JOB_STATE_RUNNING, progress=progress))
    stage = next(
        stage for stage in run_of(curations=[CURATION], jobs=[job]).stages if stage.title == "training"
    )
    assert stage.eta_seconds == 42
    assert stage_text(stage) == "epoch 2 of 3 · loss 1.23, tokens per second 321"


def test_lines_are_written_at_changes_and_every_few_seconds() -> None:
    """A log file is not flooded."""
    lines: list[str] = []
    now = 0.0
    shown = RunLines(lines.append, lambda: now)

    def at(seconds: float, stage: Stage) -> None:
        nonlocal now
        now = seconds
        shown.show(Run("r", P, (stage,)))

    at(0, Stage("training", StageState.WAITING))
    at(1, Stage("training", StageState.RUNNING, fraction=0.1))
    at(2, Stage("training", StageState.RUNNING, fraction=0.2))
    at(7, Stage("training", StageState.RUNNING, fraction=0.3))
    at(8, Stage("training", StageState.SUCCEEDED, outcome="done"))
    at(9, Stage("training", StageState.SUCCEEDED, outcome="done"))
    assert lines == ["training: running 10%", "training: running 30%", "training: succeeded · done"]


def test_the_table_can_be_drawn_in_every_state() -> None:
    """No state is without a mark."""
    stages = tuple(Stage(state.value, state) for state in StageState)
    assert run_table(Run("r", P, stages)) is not None
    assert figures_text({}) == ""


def test_a_service_that_is_being_restarted_does_not_end_the_watching() -> None:
    """The last answer stands in, but not for ever."""
    answers = iter([Run("r", P, ()), Unavailable("away"), Unavailable("away")])

    def read() -> Run:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    ask = patient(read, seconds=60)
    assert ask() == ask() == Run("r", P, ())
    with pytest.raises(Unavailable):
        patient(read, seconds=-1)()
