"""The work of an evaluation job, in a child process: from staged files to reports, results and figures."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sartor_models.errors import ModelError
from sartor_models.tokenizer import load_tokenizer
from sartor_platform.errors import FailedPrecondition, InvalidArgument
from sartor_platform.worker import Report as Progress

from sartor_evaluation.answer_cache import AnswerCache
from sartor_evaluation.asking import fits
from sartor_evaluation.classifying import (
    MAJORITY,
    MostFrequent,
    classifier_kind,
    items_for,
    labels_as_written,
    rival_task,
)
from sartor_evaluation.findings import find
from sartor_evaluation.finished_items import FinishedItems
from sartor_evaluation.gates import (
    Baseline,
    GateVerdict,
    Rule,
    RuleResult,
    judge,
    nothing_live,
    rule_from_json,
)
from sartor_evaluation.harness.task_files import BadTaskFile
from sartor_evaluation.items import GENERAL, HELD_OUT, Item
from sartor_evaluation.metrics.similarity import NoEmbeddings
from sartor_evaluation.open_models import opener, with_templates
from sartor_evaluation.outputs import Written, write
from sartor_evaluation.overlap_check import TrainingText, overlapping
from sartor_evaluation.prompt_notes import prompt_notes
from sartor_evaluation.prompt_search import FewShotSearch
from sartor_evaluation.prompts import Choice, ExampleBook, NoExamples, Prompt, template
from sartor_evaluation.remote import RemoteModel
from sartor_evaluation.report import Report
from sartor_evaluation.run import Answered, Candidate, ModelFiles, Plan, Source, by_suite, run
from sartor_evaluation.stream import evaluate_stream, is_stream
from sartor_evaluation.suite_items import SuiteItems, suite_items
from sartor_evaluation.suites import UnusableItems, curated_items, general_items, read_client_items, sample
from sartor_evaluation.supplied import SuppliedAnswers

_MOST_EXAMPLES = 20_000
"""Of a larger training split a fixed sample serves as examples: more would hardly find better ones."""
_MOST_FAILED = 0.5
"""Where more items than this share have no answer, there is nothing to say of a candidate."""


class TooManyFailed(RuntimeError):
    """A candidate failed at most of the items."""


@dataclass(frozen=True, slots=True)
class _Splits:
    held_out: list[Item]
    validation: list[Item]
    train: list[Item]
    suites: dict[str, SuiteItems] = field(default_factory=dict)


def evaluate(task: Mapping[str, Any], folder: Path, report: Progress) -> dict[str, Any]:
    """Evaluate as `task` says, which worker.stage_in makes; returns paths of what was written and the
    figures.

    Raises:
        InvalidArgument: UNUSABLE_ITEMS, the suite is empty or an item cannot be asked.
        FailedPrecondition: a model cannot be loaded, examples are wanted and there are none, or a candidate
            failed at most items.
    """
    started = time.monotonic()
    (folder / "models").mkdir()
    try:
        if is_stream(task):
            return evaluate_stream(task, folder, report)
        return _evaluate(task, folder, report, started)
    except (UnusableItems, NoExamples, BadTaskFile) as error:
        raise InvalidArgument(str(error), reason="UNUSABLE_ITEMS") from error
    except NoEmbeddings as error:
        raise FailedPrecondition(str(error), reason="METRIC_NOT_INSTALLED") from error
    except TooManyFailed as error:
        raise FailedPrecondition(str(error), reason="CANDIDATE_FAILED") from error
    except ModelError as error:
        raise FailedPrecondition(str(error), reason=error.reason, metadata=error.metadata) from error


def _evaluate(task: Mapping[str, Any], folder: Path, report: Progress, started: float) -> dict[str, Any]:
    splits = _splits(task)
    models = with_templates({key: _model(value) for key, value in task["models"].items()}, folder / "models")
    written = labels_as_written([*splits.train, *splits.validation, *splits.held_out])
    kind = classifier_kind(model.version for model in models.values() if isinstance(model, ModelFiles))
    if kind:
        task, splits = rival_task(kind, task), _as_labels(kind, splits, list(written))
        models[MAJORITY] = MostFrequent(tuple(splits.train))
    held_out, too_long = _those_that_fit(splits.held_out, models)
    plan = Plan(
        candidates=tuple(_candidate(value, models, task) for value in task["candidates"]),
        held_out=held_out,
        general=general_items() if task["general_suite"] == "builtin" else (),
        validation=splits.validation,
        search=_search(task["few_shot"]),
        suites={name: suite.items for name, suite in splits.suites.items()},
        cost_clients=tuple(task.get("cost_clients", ())),
    )
    memory = AnswerCache(Path(task["memory"]), task["memory_bytes"]) if task.get("memory") else None
    open_model = opener(ExampleBook(splits.train), folder / "models", memory, written)
    finished = FinishedItems(report)
    answered = run(plan, open_model, _reporter(report, started), finished)
    finished.flush()
    _check_failures(answered)
    report(0.99, stage="statistics and reports", eta_seconds=2.0)
    table = by_suite(answered)
    findings = find(table, wanted=_wanted(task, splits))
    overlap = _overlap(plan, splits, asked_of_curation=not task["items"])
    verdict = _judge(task, findings, overlap)
    notes = prompt_notes(answered, findings)
    made = Report(
        about=task["about"],
        answered=answered,
        table=table,
        findings=findings,
        verdict=verdict,
        too_long=too_long,
        seconds=time.monotonic() - started,
        overlap=overlap,
        notes=notes,
    )
    return write(Written(made, folder, task["reference_candidate"]))


def _splits(task: Mapping[str, Any]) -> _Splits:
    curated = Path(task["curated"]) if task["curated"] else None
    train = curated_items(curated, "train") if curated else []
    validation = curated_items(curated, "validation") if curated else []
    suites = {name: suite_items(name, value, train) for name, value in task.get("suites", {}).items()}
    if task["items"]:
        held_out = read_client_items(Path(task["items"]))
    elif task.get("ask_test_split", True):
        held_out = curated_items(curated, "test") if curated else []
    else:
        held_out = []
    if not held_out and not suites and not task.get("cost_clients"):
        raise UnusableItems(
            "the suite is empty: the test split of the curation has no question with an answer; give the "
            "data a larger test share, or mark records with the attribute split = test"
        )
    # A search needs questions; of the training split each is asked without itself among its examples.
    return _Splits(
        sample(held_out, task["max_items"]), validation or train, sample(train, _MOST_EXAMPLES), suites
    )


def _as_labels(kind: str, splits: _Splits, labels: Sequence[str]) -> _Splits:
    """The splits as a classifier of this kind is asked them; what has no label is left out for everybody."""
    held_out, validation, train = (
        items_for(kind, items, labels) for items in (splits.held_out, splits.validation, splits.train)
    )
    suites = {
        name: replace(suite, items=items_for(kind, suite.items, labels) or suite.items)
        for name, suite in splits.suites.items()
    }
    if not held_out and splits.held_out:
        raise UnusableItems("no item has a label that a classifier could be judged by; label them")
    return _Splits(held_out, validation, train, suites)


def _model(value: Mapping[str, Any]) -> Source:
    if value.get("answers"):
        return SuppliedAnswers(value["name"], Path(value["answers"]))
    if value.get("url"):
        names = ("name", "url", "model", "key", "timeout_seconds", "retries", "concurrency")
        return RemoteModel(**{name: value[name] for name in names})
    version = Path(value["version"]) if value["version"] else None
    return ModelFiles(value["name"], Path(value["base"]), version, value.get("digest", ""))


def _candidate(value: Mapping[str, Any], models: Mapping[str, Source], task: Mapping[str, Any]) -> Candidate:
    shots = int(value["shots"])
    if name := value.get("prompt"):
        prompt = template(name.rpartition("/")[2], task["prompts"][name])
        return Candidate(value["id"], models[value["model"]], prompt)
    return Candidate(value["id"], models[value["model"]], None if shots < 0 else Prompt(shots))


def _search(value: Mapping[str, Any]) -> FewShotSearch:
    default = FewShotSearch()
    return FewShotSearch(
        shots=tuple(value["shots"]) or default.shots,
        choices=tuple(map(Choice, value["choices"])) or default.choices,
        items=value["items"] or default.items,
    )


def _those_that_fit(items: Sequence[Item], models: Mapping[str, Source]) -> tuple[list[Item], list[str]]:
    """The items that every model's context has room for, and the ids of the others."""
    bases = {model.base for model in models.values() if isinstance(model, ModelFiles)}
    tokenizers = [load_tokenizer(base) for base in bases]
    too_long = [item.item_id for item in items if not all(fits(tokenizer, item) for tokenizer in tokenizers)]
    fitting = [item for item in items if item.item_id not in set(too_long)]
    if items and not fitting:
        raise UnusableItems(f"all {len(items)} items are longer than the model's context; shorten them")
    return fitting, too_long


