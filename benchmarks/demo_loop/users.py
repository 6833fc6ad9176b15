"""Users of the endpoint: they ask over the real API, score answers by the desk's, and correct them."""

from __future__ import annotations

import json
import random
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

_THREADS = 2
_RIGHT = 0.7
"""An answer that shares this much with the desk's is not corrected."""
_ANSWER_TOKENS = 40
_FEEDBACK_TRIES = 10
_MOST_FAILURES = 50


@dataclass(frozen=True, slots=True)
class Question:
    """What a user asks, and what the desk would say."""

    text: str
    answer: str
    new: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """One request, as the user saw it. `score` is the token F1 of the answer against the desk's."""

    time: float
    question: Question
    answer: str
    revision: str
    score: float


@dataclass(frozen=True, slots=True)
class Mix:
    """What is asked now: old questions, and a share of new ones."""

    old: Sequence[Question]
    new: Sequence[Question] = ()
    new_share: float = 0.0
    corrections: bool = False
    """Whether users say what the answer should have been, where it was wrong."""

    def draw(self, random_: random.Random) -> Question:
        """The next question."""
        if self.new and random_.random() < self.new_share:
            return random_.choice(self.new)
        return random_.choice(self.old)


class Users:
    """Asks in threads of its own until told otherwise; everything that was answered is kept."""

    def __init__(self, url: str, model: str, mix: Mix) -> None:
        self.mix = mix
        self.pause_seconds = 0.0
        self.answered: list[Answered] = []
        self.failures: list[str] = []
        self._url, self._model = url, model
        self._stop = threading.Event()
        self._random = random.Random(7)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_THREADS)]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask nothing more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def ask_more(self, count: int) -> list[Answered]:
        """Wait until so many more were answered."""
        before = len(self.answered)
        while len(self.answered) < before + count and not self._stop.is_set():
            if len(self.failures) > _MOST_FAILURES:
                raise RuntimeError(f"the endpoint does not answer: {self.failures[-1]}")
            time.sleep(0.2)
        return self.answered[before:]

    def _work(self) -> None:
        with httpx.Client(timeout=120) as client:
            while not self._stop.is_set():
                mix, question = self.mix, self.mix.draw(self._random)
                try:
                    self._ask(client, mix, question)
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    self.failures.append(repr(error))
                self._stop.wait(self.pause_seconds)

    def _ask(self, client: httpx.Client, mix: Mix, question: Question) -> None:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": question.text}],
            "max_tokens": _ANSWER_TOKENS,
            "temperature": 0,
        }
        got = client.post(f"{self._url}/chat/completions", json=body)
        got.raise_for_status()
        text = str(got.json()["choices"][0]["message"]["content"]).strip()
        score = token_f1(text, question.answer)
        self.answered.append(
            Answered(time.monotonic(), question, text, got.headers["x-sartor-revision"], score)
        )
        feedback: dict[str, object] = {"request_id": got.headers["x-request-id"], "score": round(score, 4)}
        if mix.corrections and score < _RIGHT:
            feedback["correction"] = question.answer
        for _ in range(_FEEDBACK_TRIES):  # an answer is known a second after it ended
            if client.post(f"{self._url}/feedback", json=feedback).status_code == 201:
                return
            time.sleep(0.5)
        self.failures.append(f"feedback on {feedback['request_id']} was not taken")


def token_f1(answer: str, right: str) -> float:
    """Harmonic mean of precision and recall of the words."""
    said, wanted = answer.casefold().split(), right.casefold().split()
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted)) if shared else 0.0


def old_questions(records: Path) -> list[Question]:
    """The questions of the example's test split: no training has seen them."""
    return [
        Question(row["question"], row["answer"])
        for row in _rows(records)
        if row.get("split") == "test" and _plain(row)
    ]


def training_rows(records: Path, topics: int) -> list[dict[str, str]]:
    """The English questions of the first `topics` intents and the test split's of the same: a small desk."""
    rows = [row for row in _rows(records) if _plain(row)]
    chosen = sorted({row["intent"] for row in rows})[:topics]
    return [row for row in rows if row["intent"] in chosen]


def new_questions(file: Path) -> tuple[list[Question], list[Question]]:
    """What is asked from the shift on, and the wordings that are kept for after the tuning."""
    found = tomllib.loads(file.read_text(encoding="utf-8"))
    slots = found["slots"]
    first = [q for intent in found["intent"] for q in _filled(intent, "ask", slots)]
    later = [q for intent in found["intent"] for q in _filled(intent, "later", slots)]
    return first, later


def _filled(intent: dict[str, object], key: str, slots: dict[str, list[str]]) -> Iterable[Question]:
    for number, wording in enumerate(intent[key]):  # type: ignore[arg-type, var-annotated]
        values = {name: known[number % len(known)] for name, known in slots.items()}
        yield Question(wording.format(**values), str(intent["answer"]), new=True)


def _rows(records: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines() if line.strip()]


def _plain(row: dict[str, str]) -> bool:
    """A question with its answer in English, as the desk gives it; no case note, no planted fault."""
    asked = isinstance(row.get("question"), str) and isinstance(row.get("answer"), str)
    return asked and row.get("language") == "en" and row.get("intent", "case-note") != "case-note"
