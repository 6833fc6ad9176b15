"""Evaluations: what is asked for and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import listing
from sqlalchemy import Connection, Row, select

from sartor_evaluation.resources import Evaluation, Inputs
from sartor_evaluation.specs import EvaluationSpec, object_json
from sartor_evaluation.store.items import add_results
from sartor_evaluation.store.tables import EVALUATIONS, JOBS


def add_evaluation(connection: Connection, evaluation: Evaluation) -> None:
    """A new row; findings and objects come with `finish_evaluation`."""
    connection.execute(
        EVALUATIONS.insert(),
        {
            "name": evaluation.name,
            "project": evaluation.project,
            "gate": evaluation.gate,
            "gate_revision": evaluation.gate_revision,
            "model_version": evaluation.model_version,
            "spec": evaluation.spec.to_json(),
            "inputs": evaluation.inputs.to_json(),
            "findings": {},
            "objects": {},
            "run": evaluation.run,
            "generation": evaluation.generation,
            "create_time": evaluation.create_time,
            "created_by": evaluation.created_by,
        },
    )


def finish_evaluation(
    connection: Connection,
    name: str,
    findings: Mapping[str, Any],
    objects: Mapping[str, ObjectReference],
    item_results: Iterable[tuple[str, str, str, str]],
) -> None:
    """Write what was found.

    Args:
        item_results: (suite, candidate, item_id, JSON document), the worst first.
    """
    files = {key: object_json(reference) for key, reference in objects.items()}
    connection.execute(
        EVALUATIONS.update().where(EVALUATIONS.c.name == name).values(findings=dict(findings), objects=files)
    )
    add_results(connection, name, item_results)


def find_evaluation(connection: Connection, name: str) -> Evaluation | None:
    """The evaluation of this name."""
    row = connection.execute(select(EVALUATIONS).where(EVALUATIONS.c.name == name)).one_or_none()
    return None if row is None else _evaluation(row)


def list_evaluations(
    connection: Connection, project: str, wanted: Mapping[str, str], page_size: int, page_token: str
) -> tuple[list[Evaluation], str]:
    """The evaluations of a project, newest first; `wanted` may have run, gate and state."""
    query = select(EVALUATIONS).where(EVALUATIONS.c.project == project)
    for field in ("run", "gate"):
        if field in wanted:
            query = query.where(EVALUATIONS.c[field] == wanted[field])
    if "state" in wanted:
        of_state = select(JOBS.c.resource).where(JOBS.c.state == wanted["state"])
        query = query.where(EVALUATIONS.c.name.in_(of_state))
    rows, token = listing.page(
        connection,
        query,
        order=[EVALUATIONS.c.create_time, EVALUATIONS.c.name],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    return [_evaluation(row) for row in rows], token


def newest_with_findings(connection: Connection, project: str, most: int) -> list[Evaluation]:
    """The newest evaluations of a project that found something."""
    query = (
        select(EVALUATIONS)
        .where(EVALUATIONS.c.project == project, EVALUATIONS.c.findings != {})
        .order_by(EVALUATIONS.c.create_time.desc(), EVALUATIONS.c.name.desc())
        .limit(most)
    )
    return [_evaluation(row) for row in connection.execute(query)]


def _evaluation(row: Row[Any]) -> Evaluation:
    return Evaluation(
        name=row.name,
        project=row.project,
        gate=row.gate,
        gate_revision=row.gate_revision,
        model_version=row.model_version,
        spec=EvaluationSpec.from_json(row.spec),
        inputs=Inputs.from_json(row.inputs),
        findings=row.findings,
        objects={key: ObjectReference(**value) for key, value in row.objects.items()},
        run=row.run,
        generation=row.generation,
        create_time=row.create_time,
        created_by=row.created_by,
    )
