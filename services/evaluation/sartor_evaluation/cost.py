"""What answers cost: a few requests, measured one by one and with many clients at the same time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Protocol, runtime_checkable

from sartor_datasets.records import Message

from sartor_evaluation.cost_suites import clients_in, cost_suite
from sartor_evaluation.gates import Rule
from sartor_evaluation.items import Item, ItemKind, Outcome, Timing
from sartor_evaluation.prompts import Prompt

ANSWER_TOKENS = 32
_LEAST_REQUESTS = 8
_ROUNDS = 2
_QUESTIONS = ("How do I change my address?", "What does delivery cost?", "Wann kommt mein Paket an?")


@runtime_checkable
class Timed(Protocol):
    """A candidate whose requests can be timed."""

    def timed(self, items: Sequence[Item], prompt: Prompt) -> list[Timing]:
        """Ask all items at the same time, each for an answer of at most ANSWER_TOKENS; a timing an item."""
        ...


def cost_clients(asked: Sequence[int], rules: Iterable[Rule]) -> list[int]:
    """The numbers of clients to measure at: those asked for, and those that rules of a gate are about."""
    return sorted({*asked, *clients_in(rule.suite for rule in rules)})


def timed_items(held_out: Sequence[Item], suites: Mapping[str, Sequence[Item]]) -> list[Item]:
    """A few questions of the evaluation itself; some of ours where it has none that are answered in words."""
    asked = [*held_out, *(item for items in suites.values() for item in items)]
    usual = [item for item in asked if item.context is None][:_LEAST_REQUESTS]
    return usual or [
        Item(f"cost-{number}", "", ItemKind.ANSWER, (Message("user", text),), "-")
        for number, text in enumerate(_QUESTIONS)
    ]


def measure(
    opened: Timed, items: Sequence[Item], prompt: Prompt, clients: Sequence[int]
) -> dict[str, list[Outcome]]:
    """suite -> an outcome for each timed request; the first request of all only warms up."""
    opened.timed([_asked(items[0], "", 0)], prompt)
    found: dict[str, list[Outcome]] = {}
    for count in clients:
        suite = cost_suite(count)
        rounds = max(-(-_LEAST_REQUESTS // count), _ROUNDS)
        questions = cycle(items)
        outcomes: list[Outcome] = []
        for _ in range(rounds):
            batch = [
                _asked(item, suite, len(outcomes) + n) for n, item in enumerate(islice(questions, count))
            ]
            timings = opened.timed(batch, prompt)
            outcomes += [
                replace(Outcome(item, None, 0.0, 0), timing=timing)
                for item, timing in zip(batch, timings, strict=True)
            ]
        found[suite] = outcomes
    return found


def _asked(item: Item, suite: str, number: int) -> Item:
    """The item as a request to be timed: what it should be answered with does not matter."""
    return Item(
        item_id=f"{item.item_id}#{number}",
        suite=suite,
        kind=ItemKind.ANSWER,
        messages=item.messages,
        reference="-",
        cluster=item.item_id,
        language=item.language,
        most_tokens=ANSWER_TOKENS,
    )
