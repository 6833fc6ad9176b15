"""The parity check: the served engine against the evaluated model, on answers both are forced to give.

Loss and top-1 agreement are taken over the same tokens. Two models that compute in another precision can rank
tokens of equal rank differently; so a lead of less than `TIE_NATS` counts as a tie, and a tie as agreement.
The share without this allowance is shown among the job's figures. Runs in a job's child, or as a library.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sartor_datasets.reference_outputs import (
    Agreement,
    MalformedReferenceOutputs,
    ReferenceOutput,
    agreement,
    read_reference_outputs,
)
from sartor_platform.errors import FailedPrecondition
from sartor_platform.worker import Report

from sartor_deployment.parity.classifier import check_classifier
from sartor_deployment.parity.forced import Forced, force
from sartor_deployment.parity.smoke import ask_smoke_prompts
from sartor_deployment.parity.speed import served_speed
from sartor_deployment.targets.engine_api import EngineApi, EngineRefused

LEAST_TOKENS = 200
"""Below this many tokens a share of 0.97 says little: the time budget does not count."""


def check(task: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Measure and compare with the bounds.

    Task: references (path), url, context_length, slots, threads, max_tokens, budget_seconds, loss_margin,
        top1_agreement, smoke_prompts.
    Returns:
        {"parity": what was measured, "smoke": the answers to the smoke prompts}.

    Raises:
        FailedPrecondition: REFERENCES_MALFORMED, CONTEXT_TOO_SHORT, TOKENIZATION_DIFFERS, ENGINE_REFUSED.
    """
    try:
        _, references = read_reference_outputs(Path(task["references"]))
    except MalformedReferenceOutputs as error:
        raise FailedPrecondition(str(error), reason="REFERENCES_MALFORMED") from error
    if task.get("classifier"):
        return check_classifier(task, references, report)
    chosen = choose(references, task["max_tokens"], task["context_length"])
    engine = EngineApi(task["url"])
    report(0.02, stage="tokenization", items=len(chosen))
    compare_tokenization(engine, chosen)
    started = time.monotonic()
    until = started + task["budget_seconds"]
    measured = measure(engine, chosen, slots=task["slots"], until=until, report=report)
    loss_gap = abs(measured.served_loss - measured.reference_loss)
    parity = {
        "passed": loss_gap <= task["loss_margin"] and measured.top1_agreement >= task["top1_agreement"],
        "reference_loss": measured.reference_loss,
        "served_loss": measured.served_loss,
        "top1_agreement": measured.top1_agreement,
        "tokens": measured.tokens,
        "items": measured.items,
    }
    if not parity["passed"]:
        return {"parity": parity, "smoke": []}
    parity |= asdict(served_speed(task["url"], chosen, task["threads"]))
    return {"parity": parity, "smoke": ask_smoke_prompts(engine, task.get("smoke_prompts", ()))}


def choose(
    references: Sequence[ReferenceOutput], max_tokens: int, context_length: int
) -> list[ReferenceOutput]:
    """Whole items of at most `max_tokens` answer tokens, in an order only their ids decide.

    Raises:
        FailedPrecondition: CONTEXT_TOO_SHORT: no item fits the engine's context.
    """
    fitting = [
        item
        for item in references
        if len(item.prompt_token_ids) + len(item.answer_token_ids) < context_length
    ]
    if not fitting:
        raise FailedPrecondition(
            f"none of {len(references)} reference items fits the engine's context of {context_length} tokens;"
            " raise engine.context_length of the endpoint",
            reason="CONTEXT_TOO_SHORT",
        )
    chosen: list[ReferenceOutput] = []
    tokens = 0
    for item in sorted(fitting, key=lambda item: hashlib.sha256(item.item_id.encode()).digest()):
        if chosen and tokens + len(item.answer_token_ids) > max_tokens:
            break
        chosen.append(item)
        tokens += len(item.answer_token_ids)
    return chosen


def compare_tokenization(engine: EngineApi, items: Sequence[ReferenceOutput]) -> None:
    """Whether the engine's chat template and tokenizer give the tokens that the evaluated model read.

    Raises:
        FailedPrecondition: TOKENIZATION_DIFFERS, with the first difference.
    """
    for item in items:
        try:
            served = engine.tokenize(engine.prompt_text(item.messages))
        except EngineRefused as error:
            raise FailedPrecondition(
                f"the engine's chat template refuses item {item.item_id}: {error}",
                reason="TOKENIZATION_DIFFERS",
            ) from error
        expected = list(item.prompt_token_ids)
        if served != expected:
            at = next(
                (i for i, (a, b) in enumerate(zip(served, expected, strict=False)) if a != b), len(expected)
            )
            raise FailedPrecondition(
                f"the engine reads other tokens than the evaluated model: item {item.item_id}, position {at}:"
                f" {served[at : at + 4]} instead of {expected[at : at + 4]} ({len(served)} and"
                f" {len(expected)} tokens); its chat template or tokenizer was not converted faithfully",
                reason="TOKENIZATION_DIFFERS",
                metadata={"item": item.item_id, "position": str(at)},
            )


def measure(
    engine: EngineApi, items: Sequence[ReferenceOutput], *, slots: int, until: float, report: Report
) -> Agreement:
    """Force the answers, `slots` at a time, until all are done or the time is up."""
    served: dict[str, Forced] = {}
    total = sum(len(item.answer_token_ids) for item in items)
    tokens = 0
    started = time.monotonic()
    with ThreadPoolExecutor(slots) as pool:
        for first in range(0, len(items), slots):
            batch = items[first : first + slots]
            for item, forced in zip(batch, pool.map(lambda item: _force(engine, item), batch), strict=True):
                served[item.item_id] = forced
                tokens += len(item.answer_token_ids)
            rate = tokens / max(time.monotonic() - started, 1e-6)
            report(
                0.05 + 0.95 * tokens / total,
                stage="forced answers",
                eta_seconds=min((total - tokens) / rate, max(until - time.monotonic(), 0.0)),
                tokens=tokens,
                tokens_per_second=rate,
            )
            if time.monotonic() > until and tokens >= LEAST_TOKENS:
                break
    done = [item for item in items if item.item_id in served]
    losses = {name: forced.loss_sum for name, forced in served.items()}
    strict = agreement(done, {name: forced.top1 for name, forced in served.items()}, losses)
    tied = agreement(done, {item.item_id: _preferred(item, served[item.item_id]) for item in done}, losses)
    report(
        1.0, stage="forced answers", top1_agreement=tied.top1_agreement, without_ties=strict.top1_agreement
    )
    return tied


def _preferred(item: ReferenceOutput, served: Forced) -> list[int]:
    """The engine's favourites; where it sees a tie with the reference's favourite, that one."""
    return [
        theirs if theirs in favourites else ours
        for theirs, ours, favourites in zip(item.top1_token_ids, served.top1, served.favourites, strict=True)
    ]


def _force(engine: EngineApi, item: ReferenceOutput) -> Forced:
    try:
        return force(engine, item.prompt_token_ids, item.answer_token_ids)
    except EngineRefused as error:
        raise FailedPrecondition(
            f"the engine refuses item {item.item_id}: {error}",
            reason="ENGINE_REFUSED",
            metadata={"item": item.item_id},
        ) from error
