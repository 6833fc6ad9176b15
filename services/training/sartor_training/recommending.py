"""A recommendation of base models: a trial of each on a worker, then the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sartor_platform.database import Database
from sartor_platform.errors import FailedPrecondition, FieldViolation, InvalidArgument

from sartor_training import resources
from sartor_training.quote_wait import wait_for_quote
from sartor_training.recommendation import Ranked, Tried, ranked
from sartor_training.resources import BASE_MODEL, CURATION
from sartor_training.store import base_models
from sartor_training.usecases import quotes
from sartor_training.usecases.training_jobs import WantedJob

_MOST_CANDIDATES = 8
_USUAL_SECONDS, _MOST_SECONDS = 20.0, 300.0


def recommend(
    database: Database,
    *,
    project: str,
    curation: str,
    candidates: Sequence[str],
    recipe: dict[str, Any],
    trial_seconds: float,
    context: Any,
) -> list[Ranked]:
    """Try each candidate on a worker, all with the same time, and rank them.

    Raises:
        InvalidArgument: BAD_RECOMMENDATION_REQUEST.
        NotFound: CURATION_NOT_FOUND.
        FailedPrecondition: NO_BASE_MODEL_READY.
    """
    seconds = trial_seconds or _USUAL_SECONDS
    _check(project, curation, candidates, seconds)
    with database.transaction() as tx:
        if base_models.find_curation(tx.connection, curation) is None:
            raise resources.curation_unknown(curation)
        names = list(candidates) or base_models.known(tx.connection, project)
        ready = base_models.find_ready(tx.connection, names[:_MOST_CANDIDATES])
        asked = {
            name: quotes.ask(
                tx,
                WantedJob(project=project, curation=curation, model="", base_model=name, recipe=recipe),
                trial_seconds=seconds,
            )
            for name in sorted(ready)
        }
    if not asked:
        raise FailedPrecondition(
            "no base model of this project is prepared; apply one first", reason="NO_BASE_MODEL_READY"
        )
    return ranked([_tried(database, ready[name], quote, context) for name, quote in asked.items()])


def _tried(database: Database, model: resources.ReadyBaseModel, quote: str, context: Any) -> Tried:
    try:
        result = wait_for_quote(database, quote, context, at_most_seconds=2 * _MOST_SECONDS)
    except FailedPrecondition as failed:
        return Tried(
            base_model=model.name, parameters=model.parameter_count, result=None, failure=failed.message
        )
    return Tried(base_model=model.name, parameters=model.parameter_count, result=result)


def _check(project: str, curation: str, candidates: Sequence[str], seconds: float) -> None:
    named = [("curation", CURATION, curation), *(("base_models", BASE_MODEL, name) for name in candidates)]
    resources.checked_names(project, named, "BAD_RECOMMENDATION_REQUEST")
    faults = []
    if len(candidates) > _MOST_CANDIDATES:
        faults.append(FieldViolation("base_models", f"must be at most {_MOST_CANDIDATES}"))
    if not 1 <= seconds <= _MOST_SECONDS:
        faults.append(FieldViolation("trial_seconds", f"must be between 1 and {_MOST_SECONDS:g}"))
    if faults:
        told = "; ".join(f"{fault.field} {fault.description}" for fault in faults)
        raise InvalidArgument(told, reason="BAD_RECOMMENDATION_REQUEST", violations=faults)
