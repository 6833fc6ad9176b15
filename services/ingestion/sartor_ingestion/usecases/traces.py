"""Where a record or a person's records came from, and what contains them."""

from __future__ import annotations

import re

from sartor_platform.errors import FieldViolation, InvalidArgument
from sqlalchemy import Connection

from sartor_ingestion import resources
from sartor_ingestion.mapping import pseudonym
from sartor_ingestion.resources import RecordTrace
from sartor_ingestion.store import lineage, sources
from sartor_ingestion.store.arrivals import key_hash
from sartor_ingestion.store.lineage import Wanted

_RECORD_ID = re.compile(r"[0-9a-f]{8,64}")


def trace(
    connection: Connection,
    project: str,
    *,
    record_id: str,
    record_key: str,
    subject: str,
    page_size: int,
    page_token: str,
) -> tuple[list[RecordTrace], str]:
    """The rows of a record, a key or a person: first those that wait, then those in segments, newest first.

    A person's name is turned into the project's pseudonym here and goes nowhere else.

    Raises:
        InvalidArgument: BAD_TRACE.
        NotFound: PROJECT_NOT_FOUND.
    """
    secret = sources.secret_of(connection, project)
    if secret is None:
        raise resources.project_not_found(project)
    if sum(map(bool, (record_id, record_key, subject))) != 1:
        raise _bad("record_id", "exactly one of record_id, record_key and subject must be given")
    if record_id:
        wanted = _of_record(record_id)
    elif record_key:
        wanted = Wanted("key_hash", key_hash(record_key), key_hash(record_key))
    else:
        person = bytes.fromhex(pseudonym(subject, secret))
        wanted = Wanted("subject_key", person, person)
    found, token = lineage.sealed(connection, project, wanted, page_size, page_token)
    waiting = [] if page_token else lineage.pending(connection, project, wanted)
    return [*waiting, *found], token


def _of_record(record_id: str) -> Wanted:
    if not _RECORD_ID.fullmatch(record_id):
        raise _bad("record_id", "must be 8 to 64 digits of lower-case hex")
    return Wanted(
        "record_id", bytes.fromhex(record_id.ljust(64, "0")), bytes.fromhex(record_id.ljust(64, "f"))
    )


def _bad(field: str, problem: str) -> InvalidArgument:
    message = f"{field} {problem}" if not problem.startswith("exactly") else problem
    return InvalidArgument(message, reason="BAD_TRACE", violations=[FieldViolation(field, problem)])
