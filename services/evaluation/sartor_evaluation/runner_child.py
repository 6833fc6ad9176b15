"""A resident runner: one model, loaded once, that answers a few items at a time. A process of its own,
started
by runner_process.py: requests are JSON lines on standard input, answers JSON lines on standard output.

Requests that came while the model was busy are asked together, in the order they came.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

_MOST_ITEMS_AT_ONCE = 64


def main() -> None:
    """Load the model that the first line describes, say so, and answer until standard input ends."""
    from sartor_evaluation.resident import resident_bytes

    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    task = json.loads(sys.stdin.readline())
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in job.py
    try:
        asker = _load(task)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        reason = getattr(error, "reason", "MODEL_NOT_LOADED")
        out.write(json.dumps({"loaded": False, "reason": reason, "message": str(error)}) + "\n")
        return
    out.write(json.dumps({"loaded": True, "bytes": resident_bytes()}) + "\n")
    waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_read, args=(waiting,), daemon=True).start()
    while batch := _next(waiting):
        for answer in _answers(asker, batch):
            out.write(json.dumps(answer) + "\n")


def _load(task: Mapping[str, Any]) -> Any:
    import torch
    from sartor_models.classifier import load_classifier
    from sartor_models.load import load_model, load_tokenizer
    from sartor_models.merge import merge_into
    from sartor_models.versions import is_adapter, is_classifier, model_folder

    from sartor_evaluation.asking import Asker
    from sartor_evaluation.classifying import Classifies
    from sartor_evaluation.prompts import ExampleBook
    from sartor_evaluation.run import ModelFiles

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    files = ModelFiles(task["name"], Path(task["base"]), Path(task["version"]) if task["version"] else None)
    if files.version is not None and is_classifier(files.version):
        classifier = load_classifier(files.base, files.version)
        return Classifies(lambda: classifier, {})
    place = model_folder(files.base, files.version, Path(task["folder"]) / "full")
    model = load_model(place)
    if files.version is not None and is_adapter(files.version):
        merge_into(model, files.version)
    return Asker(lambda: model, load_tokenizer(place), ExampleBook(()))


def _read(waiting: "queue.Queue[dict[str, Any] | None]") -> None:
    for line in sys.stdin:
        waiting.put(json.loads(line))
    waiting.put(None)


def _next(waiting: "queue.Queue[dict[str, Any] | None]") -> list[dict[str, Any]]:
    """The oldest requests, as many as are asked at once; empty at the end."""
    first = waiting.get()
    if first is None:
        return []
    batch, items = [first], len(first["items"])
    while items < _MOST_ITEMS_AT_ONCE:
        try:
            more = waiting.get_nowait()
        except queue.Empty:
            break
        if more is None:
            waiting.put(None)
            break
        batch.append(more)
        items += len(more["items"])
    return batch


def _answers(asker: Any, batch: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One answer a request. Requests whose deadline is over are not asked; one that cannot be asked does not
    spoil the others.
    """
    late = [one for one in batch if one["until"] <= time.monotonic()]
    timely = [one for one in batch if one["until"] > time.monotonic()]
    found = [{"id": one["id"], "reason": "DEADLINE_EXCEEDED", "message": _LATE} for one in late]
    try:
        return found + _asked(asker, timely)
    except Exception as error:  # noqa: BLE001 - told to whoever asked
        if len(timely) > 1:
            return found + [answer for one in timely for answer in _answers(asker, [one])]
        reason = getattr(error, "reason", "UNUSABLE_ITEMS")
        return found + [{"id": one["id"], "reason": reason, "message": str(error)} for one in timely]


_LATE = "the model was busy with requests that came before; give a longer deadline, or ask CreateEvaluation"


def _asked(asker: Any, batch: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    from sartor_evaluation.asking import too_long
    from sartor_evaluation.classifying import Classifies
    from sartor_evaluation.items import HELD_OUT
    from sartor_evaluation.prompts import ZERO_SHOT
    from sartor_evaluation.results import row_of
    from sartor_evaluation.suites import UnusableItems, client_items

    items, owners = [], []
    says_labels = isinstance(asker, Classifies)
    for place, request in enumerate(batch):
        asked = client_items(request["items"])
        for item in asker.labelled(asked) if says_labels else asked:
            if not says_labels and too_long(asker, item):
                raise UnusableItems(f"item {item.item_id} is longer than the model's context; shorten it")
            items.append(replace(item, item_id=f"{place}/{item.item_id}"))
            owners.append(place)
    started = time.perf_counter()
    outcomes = asker.outcomes(items, ZERO_SHOT) if items else []
    seconds = time.perf_counter() - started
    rows: list[list[dict[str, Any]]] = [[] for _ in batch]
    for owner, outcome in zip(owners, outcomes, strict=True):
        row = row_of(HELD_OUT, batch[owner]["candidate"], outcome)
        row["item_id"] = row["item_id"].partition("/")[2]
        rows[owner].append({name: row[name] for name in _SHOWN})
    return [
        {"id": request["id"], "rows": found, "seconds": seconds}
        for request, found in zip(batch, rows, strict=True)
    ]


_SHOWN = (
    "suite",
    "item_id",
    "candidate",
    "prompt",
    "reference",
    "answer",
    "metrics",
    "slices",
    "failure",
    "score",
)


if __name__ == "__main__":
    main()
