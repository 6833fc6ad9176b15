"""The work of an evaluation job, in a child process: from staged files to reports, results and figures."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_datasets.reference_outputs import ReferenceOutput, write_reference_outputs
from sartor_models.errors import ModelError
from sartor_models.tokenizer import load_tokenizer
from sartor_platform.errors import FailedPrecondition, InvalidArgument
from sartor_platform.worker import Report as Progress

from sartor_evaluation.asking import fits
from sartor_evaluation.findings import find
from sartor_evaluation.gates import GateVerdict, judge, rule_from_json
from sartor_evaluation.items import HELD_OUT, Item
from sartor_evaluation.open_models import opener
from sartor_evaluation.prompt_search import FewShotSearch
from sartor_evaluation.prompts import Choice, ExampleBook, NoExamples, Prompt
from sartor_evaluation.report import Report
from sartor_evaluation.report_page import render
from sartor_evaluation.results import rows, write_json_lines, write_parquet
from sartor_evaluation.run import Answered, Candidate, ModelFiles, Plan, by_suite, run
from sartor_evaluation.suites import UnusableItems, curated_items, general_items, read_client_items, sample

_MOST_EXAMPLES = 20_000
"""Of a larger training split a fixed sample serves as examples: more would hardly find better ones."""


@dataclass(frozen=True, slots=True)
class _Splits:
    held_out: list[Item]
    validation: list[Item]
    train: list[Item]


def evaluate(task: Mapping[str, Any], folder: Path, report: Progress) -> dict[str, Any]:
    """Evaluate as `task` says, which worker.stage_in makes; returns paths of what was written and the
    figures.

    Raises:
        InvalidArgument: UNUSABLE_ITEMS, the suite is empty or an item cannot be asked.
        FailedPrecondition: a model cannot be loaded, or examples are wanted and there are none.
    """
    started = time.monotonic()
    try:
        splits = _splits(task)
        models = {key: _model(value) for key, value in task["models"].items()}
        held_out, too_long = _those_that_fit(splits.held_out, models)
        plan = Plan(
            candidates=tuple(_candidate(value, models) for value in task["candidates"]),
            held_out=held_out,
            general=general_items() if task["general_suite"] else (),
            validation=splits.validation,
            search=_search(task["few_shot"]),
        )
        (folder / "models").mkdir()
        answered = run(plan, opener(ExampleBook(splits.train), folder / "models"), _reporter(report, started))
        report(0.99, stage="statistics and reports", eta_seconds=2.0)
        return _write(task, folder, answered, too_long, started)
    except (UnusableItems, NoExamples) as error:
        raise InvalidArgument(str(error), reason="UNUSABLE_ITEMS") from error
    except ModelError as error:
        raise FailedPrecondition(str(error), reason=error.reason, metadata=error.metadata) from error


def _splits(task: Mapping[str, Any]) -> _Splits:
    curated = Path(task["curated"]) if task["curated"] else None
    train = curated_items(curated, "train") if curated else []
    validation = curated_items(curated, "validation") if curated else []
    if task["items"]:
        held_out = read_client_items(Path(task["items"]))
    else:
        held_out = curated_items(curated, "test") if curated else []
    if not held_out:
        raise UnusableItems(
            "the suite is empty: the test split of the curation has no question with an answer; give the "
            "data a larger test share, or mark records with the attribute split = test"
        )
    # A search needs questions; of the training split each is asked without itself among its examples.
    return _Splits(sample(held_out, task["max_items"]), validation or train, sample(train, _MOST_EXAMPLES))


def _model(value: Mapping[str, str]) -> ModelFiles:
    return ModelFiles(
        value["name"], Path(value["base"]), Path(value["version"]) if value["version"] else None
    )


def _candidate(value: Mapping[str, Any], models: Mapping[str, ModelFiles]) -> Candidate:
    shots = int(value["shots"])
    return Candidate(value["id"], models[value["model"]], None if shots < 0 else Prompt(shots))


def _search(value: Mapping[str, Any]) -> FewShotSearch:
    default = FewShotSearch()
    return FewShotSearch(
        shots=tuple(value["shots"]) or default.shots,
        choices=tuple(map(Choice, value["choices"])) or default.choices,
        items=value["items"] or default.items,
    )


def _those_that_fit(items: Sequence[Item], models: Mapping[str, ModelFiles]) -> tuple[list[Item], list[str]]:
    """The items that every model's context has room for, and the ids of the others."""
    tokenizers = [load_tokenizer(base) for base in {model.base for model in models.values()}]
    too_long = [item.item_id for item in items if not all(fits(tokenizer, item) for tokenizer in tokenizers)]
    fitting = [item for item in items if item.item_id not in set(too_long)]
    if not fitting:
        raise UnusableItems(f"all {len(items)} items are longer than the model's context; shorten them")
    return fitting, too_long


def _reporter(report: Progress, started: float) -> Any:
    def tell(fraction: float, stage: str, figures: Any) -> None:
        spent = time.monotonic() - started
        eta = spent * (1 - fraction) / fraction if fraction > 0.02 else None
        report(fraction, stage=stage, eta_seconds=eta, **figures)

    return tell


def _write(
    task: Mapping[str, Any], folder: Path, answered: Sequence[Answered], too_long: list[str], started: float
) -> dict[str, Any]:
    table = by_suite(answered)
    findings = find(table)
    verdict = _judge(task, findings)
    report = Report(
        about=task["about"],
        answered=answered,
        table=table,
        findings=findings,
        verdict=verdict,
        too_long=too_long,
        seconds=time.monotonic() - started,
    ).to_json()
    found = rows(table)
    (folder / "report.json").write_text(json.dumps(report, ensure_ascii=False, allow_nan=False), "utf-8")
    (folder / "report.html").write_text(render(report), "utf-8")
    write_parquet(folder / "results.parquet", found)
    write_json_lines(folder / "results.jsonl", found)
    reference_outputs = _write_reference_outputs(task, folder, answered)
    return {
        "report": str(folder / "report.json"),
        "report_page": str(folder / "report.html"),
        "results": str(folder / "results.parquet"),
        "item_results": str(folder / "results.jsonl"),
        "reference_outputs": reference_outputs,
        "findings": {name: report[name] for name in ("scores", "comparisons", "verdict")},
    }


def _judge(task: Mapping[str, Any], findings: Any) -> GateVerdict | None:
    rules = [rule_from_json(rule) for rule in task["rules"]]
    return judge(rules, findings) if rules else None


def _write_reference_outputs(task: Mapping[str, Any], folder: Path, answered: Sequence[Answered]) -> str:
    """The forced tokens of the candidate that the task names, or "" where it names none."""
    for one in answered:
        if one.candidate.candidate_id == task["reference_candidate"]:
            path = folder / "reference_outputs.jsonl"
            write_reference_outputs(path, one.candidate.model.name, _reference_outputs(one))
            return str(path)
    return ""


def _reference_outputs(answered: Answered) -> list[ReferenceOutput]:
    outputs = []
    for outcome in answered.outcomes[HELD_OUT]:
        item, forced = outcome.item, answered.forced[outcome.item.item_id]
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