def _check_failures(answered: Sequence[Answered]) -> None:
    for one in answered:
        for suite, outcomes in one.outcomes.items():
            why = [outcome.failure for outcome in outcomes if outcome.failure]
            if outcomes and len(why) > _MOST_FAILED * len(outcomes):
                most = max(sorted(set(why)), key=why.count)
                raise TooManyFailed(
                    f"{one.candidate.candidate_id} failed at {len(why)} of {len(outcomes)} items of "
                    f"the {suite} "
                    f"suite, mostly because: {most}"
                )


def _reporter(report: Progress, started: float) -> Any:
    def tell(fraction: float, stage: str, figures: Any) -> None:
        spent = time.monotonic() - started
        eta = spent * (1 - fraction) / fraction if fraction > 0.02 else None
        report(fraction, stage=stage, eta_seconds=eta, **figures)

    return tell


def _wanted(task: Mapping[str, Any], splits: _Splits) -> dict[str, Sequence[str]]:
    """suite -> the metrics that were asked for, by the evaluation, the suite, or a rule of the gate."""
    chosen: dict[str, list[str]] = {HELD_OUT: list(task.get("metrics", ()))}
    chosen |= {name: list(suite.metrics) for name, suite in splits.suites.items()}
    for rule in task["rules"]:
        if chosen.get(rule["suite"]):
            chosen[rule["suite"]].append(rule["metric"])
    return {suite: names for suite, names in chosen.items() if names}


