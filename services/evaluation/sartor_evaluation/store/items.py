"""Items of evaluations: as they finish, and what was found of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sartor_platform import listing
from sqlalchemy import Connection, Float, cast, func, select, text

from sartor_evaluation.store.tables import EVALUATIONS, FINISHED_ITEMS, ITEM_RESULTS

_MOST_FINISHED = 500


def add_finished(connection: Connection, evaluation: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Items that finished, for those who watch."""
    if rows:
        connection.execute(
            FINISHED_ITEMS.insert(), [{"evaluation": evaluation, "document": dict(row)} for row in rows]
        )


def finished_after(connection: Connection, evaluation: str, number: int) -> list[tuple[int, dict[str, Any]]]:
    """Items that finished after the one with this number, in their order."""
    table = FINISHED_ITEMS.c
    wanted = (table.evaluation == evaluation) & (table.number > number)
    found = connection.execute(
        select(table.number, table.document).where(wanted).order_by(table.number).limit(_MOST_FINISHED)
    )
    return [(row[0], row[1]) for row in found]


def forget_finished(connection: Connection, before: datetime) -> None:
    """Of evaluations made before a time: nobody watches them any more, and their results have all items."""
    old = select(EVALUATIONS.c.name).where(EVALUATIONS.c.create_time < before)
    connection.execute(FINISHED_ITEMS.delete().where(FINISHED_ITEMS.c.evaluation.in_(old)))


def add_results(
    connection: Connection, evaluation: str, results: Iterable[tuple[str, str, str, str]]
) -> None:
    """Keep (suite, candidate, item_id, JSON document), the worst first."""
    rows = [
        {
            "evaluation": evaluation,
            "rank": rank,
            "suite": suite,
            "candidate": candidate,
            "item_id": item_id,
            "document": document,
        }
        for rank, (suite, candidate, item_id, document) in enumerate(results)
    ]
    if rows:
        insert = text(
            "INSERT INTO item_results (evaluation, rank, suite, candidate, item_id, document)"
            " VALUES (:evaluation, :rank, :suite, :candidate, :item_id, cast(:document AS jsonb))"
        )
        connection.execute(insert, rows)


def list_item_results(
    connection: Connection,
    evaluation: str,
    wanted: Mapping[str, str],
    page_size: int,
    page_token: str,
    *,
    disagreement: bool = False,
) -> tuple[list[Mapping[str, Any]], str]:
    """The documents of an evaluation's item results: the worst first, or those where candidates differ most.

    Args:
        wanted: values of columns, and of slices as "slices.language".
    """
    score = cast(ITEM_RESULTS.c.document["score"].astext, Float)
    item = (ITEM_RESULTS.c.suite, ITEM_RESULTS.c.item_id)
    spread = func.min(score).over(partition_by=item) - func.max(score).over(partition_by=item)
    every = (
        select(ITEM_RESULTS, spread.label("spread")).where(ITEM_RESULTS.c.evaluation == evaluation).subquery()
    )
    query = select(every)
    for field, value in wanted.items():
        if field.startswith("slices."):
            query = query.where(every.c.document["slices"][field.removeprefix("slices.")].astext == value)
        else:
            query = query.where(every.c[field] == value)
    order = [every.c.spread, every.c.rank] if disagreement else [every.c.rank]
    rows, token = listing.page(connection, query, order=order, page_size=page_size, page_token=page_token)
    return [row.document for row in rows], token


def item_results_of(connection: Connection, evaluation: str, candidate: str) -> list[Mapping[str, Any]]:
    """All documents that are kept of one candidate."""
    query = select(ITEM_RESULTS.c.document).where(
        ITEM_RESULTS.c.evaluation == evaluation, ITEM_RESULTS.c.candidate == candidate
    )
    return list(connection.execute(query).scalars())
