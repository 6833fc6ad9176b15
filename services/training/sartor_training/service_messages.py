"""Resources of training as the public API shows them, and recipes as it brings them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sartor.common.v1 import object_reference_pb2
from sartor.training.v1 import (
    base_model_pb2,
    training_job_pb2,
    training_plan_pb2,
    training_quote_pb2,
)
from sartor_datasets.manifests import ObjectReference
from sartor_platform import orders
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.jobs import Job, job_status
from sartor_platform.orders import Order

from sartor_training.recommendation import Ranked
from sartor_training.resources import (
    Model,
    ModelVersion,
    PlanSpec,
    ReadyBaseModel,
    TrainingJob,
    checked_recipe,
)


def _words(enum: Any) -> dict[int, str]:
    """Number → word of a recipe: METHOD_SFT is "sft"; zero is empty and takes the default."""
    prefix = f"{enum.DESCRIPTOR.values_by_number[0].name.removesuffix('UNSPECIFIED')}"
    return {
        value.number: value.name.removeprefix(prefix).lower() if value.number else ""
        for value in enum.DESCRIPTOR.values
    }


_ENUMS = {
    "method": _words(training_plan_pb2.Method),
    "adapter": _words(training_plan_pb2.Adapter),
    "preset": _words(training_plan_pb2.Preset),
    "output_layer": _words(training_plan_pb2.OutputLayer),
}


def recipe_of(message: training_plan_pb2.Recipe, field: str) -> dict[str, Any]:
    """The complete recipe of a message, as JSON values; unset fields take their defaults.

    Raises:
        InvalidArgument: BAD_RECIPE, with every fault.
    """
    values: dict[str, Any] = {item.name: value for item, value in message.ListFields()}
    unknown = [name for name, words in _ENUMS.items() if values.get(name, 0) not in words]
    if unknown:
        raise InvalidArgument(
            f"the recipe says something that this release does not know: {', '.join(unknown)}",
            reason="BAD_RECIPE",
            violations=[FieldViolation(f"{field}.{name}", "has an unknown value") for name in unknown],
        )
    for name, words in _ENUMS.items():
        if name in values:
            values[name] = words[values[name]]
    return checked_recipe(values, field).to_mapping()


def recipe_message(recipe: Mapping[str, Any]) -> training_plan_pb2.Recipe:
    """A complete recipe as a message. One that an earlier release kept lacks what is new."""
    known = training_plan_pb2.Recipe.DESCRIPTOR.fields_by_name
    values: dict[str, Any] = {name: value for name, value in recipe.items() if name in known}
    for name, words in _ENUMS.items():
        numbers = {word: number for number, word in words.items()}
        values[name] = numbers[values.get(name, "")]
    return training_plan_pb2.Recipe(**values)


def quote_message(result: Mapping[str, Any]) -> training_quote_pb2.TrainingQuote:
    """What a worker measured."""
    audit = result["audit"]
    message = training_quote_pb2.TrainingQuote(
        recipe=recipe_message(result["recipe"]),
        audit=training_quote_pb2.LabelAudit(
            rows=audit["rows"],
            supervised_share=audit["supervised_share"],
            rows_without_labels=audit["rows_without_labels"],
            rows_cut=audit["rows_cut"],
            refusal=audit["refusal"],
            samples=[
                training_quote_pb2.LabelSample(
                    spans=[training_quote_pb2.LabelSpan(text=piece, learned=on) for piece, on in spans]
                )
                for spans in audit["samples"]
            ],
        ),
        **{
            name: result[name]
            for name in (
                "tokens", "steps", "tokens_per_second", "peak_memory_bytes", "disk_bytes", "device",
            )
        },
    )  # fmt: skip
    message.duration.FromNanoseconds(int(result["seconds"] * 1e9))
    return message


def recommendation_message(place: Ranked) -> training_quote_pb2.BaseModelRecommendation:
    """A base model in its place."""
    tried = place.tried
    message = training_quote_pb2.BaseModelRecommendation(
        base_model=tried.base_model, rank=place.rank, reasons=place.reasons, failure=tried.failure
    )
    if tried.result is not None:
        message.initial_loss, message.trial_loss = tried.initial_loss, tried.loss
        message.trial_tokens = int(tried.result["trial"]["tokens"])
        message.serving_operations = tried.serving_operations
        message.quote.CopyFrom(quote_message(tried.result))
    return message


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
        trigger="loop" if message.trigger == training_plan_pb2.PLAN_TRIGGER_LOOP else "curation",
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
        trigger=training_plan_pb2.PlanTrigger.Value(
            f"PLAN_TRIGGER_{spec.get('trigger', 'curation').upper()}"
        ),
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