def _overlap(plan: Plan, splits: _Splits, *, asked_of_curation: bool) -> dict[str, list[str]]:
    """suite -> items that the training split has too. Only suites with any."""
    if not splits.train:
        return {}
    training = TrainingText(item.subject for item in splits.train)
    suites: dict[str, Sequence[Item]] = {GENERAL: plan.general, **plan.suites}
    if not asked_of_curation:  # curation itself keeps its splits apart
        suites[HELD_OUT] = plan.held_out
    found = {name: overlapping(items, training) for name, items in suites.items()}
    return {name: ids for name, ids in found.items() if ids}


def _judge(
    task: Mapping[str, Any], findings: Any, overlap: Mapping[str, Sequence[str]]
) -> GateVerdict | None:
    rules = [rule_from_json(rule) for rule in task["rules"]]
    if not rules:
        return None
    asked = {candidate["id"] for candidate in task["candidates"]}
    first = [r for r in rules if r.compared_to is Baseline.LIVE and "live" not in asked]
    others = [rule for rule in rules if rule not in first]
    verdict = judge(others, findings, correction=task.get("correction", "none"))
    blocked = tuple(_overlap_result(suite, ids) for suite, ids in overlap.items())
    passed = (verdict.passed or not others) and not blocked
    return GateVerdict(passed, (*verdict.rules, *map(nothing_live, first), *blocked))


def _overlap_result(suite: str, ids: Sequence[str]) -> RuleResult:
    rule = Rule("training_overlap", suite, Baseline.NOTHING, None, 0.0, None)
    shown = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
    text = (
        f"{len(ids)} questions of the {suite} suite are in the training data ({shown}): take them out of one"
    )
    return RuleResult(rule, False, float(len(ids)), None, text)
