"""What gateways saw of requests, and what users said of the answers; devices' answers are marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

_SPAN = """ WHERE create_time >= :since AND create_time < :until AND (:endpoint = '' OR endpoint = :endpoint)
 AND (:revision = '' OR revision = :revision) AND (:devices OR NOT on_device) GROUP BY revision"""
_REQUESTS = text(
    """SELECT revision, count(*) AS requests, count(*) FILTER (WHERE failed) AS errors,
 coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY total_ms), 0) AS p50,
 coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY total_ms), 0) AS p95,
 coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY first_byte_ms), 0) AS first,
 sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion,
 count(agreement) AS compared, coalesce(avg(agreement), 0) AS agreement FROM gateway_requests"""  # noqa: S608 - both parts are written here
    + _SPAN
)
_SCORES = text(
    # Both parts are written here.
    "SELECT revision, count(score) AS scores, coalesce(avg(score), 0) AS mean FROM feedback"  # noqa: S608
    + _SPAN
)


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request. `question` (JSON) and `answer` are there only where it was sampled, and masked.

    `on_device`: a device answered it; it is there for what was said of it, and counts in no figure.
    """

    id: str
    answer_id: str
    endpoint: str
    revision: str
    api_key: str
    status: int
    failed: bool
    first_byte_ms: float
    total_ms: float
    prompt_tokens: int
    completion_tokens: int
    question: str | None
    answer: str | None
    agreement: float | None = None
    """Of an answer in the shadow with the one that the user got, 0 to 1."""
    on_device: bool = False


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """What a user said of one answer. `score` is 0 to 1."""

    id: str
    request: str
    endpoint: str
    revision: str
    score: float | None
    correction: str | None
    comment: str | None
    on_device: bool = False


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """A request that feedback may be about."""

    id: str
    endpoint: str
    revision: str
    on_device: bool


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is known of a revision in a span of time."""

    revision: str
    requests: int = 0
    errors: int = 0
    latency_p50_ms: float = 0.0
    latency_p95_ms: float = 0.0
    first_byte_p95_ms: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    feedback_count: int = 0
    feedback_mean: float = 0.0
    agreement_count: int = 0
    agreement_mean: float = 0.0

    @property
    def error_rate(self) -> float:
        """Share of failed requests."""
        return self.errors / self.requests if self.requests else 0.0


def insert_requests(tx: Transaction, rows: Sequence[RequestRow]) -> None:
    """Add them; one that is there already stays as it is."""
    tx.connection.execute(
        text(
            "INSERT INTO gateway_requests (id, answer_id, endpoint, revision, api_key, status, failed,"
            " first_byte_ms, total_ms, prompt_tokens, completion_tokens, question, answer,"
            " agreement)"
            " VALUES (:id, :answer_id, :endpoint, :revision, :api_key, :status, :failed,"
            " :first_byte_ms, :total_ms, :prompt_tokens,"
            " :completion_tokens, cast(:question AS jsonb), :answer, :agreement) ON CONFLICT (id) DO NOTHING"
        ),
        [asdict(row) for row in rows],
    )


def put_device_answer(tx: Transaction, row: RequestRow) -> None:
    """Add an answer that a device gave; one that is there already gets the text that it lacked."""
    tx.connection.execute(
        text(
            "INSERT INTO gateway_requests AS known (id, answer_id, endpoint, revision, api_key, status,"
            " failed, first_byte_ms, total_ms, prompt_tokens, completion_tokens, question, answer, on_device)"
            " VALUES (:id, :answer_id, :endpoint, :revision, :api_key, :status, :failed, :first_byte_ms,"
            " :total_ms, :prompt_tokens, :completion_tokens, cast(:question AS jsonb), :answer, true)"
            " ON CONFLICT (id) DO UPDATE SET question = coalesce(known.question, excluded.question),"
            " answer = coalesce(known.answer, excluded.answer) WHERE known.on_device"
        ),
        asdict(row),
    )


def request_of(connection: Connection, id_: str, project: str = "") -> KnownRequest | None:
    """The request with this id, or with this answer's; of one project where that is given.

    What the gateway answered itself comes before what is known of a device's answer.
    """
    row = connection.execute(
        text(
            "SELECT id, endpoint, revision, on_device FROM gateway_requests"
            " WHERE (id = :id OR answer_id = :id) AND endpoint LIKE :prefix"
            " ORDER BY on_device, create_time DESC LIMIT 1"
        ),
        {"id": id_, "prefix": f"{project}/%" if project else "%"},
    ).one_or_none()
    return None if row is None else KnownRequest(row.id, row.endpoint, row.revision, row.on_device)


def insert_feedback(tx: Transaction, row: FeedbackRow) -> bool:
    """Add it; feedback with an id that is known (sent again after it was buffered) changes nothing.

    Returns:
        Whether that id is this request's: False where feedback about another one has it.
    """
    tx.connection.execute(
        text(
            "INSERT INTO feedback (id, request, endpoint, revision, score, correction, comment, on_device)"
            " VALUES (:id, :request, :endpoint, :revision, :score, :correction, :comment, :on_device)"
            " ON CONFLICT DO NOTHING"
        ),
        asdict(row),
    )
    kept = tx.connection.execute(text("SELECT request FROM feedback WHERE id = :id"), {"id": row.id})
    return bool(kept.scalar_one() == row.request)


def traffic(
    connection: Connection,
    since: datetime,
    until: datetime,
    *,
    endpoint: str = "",
    revision: str = "",
    devices: bool = False,
) -> dict[str, Traffic]:
    """What was seen of each revision of an endpoint (or of one revision) from `since` to before `until`.

    Args:
        devices: with what was said of devices' answers; their requests never count.
    """
    span = {"since": since, "until": until, "endpoint": endpoint, "revision": revision}
    requests = connection.execute(_REQUESTS, {**span, "devices": False}).all()
    scores = connection.execute(_SCORES, {**span, "devices": devices})
    feedback = {row.revision: (int(row.scores), float(row.mean)) for row in scores}
    found = {
        row.revision: Traffic(
            row.revision, row.requests, row.errors, row.p50, row.p95, row.first, row.prompt, row.completion,
            *feedback.pop(row.revision, (0, 0.0)), row.compared, row.agreement,
        )
        for row in requests
    }  # fmt: skip
    for name, (count, mean) in feedback.items():
        found[name] = Traffic(name, feedback_count=count, feedback_mean=mean)
    return found


def forget_old_requests(tx: Transaction, endpoint: str, before: datetime) -> int:
    """Delete an endpoint's requests, samples and feedback of before that time. Returns how many requests."""
    given = {"endpoint": endpoint, "before": before}
    tx.connection.execute(
        text("DELETE FROM feedback WHERE endpoint = :endpoint AND create_time < :before"), given
    )
    return int(
        tx.connection.execute(
            text("DELETE FROM gateway_requests WHERE endpoint = :endpoint AND create_time < :before"), given
        ).rowcount
    )
