"""Errors ↔ `google.rpc.Status`: the one place where a SartorError becomes a gRPC status, and the way back."""

from __future__ import annotations

from typing import Any

import grpc
import psycopg
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from sartor_platform.database import is_transient
from sartor_platform.errors import (
    DOMAIN,
    DeadlineExceeded,
    FieldViolation,
    InvalidArgument,
    SartorError,
    Unavailable,
    error_of_code,
    grpc_code,
)

DETAILS_KEY = "grpc-status-details-bin"


def status_of(error: BaseException) -> status_pb2.Status:
    """The status a client sees. What is no SartorError tells nothing of itself."""
    if not isinstance(error, SartorError):
        error = _outward(error)
    status = status_pb2.Status(code=code_pb2.Code.Value(grpc_code(error)), message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    _pack(status, info)
    if isinstance(error, InvalidArgument) and error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=violation.field, description=violation.description)
        _pack(status, bad)
    return status


def abort(context: Any, error: BaseException) -> None:
    """End the call with the error's status; raises, as `context.abort` does."""
    status = status_of(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(_CODES[status.code], status.message)


def error_of(failure: Any) -> SartorError:
    """The error a server meant, from the `grpc.RpcError` of a call."""
    code: grpc.StatusCode = failure.code()
    message = failure.details() or code.name
    reason = ""
    metadata: dict[str, str] = {}
    violations: list[FieldViolation] = []
    for key, value in failure.trailing_metadata() or ():
        if key != DETAILS_KEY:
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                violations = [
                    FieldViolation(fault.field, fault.description) for fault in bad.field_violations
                ]
    kind = error_of_code(code.name)
    if kind is InvalidArgument:
        return InvalidArgument(message, reason=reason, metadata=metadata, violations=violations)
    return kind(message, reason=reason or (code.name if kind is SartorError else ""), metadata=metadata)


def _outward(error: BaseException) -> SartorError:
    if isinstance(getattr(error, "orig", None), psycopg.errors.QueryCanceled):
        return DeadlineExceeded("the call's deadline passed before its work was done; give it more time")
    if is_transient(error):
        return Unavailable("the database did not answer; repeat the call", reason="DATABASE_UNAVAILABLE")
    return SartorError(
        "internal error; the service's log has the details under this call's trace", reason="INTERNAL"
    )


def _pack(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


_CODES = {code.value[0]: code for code in grpc.StatusCode}
