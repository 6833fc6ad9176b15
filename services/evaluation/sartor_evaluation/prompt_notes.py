"""Says in plain words whether a prompt alone does as well as training."""

from collections.abc import Sequence

from sartor_evaluation.estimates import Estimate
from sartor_evaluation.findings import Findings
from sartor_evaluation.metrics.catalogue import Better, metrics
from sartor_evaluation.run import Answered, ModelFiles

_TELLING = (
    "label_accuracy",
    "choice_accuracy",
    "task_exact_match",
    "token_f1",
    "schema_valid",
    "regex_match",
)


def prompt_notes(answered: Sequence[Answered], findings: Findings) -> list[str]:
    """One sentence for each trained candidate without a prompt of its own, against the best prompted
    untrained one of the same base, a suite at a time."""
    trained = [one for one in answered if _version(one) and not _prompted(one)]
    rivals = [one for one in answered if not _version(one) and _prompted(one)]
    notes = []
    for suite in dict.fromkeys(line.suite for line in findings.scores):
        for one in trained:
            same = [rival for rival in rivals if _base(rival) == _base(one)]
            if note := _note(suite, one, same, findings):
                notes.append(note)
    return notes


def _note(suite: str, one: Answered, rivals: Sequence[Answered], findings: Findings) -> str:
    ours = one.candidate.candidate_id
    measured = {line.metric for line in findings.scores if line.suite == suite and line.candidate == ours}
    metric = next((name for name in _TELLING if name in measured), "")
    scored = [
        (found.value, rival.candidate.candidate_id)
        for rival in rivals
        if metric and (found := findings.score(suite, metric, rival.candidate.candidate_id)) is not None
    ]
    if not scored:
        return ""
    _, best = max(scored)
    difference, sign = findings.difference(suite, metric, ours, best), 1
    if difference is None:
        difference, sign = findings.difference(suite, metric, best, ours), -1
    if difference is None or metrics()[metric].better is not Better.HIGHER:
        return ""
    return _sentence(suite, metric, ours, best, difference, sign)


def _sentence(suite: str, metric: str, ours: str, best: str, found: Estimate, sign: int) -> str:
    low, high = sorted((sign * found.lower, sign * found.upper))
    digits = metrics()[metric].digits
    title, items = metrics()[metric].title, "1 item" if found.items == 1 else f"{found.items} items"
    figures = (
        f"{sign * found.value:+.{digits}f}, 95 % interval {low:+.{digits}f} to {high:+.{digits}f}, {items}"
    )
    told = f"{title} of {ours} minus {best} is {figures}"
    if low > 0:
        return f"On {suite}, training gains over the best prompt: {told}."
    if high < 0:
        return f"On {suite}, a prompt alone does better than training: {told}."
    return f"On {suite}, a prompt alone may do as well: {told}; training is not shown to be worth it."


def _version(one: Answered) -> bool:
    model = one.candidate.model
    return isinstance(model, ModelFiles) and model.version is not None


def _base(one: Answered) -> object:
    model = one.candidate.model
    return model.base if isinstance(model, ModelFiles) else model.name


def _prompted(one: Answered) -> bool:
    return bool(one.prompt.name or one.prompt.shots)
