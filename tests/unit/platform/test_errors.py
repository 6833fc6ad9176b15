"""Errors and their way over gRPC."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import grpc
import pytest
import sartor_platform
from google.rpc import code_pb2, error_details_pb2
from sartor_platform import errors, grpc_status
from sartor_platform.errors import FieldViolation, InvalidArgument, NotReady, SartorError


def every_error() -> list[type[SartorError]]:
    for module in pkgutil.iter_modules(sartor_platform.__path__):
        if module.name not in ("__main__", "child"):
            importlib.import_module(f"sartor_platform.{module.name}")
    found, todo = [], [SartorError]
    while todo:
        kinds = [
            kind for kind in todo.pop().__subclasses__() if kind.__module__.startswith("sartor_platform")
        ]
        found += kinds
        todo += kinds
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_is_mapped_to_a_status(kind: type[SartorError]) -> None:
    """None of ours ends as INTERNAL, each has a reason, and the code is one of gRPC's."""
    error = kind("message")
    code = errors.grpc_code(error)
    assert code != "INTERNAL"
    assert code in grpc.StatusCode.__members__
    assert error.reason == error.reason.upper() != ""
    assert error.reason != "UNKNOWN"


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    """Every class of the module is drawn."""
    drawn = errors.__doc__ or ""
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, Exception) and kind.__module__ == errors.__name__:
            assert name in drawn


def test_a_code_names_its_error_and_back() -> None:
    """The table is read in both directions."""
    for kind, code in errors.GRPC_CODES.items():
        assert errors.error_of_code(code) is kind
    assert errors.error_of_code("CANCELLED") is SartorError


def test_a_status_carries_reason_domain_and_violations() -> None:
    """As google.rpc details that any client can read."""
    status = grpc_status.status_of(
        InvalidArgument(
            "bad", reason="BAD", metadata={"k": "v"}, violations=[FieldViolation("a.b", "is too long")]
        )
    )
    assert status.code == code_pb2.INVALID_ARGUMENT
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert (info.reason, info.domain, dict(info.metadata)) == ("BAD", "sartor", {"k": "v"})
    assert (bad.field_violations[0].field, bad.field_violations[0].description) == ("a.b", "is too long")


def test_not_ready_is_no_failure() -> None:
    """So no table and no handler can take it for one."""
    assert not issubclass(NotReady, SartorError)
    assert NotReady(2.0).retry_after_seconds == 2.0
