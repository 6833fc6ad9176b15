"""The files an evaluation leaves: report, page, results, JUnit XML and reference outputs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_datasets.reference_outputs import ReferenceOutput, write_reference_outputs

from sartor_evaluation.cost_suites import clients_of
from sartor_evaluation.items import HELD_OUT, Item, Outcome
from sartor_evaluation.junit import junit
from sartor_evaluation.report import Report
from sartor_evaluation.report_page import render
from sartor_evaluation.results import rows, write_json_lines, write_parquet
from sartor_evaluation.run import Answered

FINDINGS = ("scores", "comparisons", "verdict", "notes")


@dataclass(frozen=True, slots=True)
class Written:
    """What is written, and where. `reference_candidate` is whose tokens the parity check replays, or ""."""

    report: Report
    folder: Path
    reference_candidate: str


def write(given: Written) -> dict[str, Any]:
    """Writes all files; their paths and the findings, as worker.stage_out wants them."""
    report, folder = given.report.to_json(), given.folder
    table = given.report.table  # what was timed has no answer to list
    found = rows({suite: outcomes for suite, outcomes in table.items() if clients_of(suite) is None})
    write_parquet(folder / "results.parquet", found)
    write_json_lines(folder / "results.jsonl", found)
    return {
        **write_report(report, folder),
        "results": str(folder / "results.parquet"),
        "item_results": str(folder / "results.jsonl"),
        "reference_outputs": _write_reference_outputs(given),
    }


def write_report(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The report in its three forms."""
    (folder / "report.json").write_text(json.dumps(report, ensure_ascii=False, allow_nan=False), "utf-8")
    (folder / "report.html").write_text(render(report), "utf-8")
    (folder / "junit.xml").write_bytes(junit(report))
    return {
        "report": str(folder / "report.json"),
        "report_page": str(folder / "report.html"),
        "junit": str(folder / "junit.xml"),
        "findings": {name: report[name] for name in FINDINGS if name in report},
    }


def _write_reference_outputs(given: Written) -> str:
    """The forced tokens of the candidate that is named, or "" where none is."""
    answered: Sequence[Answered] = given.report.answered
    for one in answered:
        if one.candidate.candidate_id == given.reference_candidate and HELD_OUT in one.outcomes:
            path = given.folder / "reference_outputs.jsonl"
            write_reference_outputs(path, one.candidate.model.name, _reference_outputs(one))
            return str(path)
    return ""


def _reference_outputs(answered: Answered) -> list[ReferenceOutput]:
    outputs = []
    for outcome in answered.outcomes[HELD_OUT]:
        item, forced = outcome.item, answered.forced.get(outcome.item.item_id)
        if forced is None:  # it says labels or numbers: a served copy must say the same
            if outcome.answer is not None and not outcome.failure:
                outputs.append(_said(item, outcome))
            continue
        outputs.append(
            ReferenceOutput(
                item_id=item.item_id,
                messages=tuple({"role": m.role, "content": m.content} for m in item.messages),
                answer=item.reference,
                prompt_token_ids=forced.prompt_ids,
                answer_token_ids=forced.answer_ids,
                top1_token_ids=forced.top1_ids,
                answer_loss_sum=outcome.loss_sum,
            )
        )
    return outputs


def _said(item: Item, outcome: Outcome) -> ReferenceOutput:
    """What a version with an output layer said; it has no tokens, so one stands for its answer."""
    return ReferenceOutput(
        item_id=item.item_id,
        messages=({"role": "user", "content": item.subject},),
        answer=outcome.answer or "",
        prompt_token_ids=(0,),
        answer_token_ids=(0,),
        top1_token_ids=(0,),
        answer_loss_sum=min(outcome.choice_losses, default=0.0),
    )
