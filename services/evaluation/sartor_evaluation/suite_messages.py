"""Suites: proto ↔ domain."""

from __future__ import annotations

from sartor.evaluation.v1 import evaluation_pb2, suite_pb2
from sartor_platform.orders import Order, order_revision

from sartor_evaluation.announcements import reference_message
from sartor_evaluation.service_messages import item_of, object_reference
from sartor_evaluation.specs import ItemSource, SuiteSpec


def suite_spec(suite: suite_pb2.Suite) -> SuiteSpec:
    """The specification in a Suite.

    Raises:
        InvalidArgument: BAD_OBJECT_REFERENCE.
    """
    which = suite.WhichOneof("items")
    return SuiteSpec(
        items=ItemSource(
            curation=suite.curation,
            inline=tuple(map(item_of, suite.inline_items.items)),
            object=object_reference(suite.items_object, "items_object") if which == "items_object" else None,
        ),
        metrics=tuple(suite.metrics),
        pattern=suite.pattern,
        schema=suite.schema,
        max_items=suite.max_items,
        task=suite.task,
        data={name: object_reference(found, f"data.{name}") for name, found in suite.data.items()},
        builtin=suite.builtin,
        variations=tuple(suite.variations),
    )


def suite_message(name: str, spec: SuiteSpec, order: Order | None = None) -> suite_pb2.Suite:
    """A Suite; without an order it was only validated."""
    message = suite_pb2.Suite(
        name=name,
        metrics=spec.metrics,
        pattern=spec.pattern,
        schema=spec.schema,
        max_items=spec.max_items,
        variations=spec.variations,
    )
    if spec.items.curation:
        message.curation = spec.items.curation
    elif spec.items.object is not None:
        message.items_object.CopyFrom(reference_message(spec.items.object))
    elif spec.task:
        message.task = spec.task
    elif spec.builtin:
        message.builtin = spec.builtin
    else:
        message.inline_items.items.extend(evaluation_pb2.Item(**item) for item in spec.items.inline)
    for key, reference in spec.data.items():
        message.data[key].CopyFrom(reference_message(reference))
    if order is not None:
        message.order.CopyFrom(order_revision(order))
    return message


def suite_of_order(order: Order) -> suite_pb2.Suite:
    """The Suite of a standing order."""
    return suite_message(order.name, SuiteSpec.from_json(order.spec), order)
