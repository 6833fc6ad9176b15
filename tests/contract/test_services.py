"""What clients of any Sartor service may rely on: the standard methods look the same everywhere."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

SERVICES = ("ingestion", "curation", "training", "evaluation", "deployment")


def methods() -> Iterator[Any]:
    """The descriptors of all methods of all services."""
    for service in SERVICES:
        module = importlib.import_module(f"sartor.{service}.v1.{service}_service_pb2")
        for descriptor in module.DESCRIPTOR.services_by_name.values():
            for method in descriptor.methods:
                yield pytest.param(method, id=method.full_name)


def fields(message: Any) -> set[str]:
    return {field.name for field in message.fields}


@pytest.mark.parametrize("method", [*methods()])
def test_a_method_takes_the_standard_fields(method: Any) -> None:
    """Names, pages, repeatable writes, checks without effect: as the API Improvement Proposals have them."""
    asked, answered = fields(method.input_type), fields(method.output_type)
    verb = next((verb for verb in STANDARD if method.name.startswith(verb)), "")
    assert STANDARD.get(verb, set()) <= asked
    if verb == "List":
        assert "next_page_token" in answered
    elif verb in ("Get", "Create", "Apply", "Cancel", "Watch"):
        assert "name" in answered
    assert method.server_streaming == (verb == "Watch")


STANDARD = {
    "Get": {"name"},
    "List": {"page_size", "page_token"},
    "Create": {"parent", "request_id"},
    "Apply": {"request_id", "generation", "validate_only"},
    "Cancel": {"name"},
    "Watch": {"name"},
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_server_answers_every_method_of_its_contract(service: str) -> None:
    """No method is left to the generated class, which answers UNIMPLEMENTED."""
    grpc_module = importlib.import_module(f"sartor.{service}.v1.{service}_service_pb2_grpc")
    messages = importlib.import_module(f"sartor.{service}.v1.{service}_service_pb2")
    (descriptor,) = messages.DESCRIPTOR.services_by_name.values()
    generated = getattr(grpc_module, f"{descriptor.name}Servicer")
    own = getattr(importlib.import_module(f"sartor_{service}.service"), descriptor.name)
    missing = [
        method.name
        for method in descriptor.methods
        if getattr(own, method.name) is getattr(generated, method.name)
    ]
    assert not missing
