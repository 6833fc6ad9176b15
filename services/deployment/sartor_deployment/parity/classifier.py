"""The parity check of a version that says labels or numbers: the served engine against what the gate saw."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sartor_datasets.reference_outputs import ReferenceOutput
from sartor_platform.errors import FailedPrecondition
from sartor_platform.worker import Report

from sartor_deployment.targets.engine_api import EngineApi

_AT_ONCE = 32
_LEAST_SHARE = 1e-6
_SEPARATOR = "|"
_RELATIVE = 1e-2


def check_classifier(
    task: Mapping[str, Any], references: Sequence[ReferenceOutput], report: Report
) -> dict[str, Any]:
    """As check.check: agreement is the share of texts on which both say the same.

    Of a single label the loss is that of what the evaluated model said, on both sides.
    """
    if not references:
        raise FailedPrecondition("the gate's reference outputs are empty", reason="REFERENCES_MALFORMED")
    items = sorted(references, key=lambda item: hashlib.sha256(item.item_id.encode()).digest())
    engine, until = EngineApi(task["url"]), time.monotonic() + task["budget_seconds"]
    same = done = 0
    reference_loss = served_loss = 0.0
    for first in range(0, len(items), _AT_ONCE):
        batch = items[first : first + _AT_ONCE]
        texts = [str(item.messages[-1]["content"]) for item in batch]
        for item, said in zip(batch, engine.classify(texts), strict=True):
            same += _same(item.answer, said)
            reference_loss += item.answer_loss_sum
            served_loss += _loss(item, said)
        done += len(batch)
        report(done / len(items), stage="classifications", items=done)
        if time.monotonic() > until:
            break
    share = same / done
    gap = abs(served_loss - reference_loss) / done
    parity = {
        "passed": gap <= task["loss_margin"] and share >= task["top1_agreement"],
        "reference_loss": reference_loss / done,
        "served_loss": served_loss / done,
        "top1_agreement": share,
        "tokens": done,
        "items": done,
    }
    return {"parity": parity, "smoke": []}


def _same(answer: str, said: Mapping[str, Any]) -> bool:
    if "value" in said:
        return math.isclose(float(answer), float(said["value"]), rel_tol=_RELATIVE, abs_tol=_RELATIVE)
    given = {part for part in answer.split(_SEPARATOR) if part}
    return given == set(said["labels"]) or (
        not said["labels"] and len(given) == 1 and answer not in said["probabilities"]
    )


def _loss(item: ReferenceOutput, said: Mapping[str, Any]) -> float:
    if not item.answer_loss_sum or "value" in said:
        return 0.0
    return -math.log(max(said["probabilities"].get(item.answer, 0.0), _LEAST_SHARE))
