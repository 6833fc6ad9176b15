"""What an engine thinks of given answers: log-probability and favourite token at each forced position.

llama.cpp's server gives log-probabilities of generated tokens only. So the answer is *generated*, under a
grammar that allows exactly its tokens: one request for an answer, one decoding step for a token, and requests
run side by side in the engine's slots. The probabilities reported are those before the grammar
(`post_sampling_probs` is off). A grammar accepts end tokens only after its end, hence two ways to write it.
An answer that neither way reproduces (an end token in its middle, or a character split over tokens, for which
the server keeps probabilities back until it is whole) is asked position by position, each costing a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sartor_deployment.targets.engine_api import EngineApi, EngineRefused

TIE_NATS = 0.125
"""A lead below this is a tie: the step between logits of 16 to 32 in bfloat16, as models are evaluated in."""
_RIVALS = 8
_FIRST_LOOK = 64
_WHOLE_VOCABULARY = 1_000_000
_PREFER = 1000.0


@dataclass(frozen=True, slots=True)
class Forced:
    """One forced answer: sum of -log p in nats, and the most probable token at each position.

    `favourites` are, at each position, that token and those less than TIE_NATS behind it.
    """

    loss_sum: float
    top1: tuple[int, ...]
    favourites: tuple[frozenset[int], ...]


def force(engine: EngineApi, prompt: Sequence[int], answer: Sequence[int]) -> Forced:
    """Replay `answer` after `prompt`.

    Raises:
        EngineRefused: the engine cannot take it, for example because both are longer than its context.
    """
    for grammar_of in (_ending, _cut):
        grammar = grammar_of(answer)
        if grammar is None:
            continue
        positions = _generate(engine, prompt, answer, grammar)
        if positions is not None:
            loss = -sum(float(position["logprob"]) for position in positions)
            return _forced(loss, [position["top_logprobs"] for position in positions])
    return _one_by_one(engine, prompt, answer)


def _generate(
    engine: EngineApi, prompt: Sequence[int], answer: Sequence[int], grammar: str
) -> list[dict[str, Any]] | None:
    try:
        told = engine.complete(
            prompt,
            tokens=len(answer),
            probabilities=_RIVALS,
            grammar=grammar,
            # Among several end tokens the answer's own; the bias does not touch the reported probabilities.
            logit_bias=[[answer[-1], _PREFER]],
            samplers=["temperature"],
        )
    except EngineRefused as refused:
        if refused.status == 400:  # too long: no other way of asking helps
            raise
        return None
    positions = told.get("completion_probabilities", [])
    return positions if [position["id"] for position in positions] == list(answer) else None


def _ending(answer: Sequence[int]) -> str | None:
    """The grammar of an answer whose last token is an end token."""
    return _grammar(answer[:-1]) if len(answer) > 1 else None


def _cut(answer: Sequence[int]) -> str | None:
    """The grammar of an answer without an end token."""
    return _grammar(answer)


def _grammar(tokens: Sequence[int]) -> str:
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)


def _one_by_one(engine: EngineApi, prompt: Sequence[int], answer: Sequence[int]) -> Forced:
    loss, tops = 0.0, []
    # What is generated does not matter here, but it must be a whole character.
    steer: dict[str, Any] = {"logit_bias": [[engine.tokenize("a")[-1], _PREFER]], "samplers": ["temperature"]}
    for position, token in enumerate(answer):
        before = [*prompt, *answer[:position]]
        for width in (_FIRST_LOOK, _WHOLE_VOCABULARY):
            told = engine.complete(before, probabilities=width, **steer)
            ranked = told["completion_probabilities"][0]["top_logprobs"]
            found = next((entry["logprob"] for entry in ranked if entry["id"] == token), None)
            if found is not None:
                break
        if found is None:
            raise EngineRefused(200, f"the engine's vocabulary has no token {token}")
        loss -= float(found)
        tops.append(ranked)
    return _forced(loss, tops)


def _forced(loss: float, tops: Sequence[Sequence[dict[str, Any]]]) -> Forced:
    favourites = [
        frozenset(int(entry["id"]) for entry in top if top[0]["logprob"] - entry["logprob"] < TIE_NATS)
        for top in tops
    ]
    return Forced(loss, tuple(int(top[0]["id"]) for top in tops), tuple(favourites))
