"""Resources of training as the public API shows them, and recipes as it brings them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sartor.common.v1 import object_reference_pb2
from sartor.training.v1 import base_model_pb2, training_job_pb2, training_plan_pb2
from sartor_datasets.manifests import ObjectReference
from sartor_platform import orders
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.jobs import Job, job_status
from sartor_platform.orders import Order

from sartor_training.resources import (
    Model,
    ModelVersion,
    PlanSpec,
    ReadyBaseModel,
    TrainingJob,
    checked_recipe,
)

_METHODS = {training_plan_pb2.METHOD_UNSPECIFIED: "sft", training_plan_pb2.METHOD_SFT: "sft"}
_ADAPTERS = {
    training_plan_pb2.ADAPTER_UNSPECIFIED: "lora",
    training_plan_pb2.ADAPTER_LORA: "lora",
    training_plan_pb2.ADAPTER_FULL: "full",
}
_METHOD_OF = {"sft": training_plan_pb2.METHOD_SFT}
_ADAPTER_OF = {"lora": training_plan_pb2.ADAPTER_LORA, "full": training_plan_pb2.ADAPTER_FULL}


def recipe_of(message: training_plan_pb2.Recipe, field: str) -> dict[str, Any]:
    """The complete recipe of a message, as JSON values; unset fields take their defaults.

    Raises:
        InvalidArgument: BAD_RECIPE, with every fault.
    """
    values: dict[str, Any] = {item.name: value for item, value in message.ListFields()}
    if message.method not in _METHODS or message.adapter not in _ADAPTERS:
        raise InvalidArgument(
            "the recipe names a method or an adapter that this release does not know",
            reason="BAD_RECIPE",
            violations=[FieldViolation(field, "has an unknown method or adapter")],
        )
    values["method"] = _METHODS[message.method]
    values["adapter"] = _ADAPTERS[message.adapter]
    return checked_recipe(values, field).to_mapping()


def recipe_message(recipe: Mapping[str, Any]) -> training_plan_pb2.Recipe:
    """A complete recipe as a message."""
    plain = {name: value for name, value in recipe.items() if name not in ("method", "adapter")}
    return training_plan_pb2.Recipe(
        method=_METHOD_OF[recipe["method"]], adapter=_ADAPTER_OF[recipe["adapter"]], **plain
    )


def reference_message(reference: ObjectReference) -> object_reference_pb2.ObjectReference:
    """An object reference as a message."""
    return object_reference_pb2.ObjectReference(
        uri=reference.uri, sha256=reference.sha256, size_bytes=reference.size_bytes
    )


def base_model_message(
    order: Order, ready: ReadyBaseModel | None, job: Job | None
) -> base_model_pb2.BaseModel:
    """A base model with the state of its preparation."""
    message = base_model_pb2.BaseModel(
        name=order.name,
        reference=order.spec["reference"],
        job=job_status(job),
        order=orders.order_revision(order),
    )
    if ready is not None:
        message.digest = ready.digest
        message.manifest.CopyFrom(reference_message(ready.manifest))
        message.architecture = ready.architecture
        message.parameter_count = ready.parameter_count
        message.context_length = ready.context_length
        message.license = ready.license
    return message


def plan_spec(message: training_plan_pb2.TrainingPlan) -> PlanSpec:
    """What a plan's message orders, with a complete recipe."""
    return PlanSpec(
        curation_policy=message.curation_policy,
        model=message.model,
        base_model=message.base_model,
        recipe=recipe_of(message.recipe, "training_plan.recipe"),
    )


def plan_message(
    name: str, spec: Mapping[str, Any], order: Order | None = None
) -> training_plan_pb2.TrainingPlan:
    """A plan; without an order it is only what would be applied."""
    return training_plan_pb2.TrainingPlan(
        name=name,
        curation_policy=spec["curation_policy"],
        model=spec["model"],
        base_model=spec["base_model"],
        recipe=recipe_message(spec["recipe"]),
        order=None if order is None else orders.order_revision(order),
    )


def job_message(job: TrainingJob, state: Job | None) -> training_job_pb2.TrainingJob:
    """A training job with its state and progress."""
    message = training_job_pb2.TrainingJob(
        name=job.name,
        plan=job.plan,
        plan_revision=job.plan_revision,
        curation=job.curation,
        model=job.model,
        base_model=job.base_model,
        recipe=recipe_message(job.recipe),
        job=job_status(state),
        model_version=job.model_version,
        run=job.run,
        generation=job.generation,
        created_by=job.created_by,
    )
    message.create_time.FromDatetime(job.create_time)
    return message


def model_message(model: Model) -> training_job_pb2.Model:
    """A line of models."""
    message = training_job_pb2.Model(name=model.name, latest_version=model.latest_version)
    message.create_time.FromDatetime(model.create_time)
    return message


def version_message(version: ModelVersion) -> training_job_pb2.ModelVersion:
    """A model version."""
    message = training_job_pb2.ModelVersion(
        name=version.name,
        training_job=version.training_job,
        manifest=reference_message(version.manifest),
        model_card=reference_message(version.model_card),
        base_model=version.base_model,
        base_model_digest=version.base_model_digest,
        curation=version.curation,
        metrics=dict(version.metrics),
        run=version.run,
    )
    message.create_time.FromDatetime(version.create_time)
    return message
