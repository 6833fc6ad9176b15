"""The errors Sartor raises, and the one table that maps them to gRPC status codes.

SartorError
├── InvalidArgument        what was asked for can never work; carries violations, one a field
├── NotFound
│   └── ObjectNotFound     the object store has no such object
├── AlreadyExists
├── FailedPrecondition     it could work later, after something else was done
│   └── IllegalTransition  the resource's state does not allow this move
├── Aborted                somebody else was faster (etag, generation); read again and repeat
├── ResourceExhausted      a quota or a cap was reached                      (transient)
├── PermissionDenied
├── Unauthenticated
├── Unavailable            a server did not answer; the same call may work   (transient)
├── DeadlineExceeded       it took too long                                  (transient)
└── DataLoss
    └── DigestMismatch     an object is not what its SHA-256 says

NotReady is no failure: a job raises it to be asked again later, without counting an attempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

DOMAIN = "sartor"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One fault of one field: `field` is its path in the request, as `spec.recipe.rank`."""

    field: str
    description: str


class SartorError(Exception):
    """An error a client can act on: what happened, why (`reason`, UPPER_SNAKE) and the facts (`metadata`)."""

    default_reason: ClassVar[str] = "UNKNOWN"
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata: dict[str, str] = {key: str(value) for key, value in (metadata or {}).items()}


class InvalidArgument(SartorError):
    """The request can never work as it is; `violations` lists every fault found, not only the first."""

    default_reason = "INVALID_ARGUMENT"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = tuple(violations)


class NotFound(SartorError):
    """The named resource does not exist."""

    default_reason = "NOT_FOUND"


class ObjectNotFound(NotFound):
    """The object store has no object at this address."""

    default_reason = "OBJECT_NOT_FOUND"


class AlreadyExists(SartorError):
    """A resource of this name exists already."""

    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(SartorError):
    """The system is not in the state this needs; the message says what to do first."""

    default_reason = "FAILED_PRECONDITION"


class IllegalTransition(FailedPrecondition):
    """The resource's state does not allow this move."""

    default_reason = "ILLEGAL_TRANSITION"


class Aborted(SartorError):
    """Somebody else changed it in the meantime: read it again and repeat."""

    default_reason = "ABORTED"


class ResourceExhausted(SartorError):
    """A quota or a cap was reached."""

    default_reason = "RESOURCE_EXHAUSTED"
    transient = True


class PermissionDenied(SartorError):
    """The principal may not do this."""

    default_reason = "PERMISSION_DENIED"


class Unauthenticated(SartorError):
    """Nobody was named who could be asked whether he may do this."""

    default_reason = "UNAUTHENTICATED"


class Unavailable(SartorError):
    """A server did not answer; the same call may work in a moment."""

    default_reason = "UNAVAILABLE"
    transient = True


class DeadlineExceeded(SartorError):
    """The work took longer than it was given."""

    default_reason = "DEADLINE_EXCEEDED"
    transient = True


class DataLoss(SartorError):
    """Stored data is not what was stored."""

    default_reason = "DATA_LOSS"


class DigestMismatch(DataLoss):
    """An object's bytes are not the ones its SHA-256 names."""

    default_reason = "DIGEST_MISMATCH"


class NotReady(Exception):
    """What a job or a handler needs is not there yet: ask again after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: float, message: str = "") -> None:
        super().__init__(message or f"not ready; asked again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


GRPC_CODES: Mapping[type[SartorError], str] = {
    InvalidArgument: "INVALID_ARGUMENT",
    NotFound: "NOT_FOUND",
    AlreadyExists: "ALREADY_EXISTS",
    FailedPrecondition: "FAILED_PRECONDITION",
    Aborted: "ABORTED",
    ResourceExhausted: "RESOURCE_EXHAUSTED",
    PermissionDenied: "PERMISSION_DENIED",
    Unauthenticated: "UNAUTHENTICATED",
    Unavailable: "UNAVAILABLE",
    DeadlineExceeded: "DEADLINE_EXCEEDED",
    DataLoss: "DATA_LOSS",
}


def grpc_code(error: BaseException) -> str:
    """The name of an error's gRPC status code; subclasses take their parent's, anything else is INTERNAL."""
    for kind in type(error).__mro__:
        if kind in GRPC_CODES:
            return GRPC_CODES[kind]
    return "INTERNAL"


def error_of_code(code: str) -> type[SartorError]:
    """The error class of a gRPC status code's name: the way back, in a client."""
    for kind, name in GRPC_CODES.items():
        if name == code:
            return kind
    return SartorError
