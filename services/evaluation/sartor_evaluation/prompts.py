"""Prompts: zero-shot, and few-shot with examples of the training split, chosen as a good engineer would.

fixed      the same examples for every question: drawn once with a fixed seed
diverse    the same examples for every question: as different from each other as can be, labels and intents
spread retrieved  the examples most like the question (BM25), the most alike nearest to it

Examples are earlier turns of the conversation, which is what a chat model is trained on. A question gets
examples of its own kind and, where there are enough, of its own language.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sartor_datasets.records import Message

from sartor_evaluation.items import Item
from sartor_evaluation.similarity import Bm25

DEFAULT_SHOTS = (1, 3, 5)
_MOST_COMPARED = 400


class Choice(StrEnum):
    """How examples are chosen; see the module's docstring."""

    FIXED = "fixed"
    DIVERSE = "diverse"
    RETRIEVED = "retrieved"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A way of asking. With `shots` 0 there are no examples and `choice` says nothing."""

    shots: int = 0
    choice: Choice = Choice.RETRIEVED
    name: str = ""
    system: str = ""
    format: str = ""
    given: tuple[tuple[str, str], ...] = ()
    """Examples that are always shown: (question, answer)."""

    @property
    def description(self) -> str:
        """In words, for reports."""
        if self.name:
            shown = len(self.given) + self.shots
            examples = "no examples" if not shown else "1 example" if shown == 1 else f"{shown} examples"
            return f"the prompt {self.name}, {examples}"
        if not self.shots:
            return "no examples"
        examples = "1 example" if self.shots == 1 else f"{self.shots} examples"
        how = {
            Choice.FIXED: "the same for every question",
            Choice.DIVERSE: "the same for every question, chosen to differ from each other",
            Choice.RETRIEVED: "those most like the question",
        }
        return f"{examples} from the training data, {how[self.choice]}"


ZERO_SHOT = Prompt()


def template(name: str, spec: Mapping[str, Any]) -> Prompt:
    """The prompt of a standing order's revision."""
    choice = Choice(spec["choice"] or Choice.RETRIEVED)
    given = tuple((one[0], one[1]) for one in spec["examples"])
    return Prompt(spec["shots"], choice, name, spec["system"], spec["format"], given)


def dressed(messages: Sequence[Message], prompt: Prompt) -> tuple[Message, ...]:
    """The messages with the prompt's system text and given examples before them, and the last question in its
    form."""
    rest = [message for message in messages if message.role != "system"]
    system = [message for message in messages if message.role == "system"]
    if prompt.system:
        system = [Message("system", prompt.system)]
    turns = [
        message
        for question, answer in prompt.given
        for message in (Message("user", _formed(question, prompt)), Message("assistant", answer))
    ]
    if rest and rest[-1].role == "user":
        rest[-1] = Message("user", _formed(rest[-1].content, prompt))
    return (*system, *turns, *rest)


def _formed(question: str, prompt: Prompt) -> str:
    return prompt.format.replace("{question}", question) if prompt.format else question


class NoExamples(ValueError):
    """A few-shot prompt was asked for, but there is nothing to take examples from."""


class ExampleBook:
    """The training split as a source of examples. Deterministic for a seed."""

    def __init__(self, examples: Sequence[Item], *, seed: int = 0) -> None:
        self._examples = list(examples)
        self._seed = seed
        self._pools: dict[tuple[str, str], list[Item]] = {}
        self._indices: dict[tuple[str, str], Bm25] = {}
        self._chosen: dict[tuple[tuple[str, str], Prompt], list[Item]] = {}

    def __len__(self) -> int:
        return len(self._examples)

    def messages(self, item: Item, prompt: Prompt) -> tuple[Message, ...]:
        """The item's messages with `prompt.shots` examples before its first user turn.

        Raises:
            NoExamples: examples are asked for and the training split has none of this kind.
        """
        if not prompt.shots:
            return dressed(item.messages, prompt)
        system = tuple(message for message in item.messages if message.role == "system")
        rest = tuple(message for message in item.messages if message.role != "system")
        turns: list[Message] = []
        for example in self.examples(item, prompt):
            asked = [message for message in example.messages if message.role != "system"]
            asked[-1] = Message(asked[-1].role, _formed(asked[-1].content, prompt))
            turns += [*asked, Message("assistant", example.reference)]
        return dressed((*system, *turns, *rest), prompt)

    def examples(self, item: Item, prompt: Prompt) -> list[Item]:
        """The examples for an item, the one to stand next to the question last. Never the item or one of its
        cluster.
        """
        key = self._pool_key(item, prompt.shots)
        if prompt.choice is Choice.RETRIEVED:
            pool = self._pools[key]
            if key not in self._indices:
                self._indices[key] = Bm25([example.subject for example in pool])
            ranked = (pool[position] for position in self._indices[key].ranked(item.subject))
            return list(reversed(_apart(ranked, item, prompt.shots)))
        if (key, prompt) not in self._chosen:
            choose = _drawn if prompt.choice is Choice.FIXED else _diverse
            self._chosen[key, prompt] = choose(self._pools[key], prompt.shots + 1, self._seed)
        return _apart(self._chosen[key, prompt], item, prompt.shots)

    def _pool_key(self, item: Item, shots: int) -> tuple[str, str]:
        """The pool for an item: its kind and language, or its kind alone where that language has too few
        examples.
        """
        for language in (item.language, ""):
            key = (item.kind.value, language)
            if key not in self._pools:
                self._pools[key] = [
                    example
                    for example in self._examples
                    if example.kind is item.kind and language in ("", example.language)
                ]
            if len(self._pools[key]) > shots:
                return key
        if not self._examples:
            raise NoExamples(
                "the training split has no question with an answer to show as an example; ask without any"
            )
        return (item.kind.value, "")


def _apart(candidates: Iterable[Item], item: Item, shots: int) -> list[Item]:
    """The first `shots` of `candidates` that are neither the item nor of its cluster, each question once."""
    chosen: list[Item] = []
    seen = {item.subject}
    for candidate in candidates:
        if candidate.item_id == item.item_id or (item.cluster and candidate.cluster == item.cluster):
            continue
        if candidate.subject in seen:
            continue
        seen.add(candidate.subject)
        chosen.append(candidate)
        if len(chosen) == shots:
            break
    return chosen


def _drawn(pool: Sequence[Item], count: int, seed: int) -> list[Item]:
    return random.Random(seed).sample(list(pool), min(count, len(pool)))


def _diverse(pool: Sequence[Item], count: int, seed: int) -> list[Item]:
    """Greedy: each next example has a group (label, intent) not yet taken if there is one, and shares few
    words.
    """
    if not pool:
        return []
    shuffled = random.Random(seed).sample(list(pool), min(len(pool), _MOST_COMPARED))
    shuffled.sort(key=lambda example: abs(len(example.subject) - _median_length(pool)))
    chosen: list[Item] = [shuffled[0]]
    while len(chosen) < min(count, len(shuffled)):
        groups = {example.group for example in chosen}
        taken = set().union(*(set(example.subject.casefold().split()) for example in chosen))

        def cost(example: Item, groups: set[str] = groups, taken: set[str] = taken) -> tuple[bool, float]:
            own = set(example.subject.casefold().split())
            return (example.group in groups, len(own & taken) / max(len(own), 1))

        chosen.append(min((example for example in shuffled if example not in chosen), key=cost))
    return chosen


def _median_length(pool: Sequence[Item]) -> int:
    lengths = sorted(len(example.subject) for example in pool)
    return lengths[len(lengths) // 2]
