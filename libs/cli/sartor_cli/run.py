"""What a run is made of: the standing orders that follow from its snapshot, and how far each has come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sartor.curation.v1.curation_service_pb2 import ListCurationPoliciesRequest, ListCurationsRequest
from sartor.deployment.v1.deployment_service_pb2 import ListEndpointsRequest, ListRevisionsRequest
from sartor.evaluation.v1.evaluation_service_pb2 import ListEvaluationsRequest, ListGatesRequest
from sartor.ingestion.v1.ingestion_service_pb2 import ListSnapshotsRequest
from sartor.training.v1.training_service_pb2 import (
    ListBaseModelsRequest,
    ListTrainingJobsRequest,
    ListTrainingPlansRequest,
)

from sartor_cli.client import Sartor
from sartor_cli.output import last
from sartor_cli.stage import (
    Stage,
    StageState,
    base_model_stage,
    curation_stage,
    deployment_stage,
    gate_stage,
    resource_stage,
    snapshot_stage,
)


@dataclass(frozen=True, slots=True)
class Orders:
    """The standing orders of a project; read once, they say which stages a run will have."""

    project: str
    policies: Sequence[Any]
    plans: Sequence[Any]
    gates: Sequence[Any]
    endpoints: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands now."""

    id: str
    project: str
    stages: tuple[Stage, ...]
    evaluations: tuple[Any, ...] = ()
    revisions: tuple[Any, ...] = ()
    curations: tuple[Any, ...] = ()

    @property
    def ended(self) -> bool:
        return bool(self.stages) and all(stage.state.ended for stage in self.stages)

    @property
    def succeeded(self) -> bool:
        return bool(self.stages) and all(stage.state is StageState.SUCCEEDED for stage in self.stages)

    @property
    def faults(self) -> list[str]:
        """Why it did not succeed, one sentence a failed stage."""
        return [f"{stage.title}: {stage.error}" for stage in self.stages if stage.state is StageState.FAILED]


def read_orders(sartor: Sartor, project: str) -> Orders:
    """The project's standing orders."""
    return Orders(
        project,
        list(sartor.all(sartor.curation.ListCurationPolicies, ListCurationPoliciesRequest(parent=project))),
        list(sartor.all(sartor.training.ListTrainingPlans, ListTrainingPlansRequest(parent=project))),
        list(sartor.all(sartor.evaluation.ListGates, ListGatesRequest(parent=project))),
        list(sartor.all(sartor.deployment.ListEndpoints, ListEndpointsRequest(parent=project))),
    )


def read_run(sartor: Sartor, orders: Orders, run: str) -> Run:
    """Asks every service what belongs to the run."""
    project, where = orders.project, f'run = "{run}"'
    snapshots = list(
        sartor.all(
            sartor.ingestion.ListSnapshots, ListSnapshotsRequest(parent=f"{project}/datasets/-", filter=where)
        )
    )
    curations = sartor.all(sartor.curation.ListCurations, ListCurationsRequest(parent=project, filter=where))
    jobs = sartor.all(sartor.training.ListTrainingJobs, ListTrainingJobsRequest(parent=project, filter=where))
    evaluations = sartor.all(
        sartor.evaluation.ListEvaluations, ListEvaluationsRequest(parent=project, filter=where)
    )
    revisions = sartor.all(
        sartor.deployment.ListRevisions, ListRevisionsRequest(parent=f"{project}/endpoints/-", filter=where)
    )
    bases = sartor.all(sartor.training.ListBaseModels, ListBaseModelsRequest(parent=project))
    found = Found(snapshots, list(bases), list(curations), list(jobs), list(evaluations), list(revisions))
    return Run(
        run,
        project,
        tuple(stages_of(orders, found)),
        tuple(found.evaluations),
        tuple(found.revisions),
        tuple(found.curations),
    )


@dataclass(frozen=True, slots=True)
class Found:
    """The resources that carry the run's id, and the project's base models."""

    snapshots: Sequence[Any] = ()
    base_models: Sequence[Any] = ()
    curations: Sequence[Any] = ()
    jobs: Sequence[Any] = ()
    evaluations: Sequence[Any] = ()
    revisions: Sequence[Any] = ()


def stages_of(orders: Orders, found: Found) -> Iterator[Stage]:
    """The rows of a run, from its snapshot along the standing orders that follow from it."""
    for snapshot in found.snapshots:
        yield snapshot_stage(snapshot)
    datasets = {snapshot.name.rpartition("/snapshots/")[0] for snapshot in found.snapshots}
    policies = [policy for policy in orders.policies if policy.dataset in datasets]
    plans = [plan for plan in orders.plans if plan.curation_policy in {policy.name for policy in policies}]
    used = {policy.base_model for policy in policies} | {plan.base_model for plan in plans}
    for base in found.base_models:
        if base.name in used:
            yield base_model_stage(base)
    for policy in policies:
        curation = _of(found.curations, "policy", policy.name)
        yield (stage := curation_stage(_title("curation", policy, orders.policies), curation))
        followers = [plan for plan in plans if plan.curation_policy == policy.name]
        yield from _after_curation(orders, found, followers, reached=stage.state is not StageState.FAILED)


def _after_curation(orders: Orders, found: Found, plans: Sequence[Any], *, reached: bool) -> Iterator[Stage]:
    for plan in plans:
        job = _of(found.jobs, "plan", plan.name)
        stage = resource_stage(_title("training", plan, orders.plans), job, reached)
        yield stage
        gates = [gate for gate in orders.gates if gate.model == plan.model]
        open_ = _goes_on(stage)
        passed = open_
        for gate in gates:
            evaluation = _of(found.evaluations, "gate", gate.name)
            done = resource_stage(_title("evaluation", gate, orders.gates), evaluation, open_)
            verdict = gate_stage(_title("gate", gate, orders.gates), evaluation, _goes_on(done))
            yield done
            yield verdict
            passed = passed and _goes_on(verdict)
        if gates:
            for endpoint in orders.endpoints:
                if endpoint.model == plan.model:
                    below = [each for each in found.revisions if each.name.startswith(f"{endpoint.name}/")]
                    title = _title("deployment", endpoint, orders.endpoints)
                    yield deployment_stage(title, below[0] if below else None, endpoint, passed)


def _goes_on(stage: Stage) -> bool:
    return stage.state not in (StageState.FAILED, StageState.NOT_REACHED)


def _of(resources: Sequence[Any], attribute: str, name: str) -> Any | None:
    return next((each for each in resources if getattr(each, attribute) == name), None)


def _title(kind: str, order: Any, all_of_kind: Sequence[Any]) -> str:
    return kind if len(all_of_kind) == 1 else f"{kind} {last(order.name)}"
