"""One evaluation: models × prompts over the same items. Knows no service: usable as a library."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from sartor_evaluation.asking import Answers, Forced
from sartor_evaluation.classifying import MostFrequent, SaysLabels
from sartor_evaluation.cost import Timed, measure, timed_items
from sartor_evaluation.families import with_families
from sartor_evaluation.items import GENERAL, HELD_OUT, Item, Outcome
from sartor_evaluation.metrics.compute import item_score
from sartor_evaluation.prompt_search import FewShotSearch, Found, search_prompt
from sartor_evaluation.prompts import ZERO_SHOT, Prompt
from sartor_evaluation.remote import RemoteModel
from sartor_evaluation.supplied import SuppliedAnswers

_TYPICAL_EXAMPLE_CHARACTERS = 300
_GENERATION_COST = 4  # a character written costs about as much as four read


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk: a prepared base model and, for a tuned one, its adapter or full weights. `digest`
    names
    the weights, so that answers can be remembered.
    """

    name: str
    base: Path
    version: Path | None = None
    digest: str = ""


Source = ModelFiles | RemoteModel | SuppliedAnswers | MostFrequent
"""Where a candidate's answers come from."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who answers: a model under a prompt; without a prompt the best one is searched first."""

    candidate_id: str
    model: Source
    prompt: Prompt | None = ZERO_SHOT


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of whom. `held_out` may be any items; `validation` is only for searching prompts.
    `suites`
    are asked by name, as the general one without examples.
    """

    candidates: tuple[Candidate, ...]
    held_out: Sequence[Item]
    general: Sequence[Item] = ()
    validation: Sequence[Item] = ()
    search: FewShotSearch = field(default_factory=FewShotSearch)
    seed: int = 0
    suites: Mapping[str, Sequence[Item]] = field(default_factory=dict)
    cost_clients: tuple[int, ...] = ()

    @property
    def without_examples(self) -> dict[str, Sequence[Item]]:
        """Suites that only candidates without examples take."""
        return {name: items for name, items in {GENERAL: self.general, **self.suites}.items() if items}


@dataclass(frozen=True, slots=True)
class Answered:
    """A candidate's outcomes by suite, the prompt it had, and how that was found if it was searched.

    `forced` has the tokens of the held-out items, by item id.
    """

    candidate: Candidate
    prompt: Prompt
    outcomes: Mapping[str, Sequence[Outcome]]
    found: Found | None
    forced: Mapping[str, Forced]
    asked: int = 0
    """Questions that were put to the model itself, not found among the remembered answers."""


class OpenModel(Answers, Protocol):
    """A candidate that is open: it answers, and keeps the tokens of its last call by item id."""

    forced: dict[str, Forced]
    asked: int


Finished = Callable[[str, Outcome], None]
"""candidate, outcome."""

Report = Callable[[float, str, Mapping[str, float]], None]
"""fraction, stage, figures."""


def run(
    plan: Plan,
    open_model: Callable[[Source], AbstractContextManager[OpenModel]],
    report: Report = lambda fraction, stage, figures: None,
    finished: Finished | None = None,
) -> list[Answered]:
    """Answer everything; results in the order of the plan's candidates.

    Each model is opened once. The general suite is asked without examples, so only candidates whose prompt
    has none take it.
    """
    phases = _Phases(plan, report)
    answered: dict[str, Answered] = {}
    for model in dict.fromkeys(candidate.model for candidate in plan.candidates):
        phases.at(f"loading {model.name}")
        with open_model(model) as opened:
            for candidate in plan.candidates:
                if candidate.model == model:
                    _tell(opened, candidate.candidate_id, finished)
                    answered[candidate.candidate_id] = _answer(plan, candidate, opened, phases)
    return [answered[candidate.candidate_id] for candidate in plan.candidates]


@contextmanager
def _untold(opened: OpenModel) -> Iterator[None]:
    """What a search asks is no result of the evaluation: nobody is told of it."""
    told = getattr(opened, "finished", None)
    if told is None:
        yield
        return
    opened.finished = None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        opened.finished = told  # type: ignore[attr-defined]


def _tell(opened: OpenModel, candidate: str, finished: Finished | None) -> None:
    """Let a candidate that can tell of items as they finish do so."""
    if finished is not None and hasattr(opened, "finished"):
        opened.finished = partial(finished, candidate)


def _answer(plan: Plan, candidate: Candidate, opened: OpenModel, phases: "_Phases") -> Answered:
    name = candidate.candidate_id
    found, prompt, before = None, candidate.prompt, opened.asked
    if prompt is None:
        with (
            phases.phase(f"{name}: searching the best prompt", _search_cost(plan)) as progress,
            _untold(opened),
        ):
            found = search_prompt(opened, plan.validation, plan.search, seed=plan.seed, progress=progress)
        prompt = found.best
    outcomes: dict[str, Sequence[Outcome]] = {}
    forced: dict[str, Forced] = {}
    if plan.held_out:
        with phases.phase(f"{name}: held-out items", _cost(plan.held_out, prompt.shots)) as progress:
            outcomes[HELD_OUT] = opened.outcomes(plan.held_out, prompt, progress=progress)
        forced = dict(opened.forced)
        phases.figure(f"score_{name}", _mean_score(outcomes[HELD_OUT]))
    for suite, items in plan.without_examples.items() if prompt.name or not prompt.shots else ():
        if isinstance(opened, SaysLabels) and not opened.takes(items):
            continue
        with phases.phase(f"{name}: {suite} items", _cost(items, 0)) as progress:
            outcomes[suite] = opened.outcomes(items, prompt, progress=progress)
    if plan.cost_clients and isinstance(opened, Timed):
        phases.at(f"{name}: measuring cost")
        outcomes |= measure(opened, timed_items(plan.held_out, plan.suites), prompt, plan.cost_clients)
    outcomes = {suite: with_families(found, item_score) for suite, found in outcomes.items()}
    return Answered(candidate, prompt, outcomes, found, forced, opened.asked - before)


def by_suite(answered: Iterable[Answered]) -> dict[str, dict[str, Sequence[Outcome]]]:
    """suite -> candidate -> outcomes, as findings.find wants them; suites that nobody took are left out."""
    table: dict[str, dict[str, Sequence[Outcome]]] = {}
    for one in answered:
        for suite, outcomes in one.outcomes.items():
            if outcomes:
                table.setdefault(suite, {})[one.candidate.candidate_id] = outcomes
    return table


def _mean_score(outcomes: Sequence[Outcome]) -> float:
    return sum(map(item_score, outcomes)) / len(outcomes) if outcomes else 0.0


def _cost(items: Sequence[Item], shots: int) -> float:
    """About the work of asking these items, in characters read."""
    examples = shots * _TYPICAL_EXAMPLE_CHARACTERS * len(items)
    return 1.0 + examples + sum(len(i.question) + _GENERATION_COST * len(i.reference) for i in items)


def _search_cost(plan: Plan) -> float:
    items = plan.validation[: plan.search.items]
    return sum(_cost(items, prompt.shots) for prompt in plan.search.prompts()) / 2


class _Phases:
    """Turns the progress of phases into one fraction, by their estimated work."""

    def __init__(self, plan: Plan, report: Report) -> None:
        self._report = report
        self._total = sum(self._work(plan, candidate) for candidate in plan.candidates)
        self._done = 0.0
        self._figures: dict[str, float] = {}

    @staticmethod
    def _work(plan: Plan, candidate: Candidate) -> float:
        shots = max(plan.search.shots, default=0) if candidate.prompt is None else candidate.prompt.shots
        work = _cost(plan.held_out, shots)
        if candidate.prompt is None:
            return work + _search_cost(plan)
        return work if shots else work + sum(_cost(items, 0) for items in plan.without_examples.values())

    def at(self, stage: str) -> None:
        self._report(min(self._done / self._total, 0.99), stage, self._figures)

    def figure(self, name: str, value: float) -> None:
        self._figures[name] = value

    @contextmanager
    def phase(self, stage: str, cost: float) -> Iterator[Callable[[float], None]]:
        """A part of the work; gives what to call with the share of it that is done."""

        def advance(fraction: float) -> None:
            self._report(min((self._done + cost * fraction) / self._total, 0.99), stage, self._figures)

        self.at(stage)
        yield advance
        self._done += cost
