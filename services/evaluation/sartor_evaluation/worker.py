"""The job of evaluation: the parent stages models and items in, results out; evaluate.py does the work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sartor_platform import orders
from sartor_platform.transaction import Transaction
from sartor_platform.worker import JobContext, JobKind
from sqlalchemy import Connection

from sartor_evaluation.cost import cost_clients
from sartor_evaluation.finished_items import keep_finished
from sartor_evaluation.gates import Rule, rule_to_json, with_forgetting
from sartor_evaluation.names import JOB
from sartor_evaluation.resources import Evaluation
from sartor_evaluation.specs import GateSpec
from sartor_evaluation.staging import (
    stage_candidates,
    stage_curated,
    stage_items,
    stage_prompts,
    stage_suites,
)
from sartor_evaluation.usecases import evaluations

_FILES = {
    "report": "report.json",
    "report_page": "report.html",
    "results": "results.parquet",
    "reference_outputs": "reference_outputs.jsonl",
    "junit": "junit.xml",
}


def job_kinds() -> list[JobKind]:
    """What a worker of evaluation does."""
    return [
        JobKind(
            name=JOB,
            entry="sartor_evaluation.job:evaluate",
            stage_in=stage_in,
            stage_out=stage_out,
            failed=evaluations.evaluation_failed,
            on_message=keep_finished,
        )
    ]


def stage_in(context: JobContext) -> dict[str, Any]:
    """Fetch models, curated splits and items; the task for `evaluate`."""
    with context.runtime.database.read() as connection:
        evaluation = evaluations.get_evaluation(connection, context.job.resource)
        gate = _gate(connection, evaluation)
        suites = stage_suites(context, connection, evaluation)
        prompts = stage_prompts(connection, evaluation)
    spec = evaluation.spec
    memory = context.runtime.settings.data_dir / "answers"
    memory.mkdir(parents=True, exist_ok=True)
    return {
        **stage_candidates(context, evaluation),
        "curated": stage_curated(context, evaluation.inputs.curated, context.folder / "curated"),
        "items": stage_items(context, spec.items, context.folder / "items.jsonl"),
        "ask_test_split": bool(spec.items.curation),
        "suites": suites,
        "prompts": prompts,
        "cost_clients": cost_clients(spec.cost_clients, [] if gate is None else gate.rules),
        "metrics": list(spec.metrics),
        "general_suite": "" if spec.general_suite == "none" else spec.general_suite,
        "max_items": spec.max_items,
        "few_shot": spec.few_shot.to_json(),
        "rules": [] if gate is None else [rule_to_json(rule) for rule in _rules(gate)],
        "correction": "none" if gate is None else gate.correction,
        "reference_candidate": "tuned" if evaluation.gate else "",
        "memory": str(memory / "answers.db"),
        "memory_bytes": context.runtime.settings.answer_cache_bytes,
        "about": _about(evaluation),
    }


def stage_out(context: JobContext, result: dict[str, Any]) -> Callable[[Transaction], None]:
    """Upload what was written; the use case that accepts it."""
    objects = {name: context.put(Path(result[name]), _FILES[name]) for name in _FILES if result[name]}
    limit = context.runtime.settings.listed_item_results
    rows = list(islice(_item_results(Path(result["item_results"])), limit))
    name = context.job.resource
    return lambda tx: evaluations.evaluation_succeeded(tx, name, result["findings"], objects, rows)


def _gate(connection: Connection, evaluation: Evaluation) -> GateSpec | None:
    """The gate's revision that this evaluation runs under."""
    if not evaluation.gate:
        return None
    return GateSpec.from_json(orders.get(connection, evaluation.gate, evaluation.gate_revision).spec)


def _rules(gate: GateSpec) -> list[Rule]:
    return with_forgetting(gate.rules, gate.general_suite)


def _about(evaluation: Evaluation) -> dict[str, str]:
    """What the report names on top; `curation` only where its test split is asked."""
    return {
        "evaluation": evaluation.name,
        "gate": f"{evaluation.gate} (revision {evaluation.gate_revision})" if evaluation.gate else "",
        "curation": evaluation.spec.items.curation,
        "examples_from": evaluation.inputs.curation,
        "run": evaluation.run,
        "made": f"{evaluation.create_time:%Y-%m-%d %H:%M} UTC",
        "asked_by": evaluation.created_by,
    }


def _item_results(path: Path) -> Iterator[tuple[str, str, str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["suite"], row["candidate"], row["item_id"], line
