"""The gRPC service: proto ↔ domain, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sartor.common.v1 import job_status_pb2
from sartor.training.v1 import (
    base_model_pb2,
    training_job_pb2,
    training_plan_pb2,
    training_quote_pb2,
    training_service_pb2_grpc,
)
from sartor.training.v1 import training_service_pb2 as messages
from sartor_platform import jobs, orders
from sartor_platform.grpc_server import Servicer
from sartor_platform.idempotency import once
from sartor_platform.listing import parse_filter
from sartor_platform.orders import Order
from sartor_platform.runtime import Runtime
from sqlalchemy import Connection

from sartor_training import resources, service_messages
from sartor_training.quote_wait import wait_for_quote
from sartor_training.recommendation import advice
from sartor_training.recommending import recommend
from sartor_training.resources import BASE_MODEL, MODEL, MODEL_VERSION, PROJECT, TRAINING_JOB, TRAINING_PLAN
from sartor_training.store import base_models, models, steps, training_jobs
from sartor_training.usecases import base_models as base_model_cases
from sartor_training.usecases import quotes, training_plans
from sartor_training.usecases import training_jobs as job_cases
from sartor_training.usecases.training_jobs import WantedJob

_FINISHED = (
    job_status_pb2.JOB_STATE_SUCCEEDED,
    job_status_pb2.JOB_STATE_FAILED,
    job_status_pb2.JOB_STATE_CANCELLED,
)


def servicers(runtime: Runtime) -> list[Servicer]:
    """What the server of training serves."""
    return [
        Servicer(
            add=training_service_pb2_grpc.add_TrainingServiceServicer_to_server,
            implementation=TrainingService(runtime),
            full_name="sartor.training.v1.TrainingService",
        )
    ]


class TrainingService(training_service_pb2_grpc.TrainingServiceServicer):
    """Prepares base models and trains model versions; see training_service.proto."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._database = runtime.database

    def ApplyBaseModel(  # noqa: N802
        self, request: messages.ApplyBaseModelRequest, context: Any
    ) -> base_model_pb2.BaseModel:
        """Make or change a base model."""
        wanted = request.base_model
        base_model_cases.check_base_model(wanted.name, wanted.reference)
        if request.validate_only:
            return base_model_pb2.BaseModel(name=wanted.name, reference=wanted.reference)

        def make() -> base_model_pb2.BaseModel:
            order = base_model_cases.apply_base_model(
                tx, wanted.name, wanted.reference, generation=request.generation, etag=wanted.order.etag
            )
            return _base_models(tx.connection, [order])[0]

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, base_model_pb2.BaseModel)

    def GetBaseModel(  # noqa: N802
        self, request: messages.GetBaseModelRequest, context: Any
    ) -> base_model_pb2.BaseModel:
        """Read a base model."""
        project = BASE_MODEL.parse(request.name)["project"]
        with self._database.read() as connection:
            order = orders.find(connection, request.name)
            if order is None:
                raise resources.base_model_unknown(request.name, base_models.known(connection, project))
            return _base_models(connection, [order])[0]

    def ListBaseModels(  # noqa: N802
        self, request: messages.ListBaseModelsRequest, context: Any
    ) -> messages.ListBaseModelsResponse:
        """List the base models of a project."""
        PROJECT.parse(request.parent, field="parent")
        with self._database.read() as connection:
            found, token = _orders(connection, f"{request.parent}/baseModels/", request)
            shown = _base_models(connection, found)
        return messages.ListBaseModelsResponse(base_models=shown, next_page_token=token)

    def ApplyTrainingPlan(  # noqa: N802
        self, request: messages.ApplyTrainingPlanRequest, context: Any
    ) -> training_plan_pb2.TrainingPlan:
        """Make or change a plan. A dry run does not ask for the base model: one file may bring both."""
        wanted = request.training_plan
        spec = service_messages.plan_spec(wanted)
        training_plans.check_plan(wanted.name, spec)
        if request.validate_only:
            return service_messages.plan_message(wanted.name, spec.to_json())

        def make() -> training_plan_pb2.TrainingPlan:
            order = training_plans.apply_plan(
                tx, wanted.name, spec, generation=request.generation, etag=wanted.order.etag
            )
            return service_messages.plan_message(order.name, order.spec, order)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, training_plan_pb2.TrainingPlan)

    def GetTrainingPlan(  # noqa: N802
        self, request: messages.GetTrainingPlanRequest, context: Any
    ) -> training_plan_pb2.TrainingPlan:
        """Read a plan."""
        TRAINING_PLAN.parse(request.name)
        with self._database.read() as connection:
            order = orders.find(connection, request.name)
        if order is None:
            raise resources.not_found("training plan", request.name)
        return service_messages.plan_message(order.name, order.spec, order)

    def ListTrainingPlans(  # noqa: N802
        self, request: messages.ListTrainingPlansRequest, context: Any
    ) -> messages.ListTrainingPlansResponse:
        """List the plans of a project."""
        PROJECT.parse(request.parent, field="parent")
        with self._database.read() as connection:
            found, token = _orders(connection, f"{request.parent}/trainingPlans/", request)
        shown = [service_messages.plan_message(order.name, order.spec, order) for order in found]
        return messages.ListTrainingPlansResponse(training_plans=shown, next_page_token=token)

    def CreateTrainingJob(  # noqa: N802
        self, request: messages.CreateTrainingJobRequest, context: Any
    ) -> training_job_pb2.TrainingJob:
        """Train now."""
        project = PROJECT.parse(request.parent, field="parent")["project"]
        asked = request.training_job
        wanted = WantedJob(
            project=project,
            curation=asked.curation,
            model=asked.model,
            base_model=asked.base_model,
            recipe=service_messages.recipe_of(asked.recipe, "training_job.recipe"),
        )
        job_cases.check_job(wanted)

        def make() -> training_job_pb2.TrainingJob:
            return self._job_message(tx.connection, job_cases.create_job(tx, wanted).name)

        if request.validate_only:
            return training_job_pb2.TrainingJob(
                curation=asked.curation,
                model=asked.model,
                base_model=asked.base_model,
                recipe=service_messages.recipe_message(wanted.recipe),
                quote=self._quoted(wanted, context),
            )
        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, training_job_pb2.TrainingJob)

    def GetTrainingJob(  # noqa: N802
        self, request: messages.GetTrainingJobRequest, context: Any
    ) -> training_job_pb2.TrainingJob:
        """Read a job."""
        TRAINING_JOB.parse(request.name)
        return self._job(request.name)

    def ListTrainingJobs(  # noqa: N802
        self, request: messages.ListTrainingJobsRequest, context: Any
    ) -> messages.ListTrainingJobsResponse:
        """List the jobs of a project, newest first."""
        project = PROJECT.parse(request.parent, field="parent")["project"]
        wanted = parse_filter(request.filter, ["run", "state"])
        with self._database.read() as connection:
            found, token = training_jobs.list_jobs(
                connection,
                project,
                run=wanted.get("run", ""),
                state=wanted.get("state", ""),
                page_size=request.page_size,
                page_token=request.page_token,
            )
            states = jobs.jobs_of(connection, [job.name for job in found])
        shown = [service_messages.job_message(job, states.get(job.name)) for job in found]
        return messages.ListTrainingJobsResponse(training_jobs=shown, next_page_token=token)

    def CancelTrainingJob(  # noqa: N802
        self, request: messages.CancelTrainingJobRequest, context: Any
    ) -> training_job_pb2.TrainingJob:
        """Stop a job."""
        TRAINING_JOB.parse(request.name)
        with self._database.transaction() as tx:
            job_cases.cancel_job(tx, request.name)
            return self._job_message(tx.connection, request.name)

    def PauseTrainingJob(  # noqa: N802
        self, request: messages.PauseTrainingJobRequest, context: Any
    ) -> training_job_pb2.TrainingJob:
        """Stop a job until it is resumed."""
        TRAINING_JOB.parse(request.name)
        with self._database.transaction() as tx:
            job_cases.pause_job(tx, request.name)
            return self._job_message(tx.connection, request.name)

    def ResumeTrainingJob(  # noqa: N802
        self, request: messages.ResumeTrainingJobRequest, context: Any
    ) -> training_job_pb2.TrainingJob:
        """Let a paused job go on."""
        TRAINING_JOB.parse(request.name)
        with self._database.transaction() as tx:
            job_cases.resume_job(tx, request.name)
            return self._job_message(tx.connection, request.name)

    def ListTrainingSteps(  # noqa: N802
        self, request: messages.ListTrainingStepsRequest, context: Any
    ) -> messages.ListTrainingStepsResponse:
        """List the figures of a job's steps."""
        TRAINING_JOB.parse(request.parent, field="parent")
        with self._database.read() as connection:
            if training_jobs.find(connection, request.parent) is None:
                raise resources.not_found("training job", request.parent)
            found, token = steps.list_steps(
                connection, request.parent, page_size=request.page_size, page_token=request.page_token
            )
        shown = [training_job_pb2.TrainingStep(step=step, figures=figures) for step, figures in found]
        return messages.ListTrainingStepsResponse(training_steps=shown, next_page_token=token)

    def WatchTrainingJob(  # noqa: N802
        self, request: messages.WatchTrainingJobRequest, context: Any
    ) -> Iterator[training_job_pb2.TrainingJob]:
        """Stream a job until it ends."""
        TRAINING_JOB.parse(request.name)
        yield from self._runtime.watchers.stream(
            request.name,
            lambda: self._job(request.name),
            lambda job: job.job.state in _FINISHED,
            context,
        )

    def RecommendBaseModels(  # noqa: N802
        self, request: messages.RecommendBaseModelsRequest, context: Any
    ) -> messages.RecommendBaseModelsResponse:
        """Rank base models by short trials."""
        places = recommend(
            self._database,
            project=PROJECT.parse(request.parent, field="parent")["project"],
            curation=request.curation,
            candidates=list(request.base_models),
            recipe=service_messages.recipe_of(request.recipe, "recipe"),
            trial_seconds=request.trial_seconds,
            context=context,
        )
        return messages.RecommendBaseModelsResponse(
            recommendations=[service_messages.recommendation_message(place) for place in places],
            advice=advice(places),
        )

    def ListModels(self, request: messages.ListModelsRequest, context: Any) -> messages.ListModelsResponse:  # noqa: N802
        """List the models of a project."""
        project = PROJECT.parse(request.parent, field="parent")["project"]
        with self._database.read() as connection:
            found, token = models.list_models(
                connection, project, page_size=request.page_size, page_token=request.page_token
            )
        shown = [service_messages.model_message(model) for model in found]
        return messages.ListModelsResponse(models=shown, next_page_token=token)

    def GetModelVersion(  # noqa: N802
        self, request: messages.GetModelVersionRequest, context: Any
    ) -> training_job_pb2.ModelVersion:
        """Read a model version."""
        MODEL_VERSION.parse(request.name)
        with self._database.read() as connection:
            found = models.find_version(connection, request.name)
        if found is None:
            raise resources.not_found("model version", request.name)
        return service_messages.version_message(found)

    def ListModelVersions(  # noqa: N802
        self, request: messages.ListModelVersionsRequest, context: Any
    ) -> messages.ListModelVersionsResponse:
        """List the versions of a model or of a project, newest first."""
        of_all = request.parent.endswith("/models/-") and PROJECT.matches(
            request.parent.removesuffix("/models/-")
        )
        if not of_all:
            MODEL.parse(request.parent, field="parent")
        wanted = parse_filter(request.filter, ["run"])
        with self._database.read() as connection:
            found, token = models.list_versions(
                connection,
                project=resources.project_of(request.parent),
                model="" if of_all else request.parent,
                run=wanted.get("run", ""),
                page_size=request.page_size,
                page_token=request.page_token,
            )
        shown = [service_messages.version_message(version) for version in found]
        return messages.ListModelVersionsResponse(model_versions=shown, next_page_token=token)

    def _quoted(self, wanted: WantedJob, context: Any) -> training_quote_pb2.TrainingQuote | None:
        with self._database.transaction() as tx:
            name = quotes.ask(tx, wanted)
        return service_messages.quote_message(wait_for_quote(self._database, name, context)) if name else None

    def _job(self, name: str) -> training_job_pb2.TrainingJob:
        with self._database.read() as connection:
            return self._job_message(connection, name)

    def _job_message(self, connection: Connection, name: str) -> training_job_pb2.TrainingJob:
        found = training_jobs.find(connection, name)
        if found is None:
            raise resources.not_found("training job", name)
        return service_messages.job_message(found, jobs.job_of(connection, name))


def _orders(connection: Connection, prefix: str, request: Any) -> tuple[list[Order], str]:
    return orders.list_orders(connection, prefix, page_size=request.page_size, page_token=request.page_token)


def _base_models(connection: Connection, found: Sequence[Order]) -> list[base_model_pb2.BaseModel]:
    names = [order.name for order in found]
    ready = base_models.find_ready(connection, names)
    states = jobs.jobs_of(connection, names)
    return [
        service_messages.base_model_message(order, ready.get(order.name), states.get(order.name))
        for order in found
    ]
