"""Use cases that only read: comparing evaluations, the leaderboard, and what a runner is to be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor_platform.errors import FailedPrecondition, InvalidArgument
from sqlalchemy import Connection

from sartor_evaluation import comparing, store
from sartor_evaluation.checks import check_once, metric_violations
from sartor_evaluation.items import HELD_OUT
from sartor_evaluation.names import not_found, project_of
from sartor_evaluation.resources import Evaluation
from sartor_evaluation.specs import Candidate, EvaluationSpec, FewShotSpec, object_json
from sartor_evaluation.usecases import evaluations
from sartor_evaluation.usecases.inputs import inputs_of

_LEADERBOARD_EVALUATIONS = 1_000


def ask_once(
    connection: Connection,
    parent: str,
    candidate: Candidate,
    items: Sequence[Mapping[str, Any]],
    wanted: Sequence[str],
) -> dict[str, Any]:
    """What a runner is to be asked.

    Raises:
        InvalidArgument: BAD_EVALUATION, with every fault.
        NotFound: the model is not known.
    """
    named = Candidate(candidate.id or "candidate", candidate.model)
    few = check_once(parent, candidate, items, wanted)
    spec = EvaluationSpec(
        candidates=(named,), items=few, general_suite="", max_items=0, few_shot=FewShotSpec()
    )
    pinned = inputs_of(connection, parent, spec).models[named.model]
    version = None if pinned.version is None else object_json(pinned.version)
    return {
        "candidate": named.id,
        "model": named.model,
        "digest": f"{pinned.base.sha256}+{pinned.version.sha256 if pinned.version else ''}",
        "pinned": {"base": object_json(pinned.base), "version": version},
        "items": [dict(item) for item in items],
    }


def compare_evaluations(
    connection: Connection, name: str, baseline: str, candidate: str, baseline_candidate: str
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Paired differences of two evaluations, and how many items both asked.

    Raises:
        NotFound: EVALUATION_NOT_FOUND, CANDIDATE_NOT_FOUND.
        FailedPrecondition: NOTHING_SHARED, no item was asked by both; or one has not succeeded yet.
    """
    ours, theirs = (
        evaluations.get_evaluation(connection, name),
        evaluations.get_evaluation(connection, baseline),
    )
    for one in (ours, theirs):
        if not one.findings:
            raise FailedPrecondition(
                f"{one.name} has no results yet; wait until it succeeded", reason="EVALUATION_NOT_FINISHED"
            )
    mine = _candidate_id(ours, candidate or ours.spec.candidates[-1].id)
    first = 0 if name == baseline else -1
    other = _candidate_id(theirs, baseline_candidate or theirs.spec.candidates[first].id)
    lines, shared = comparing.compare(
        store.item_results_of(connection, name, mine), store.item_results_of(connection, baseline, other)
    )
    if not shared:
        raise FailedPrecondition(
            f"{name} and {baseline} asked no item in common; compare evaluations of the same suite",
            reason="NOTHING_SHARED",
        )
    return lines, shared


def _candidate_id(evaluation: Evaluation, wanted: str) -> str:
    known = list(evaluation.spec.crossed)
    if wanted not in known:
        raise not_found("candidate", wanted, known)
    return wanted


def leaderboard(
    connection: Connection, parent: str, metric: str, suite: str
) -> list[tuple[str, str, Evaluation, dict[str, Any]]]:
    """See comparing.leaderboard. Raises InvalidArgument: UNKNOWN_METRIC."""
    found = metric_violations([metric], "metric")
    if found:
        raise InvalidArgument(f"metric {found[0].description}", reason="UNKNOWN_METRIC", violations=found)
    newest = store.newest_with_findings(connection, project_of(f"{parent}/"), _LEADERBOARD_EVALUATIONS)
    return comparing.leaderboard(newest, metric, suite or HELD_OUT)
