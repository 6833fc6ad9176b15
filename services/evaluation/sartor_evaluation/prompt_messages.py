"""Prompts: proto ↔ domain."""

from __future__ import annotations

from sartor.evaluation.v1 import prompt_pb2
from sartor_platform.orders import Order, order_revision

from sartor_evaluation.specs import PromptSpec


def prompt_spec(prompt: prompt_pb2.Prompt) -> PromptSpec:
    """The specification in a Prompt."""
    examples = tuple((one.prompt, one.reference) for one in prompt.examples)
    return PromptSpec(prompt.system, prompt.format, examples, prompt.shots, prompt.choice)


def prompt_message(name: str, spec: PromptSpec, order: Order | None = None) -> prompt_pb2.Prompt:
    """A Prompt; without an order it was only validated."""
    examples = [prompt_pb2.PromptExample(prompt=asked, reference=told) for asked, told in spec.examples]
    message = prompt_pb2.Prompt(
        name=name,
        system=spec.system,
        format=spec.format,
        examples=examples,
        shots=spec.shots,
        choice=spec.choice,
    )
    if order is not None:
        message.order.CopyFrom(order_revision(order))
    return message


def prompt_of_order(order: Order) -> prompt_pb2.Prompt:
    """The Prompt of a standing order."""
    return prompt_message(order.name, PromptSpec.from_json(order.spec), order)
