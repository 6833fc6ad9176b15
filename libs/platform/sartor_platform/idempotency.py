"""`request_id`: the same id with the same body gets the first answer again; another body is an error."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import text

from sartor_platform import principal
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.transaction import Transaction

if TYPE_CHECKING:
    from google.protobuf.message import Message

M = TypeVar("M", bound="Message")

_FORM = re.compile(r"[0-9A-Za-z_.:-]{1,128}")


def once(
    tx: Transaction, request_id: str, request: Message, make: Callable[[], M], response_type: type[M]
) -> M:
    """What `make` answered to this request the first time; it runs at most once for each id that succeeds.

    Equal calls at the same time wait for the first; if that fails, the next one tries. Without an id, `make`
    just runs. The id belongs to the principal and the request's type.

    Raises:
        InvalidArgument: REQUEST_ID_REUSED: the id came with another body; BAD_REQUEST_ID: it is no usable id.
    """
    if not request_id:
        return make()
    if _FORM.fullmatch(request_id) is None:
        raise _fault("BAD_REQUEST_ID", "must be a UUID, or 1 to 128 letters, digits and _.:-")
    key = {"principal": principal.current(), "type": request.DESCRIPTOR.full_name, "request_id": request_id}
    digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    # An equal row that is not committed yet makes this wait for its transaction.
    ours = tx.connection.execute(
        text(
            "INSERT INTO requests (principal, type, request_id, digest)"
            " VALUES (:principal, :type, :request_id, :digest) ON CONFLICT DO NOTHING"
        ),
        {**key, "digest": digest},
    ).rowcount
    if ours:
        response = make()
        tx.connection.execute(
            text(
                "UPDATE requests SET response = :response"
                " WHERE principal = :principal AND type = :type AND request_id = :request_id"
            ),
            {**key, "response": response.SerializeToString()},
        )
        return response
    first = tx.connection.execute(
        text(
            "SELECT digest, response FROM requests"
            " WHERE principal = :principal AND type = :type AND request_id = :request_id"
        ),
        key,
    ).one()
    if first.digest != digest:
        raise _fault("REQUEST_ID_REUSED", "was used for another request; make a new one for each request")
    return response_type.FromString(bytes(first.response))


def _fault(reason: str, description: str) -> InvalidArgument:
    return InvalidArgument(
        f"request_id {description}", reason=reason, violations=[FieldViolation("request_id", description)]
    )
