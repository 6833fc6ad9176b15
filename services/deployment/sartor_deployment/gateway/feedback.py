"""What users say of an answer: thumbs, a score, the answer it should have been, a comment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sartor_platform.database import Database, is_transient
from sartor_platform.names import new_id

from sartor_deployment import store
from sartor_deployment.gateway.device_answers import DeviceAnswer, keep_device_answer, parse_device_answer
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.sample import MOST_CHARACTERS, is_storable, masked_json
from sartor_deployment.store import FeedbackRow

_THUMBS = {"up": 1.0, "down": 0.0}


@dataclass(frozen=True, slots=True)
class Feedback:
    """About one answer. `request` is the answer's `id`, or its header `x-request-id`.

    `device`: of an answer that a device gave by itself, which the gateway never saw.
    """

    id: str
    request: str
    score: float | None
    correction: str | None
    comment: str | None
    device: DeviceAnswer | None = None


def parse_feedback(value: dict[str, Any]) -> Feedback:
    """From POST /v1/feedback: {"request_id", "thumbs" or "score", "correction", "comment", "id", "device"}.

    Raises:
        ApiError: 400, with what is wrong.
    """
    known = {"id", "request_id", "thumbs", "score", "correction", "comment", "device"}
    unknown = sorted(set(value) - known)
    if unknown:
        raise ApiError(
            400, f"{unknown[0]!r} is not known; there are {', '.join(sorted(known))}", "invalid_request"
        )
    request = _text(value, "request_id")
    if not request:
        raise ApiError(
            400,
            "'request_id' is missing: the `id` of the answer, or its header x-request-id",
            "missing_required_parameter",
            "request_id",
        )
    score, thumbs = value.get("score"), value.get("thumbs")
    if thumbs is not None:
        if not isinstance(thumbs, str) or thumbs not in _THUMBS or score is not None:
            raise ApiError(400, "'thumbs' is \"up\" or \"down\", without a 'score'", "invalid_type", "thumbs")
        score = _THUMBS[thumbs]
    if score is not None and (
        isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1
    ):
        raise ApiError(400, "'score' must be a number from 0 to 1", "invalid_type", "score")
    correction, comment = _text(value, "correction"), _text(value, "comment")
    if score is None and not correction and not comment:
        raise ApiError(
            400, "say something: thumbs, score, correction or comment", "missing_required_parameter"
        )
    device = value.get("device")
    return Feedback(
        id=_text(value, "id") or f"fb-{new_id()}",
        request=request,
        score=score,
        correction=correction,
        comment=comment,
        device=None if device is None else parse_device_answer(device),
    )


def _text(value: dict[str, Any], name: str) -> str | None:
    text = value.get(name)
    if text is None:
        return None
    if not is_storable(text):
        raise ApiError(
            400,
            f"{name!r} must be text of at most {MOST_CHARACTERS} characters, without NUL or broken ones",
            "invalid_type",
            name,
        )
    return text.strip() or None  # white space alone says nothing, and must not become a training record


def masked_feedback(given: Feedback) -> Feedback:
    """With personal data masked: the same number for the same value in question, answer and correction."""
    device = given.device
    told = [list(device.messages), device.answer] if device else []
    told, correction, comment = masked_json([told, given.correction, given.comment])
    return replace(
        given,
        correction=correction,
        comment=comment,
        device=replace(device, messages=told[0], answer=told[1]) if device else None,
    )


class FeedbackTable:
    """Feedback in the database, masked before it is written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, given: Feedback, project: str) -> str:
        """Keep it; returns the revision it is about.

        Raises:
            ApiError: 404 answer_not_found or revision_not_found, 409 the id is taken, 503 while the database
                is away.
        """
        given = masked_feedback(given)
        try:
            with self._database.transaction() as tx:
                found = store.request_of(tx.connection, given.request, project)
                if given.device is not None and (found is None or found.on_device):
                    found = keep_device_answer(tx, given.request, given.device, project)
                if found is None:
                    raise ApiError(
                        404,
                        f"no answer {given.request!r} is known; answers are known a second after they ended,"
                        " and forgotten after the endpoint's retention",
                        "answer_not_found",
                        "request_id",
                    )
                row = FeedbackRow(
                    id=given.id,
                    request=found.id,
                    endpoint=found.endpoint,
                    revision=found.revision,
                    score=given.score,
                    correction=given.correction,
                    comment=given.comment,
                    on_device=found.on_device,
                )
                if not store.insert_feedback(tx, row):
                    raise ApiError(
                        409,
                        f"the id {given.id!r} is taken by feedback about another answer; send another",
                        "feedback_id_taken",
                        "id",
                    )
        except ApiError:
            raise
        except Exception as error:
            if not is_transient(error):
                raise
            raise ApiError(
                503, "feedback cannot be kept now; send it again", "database_away", retry_after_seconds=5
            ) from error
        return found.revision
