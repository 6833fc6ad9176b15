"""What a report says in sentences: the title, the figures on top and the short answer."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
_MAIN = ("token_f1", "label_accuracy", "choice_accuracy")
_NAMES = {
    "base": "the base model",
    "prompted": "the base model with its best few-shot prompt",
    "tuned": "the tuned model",
    "live": "the model that is live",
}


class Words:
    """Sentences about one report. `subject` is the candidate that it is about: the last without a prompt of
    its own, or the last one."""

    def __init__(self, report: Json) -> None:
        self._report = report
        candidates = report["candidates"]
        plain = [one for one in candidates if not one["prompt"].get("name")]
        self._about: Json = (plain or candidates)[-1]
        self.subject: str = self._about["id"]

    @property
    def held_out(self) -> bool:
        """Whether the questions are a curation's test split, which no training ever sees."""
        return bool(self._report["about"].get("curation"))

    @property
    def title(self) -> str:
        return f"Evaluation of {self._about['model'].removeprefix('projects/')}"

    @property
    def lead(self) -> str:
        suite = self._report["suites"].get("held_out", {"items": 0})
        others = [self.name(one["id"]) for one in self._report["candidates"] if one is not self._about]
        against = f", next to {' and '.join(others)}" if others else ""
        who = self.name(self.subject)
        seen = " that it has never seen" if self.held_out else ""
        questions = "1 question" if suite["items"] == 1 else f"{suite['items']} questions"
        asked = questions if suite["items"] else " and ".join(self._report["suites"])
        return f"How well {who} answers {asked}{seen}{against}."

    def name(self, candidate: str) -> str:
        """A candidate in a sentence."""
        return _NAMES.get(candidate, candidate)

    def tiles(self) -> Iterator[tuple[str, str]]:
        """(figure, what it is), the ones to see first."""
        suite = self._report["suites"].get("held_out")
        if suite:
            yield f"{suite['items']:,}", "questions never seen in training" if self.held_out else "questions"
        for metric in _MAIN:
            for line in self._report["scores"]:
                if (line["suite"], line["metric"], line["candidate"]) == ("held_out", metric, self.subject):
                    yield (
                        self._figure(metric, line["estimate"]["value"]),
                        f"{self._title(metric)}, {self.subject}",
                    )
            for line in self._comparisons("held_out", metric):
                change = line["difference"]["value"]
                yield (
                    f"{self._figure(metric, change, '+')}",
                    f"{self._title(metric)} against {line['baseline']}",
                )
        for line in self._comparisons("general", "choice_accuracy"):
            yield (
                self._figure("choice_accuracy", line["difference"]["value"], "+"),
                "general questions, against base",
            )

    def short_answer(self) -> Iterator[str]:
        """One sentence for each main metric and baseline, and one about forgetting."""
        for metric in _MAIN:
            for line in self._comparisons("held_out", metric):
                yield self._sentence(line)
        for line in self._comparisons("general", "choice_accuracy"):
            found = line["difference"]
            worse = found["upper"] is not None and found["upper"] < 0
            kept = "does worse" if worse else "has forgotten nothing that shows"
            yield (
                f"On {found['items']} general questions {self.name(self.subject)} {kept}: its share of right "
                f"answers differs by {self._figure('choice_accuracy', found['value'], '+')} "
                f"(95 % interval {self._ends('choice_accuracy', found)})."
            )

    def _sentence(self, line: Json) -> str:
        found, metric = line["difference"], line["metric"]
        baseline = self.name(line["baseline"])
        ours, theirs = (self._score(metric, one) for one in (self.subject, line["baseline"]))
        says = {"better": "is better than", "worse": "is worse than"}.get(line["verdict"].split(" ")[0])
        numbers = (
            f"{self._title(metric)} {ours} against {theirs}, a difference of "
            f"{self._figure(metric, found['value'], '+')} (95 % interval {self._ends(metric, found)})"
        )
        if says is None:
            return f"Whether {self.name(self.subject)} is better than {baseline} cannot be told: {numbers}."
        return f"{self.name(self.subject).capitalize()} {says} {baseline}: {numbers}."

    def _comparisons(self, suite: str, metric: str) -> Iterator[Json]:
        for line in self._report["comparisons"]:
            known = line["difference"]["value"] is not None
            if known and (line["suite"], line["metric"], line["candidate"]) == (suite, metric, self.subject):
                yield line

    def _score(self, metric: str, candidate: str) -> str:
        for line in self._report["scores"]:
            if (line["suite"], line["metric"], line["candidate"]) == ("held_out", metric, candidate):
                return self._figure(metric, line["estimate"]["value"])
        return "?"

    def _ends(self, metric: str, found: Json) -> str:
        return " to ".join(
            "unknown" if found[end] is None else self._figure(metric, found[end], "+")
            for end in ("lower", "upper")
        )

    def _figure(self, metric: str, value: float, sign: str = "") -> str:
        digits = min(self._report["metrics"][metric]["digits"], 2)
        return f"{value:{sign}.{digits}f}"

    def _title(self, metric: str) -> str:
        return str(self._report["metrics"][metric]["title"])
