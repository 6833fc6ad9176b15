"""Quotes: a dry run of a training asks a worker what it would take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sartor_platform.jobs import Job
from sartor_platform.names import new_id
from sartor_platform.transaction import Transaction

from sartor_training.resources import QUOTE, TRAINING_QUOTE, WantedQuote
from sartor_training.store import base_models, quotes
from sartor_training.usecases.training_jobs import WantedJob, resolved_recipe

_PRIORITY = 10  # somebody waits for it


def ask(tx: Transaction, wanted: WantedJob, *, trial_seconds: float = 0.0) -> str:
    """Let a worker measure, and train for a while where a trial is wanted; returns the quote's name, or
    empty where curation or base model are not there
    yet."""
    known = base_models.find_curation(tx.connection, wanted.curation)
    if known is None or not base_models.find_ready(tx.connection, [wanted.base_model]):
        return ""
    name = TRAINING_QUOTE.format(project=wanted.project, quote=new_id())
    recipe = resolved_recipe(tx.connection, wanted.recipe, wanted.model)
    quotes.add(
        tx,
        WantedQuote(
            name=name,
            project=wanted.project,
            curation=wanted.curation,
            base_model=wanted.base_model,
            recipe=recipe,
        ),
    )
    payload = {"trial_seconds": trial_seconds}
    tx.enqueue(QUOTE, resource=name, project=wanted.project, priority=_PRIORITY, payload=payload)
    return name


def measured(tx: Transaction, name: str, result: Mapping[str, Any]) -> None:
    """A worker measured."""
    quotes.put_result(tx, name, result)
    tx.notify(name)


def failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """A worker could not measure: who waits reads it in the job."""
    tx.notify(job.resource)
