"""One side of the evaluation benchmark, in a process of its own: `ours` or `rival`, a model's folder, a task.

Prints one JSON line: seconds for the items by the wall clock and the processor's, with the model loaded and
warm, the peak memory in MB, and what was measured, item by item. `rival` runs in an environment that has
lm_eval, and imports nothing of Sartor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peak import peak_mib

DTYPE = "bfloat16"
WARM = 1
BATCH = 8


def main(side: str, model: str, task: str) -> int:
    """Warms up on two items, then measures all."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.chdir(Path(task).parent)
    clocks, items = _ours(Path(model), Path(task)) if side == "ours" else _rival(model, Path(task))
    found = {"seconds": clocks[0], "cpu_seconds": clocks[1], "megabytes": peak_mib(), "items": items}
    print("SIDE " + json.dumps(found), flush=True)
    return 0


def _ours(model: Path, task: Path) -> tuple[tuple[float, float], dict[str, Any]]:
    import torch
    from sartor_evaluation.asking import Asker
    from sartor_evaluation.harness.task_files import read_task
    from sartor_evaluation.prompts import ZERO_SHOT, ExampleBook
    from sartor_models.load import load_model, load_tokenizer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    loaded = load_model(model, getattr(torch, DTYPE))
    asker = Asker(lambda: loaded, load_tokenizer(model), ExampleBook(()))
    read = read_task(task.read_text("utf-8"), {path.name: path for path in task.parent.iterdir()}, "bench")
    asker.outcomes(read.items[:WARM], ZERO_SHOT)
    started, before = time.perf_counter(), time.process_time()
    outcomes = asker.outcomes(read.items, ZERO_SHOT)
    clocks = (time.perf_counter() - started, time.process_time() - before)
    found: dict[str, Any] = {}
    for outcome in outcomes:
        losses = outcome.choice_losses or (outcome.loss_sum,)
        said = outcome.answer if outcome.answer is not None else [-loss for loss in losses]
        found[outcome.item.item_id.rpartition("/")[2]] = said
    return clocks, found


def _rival(model: str, task: Path) -> tuple[tuple[float, float], dict[str, Any]]:
    import torch
    from lm_eval import simple_evaluate  # type: ignore[import-not-found]
    from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found]
    from lm_eval.tasks import TaskManager  # type: ignore[import-not-found]

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    loaded = HFLM(pretrained=model, dtype=DTYPE, batch_size=BATCH, device="cpu")
    manager = TaskManager(include_path=str(task.parent), include_defaults=False)
    name = f"bench_{task.stem}"

    def run(limit: int | None) -> Any:
        return simple_evaluate(
            model=loaded, tasks=[name], task_manager=manager, limit=limit, log_samples=True, bootstrap_iters=0
        )

    run(WARM)
    started, before = time.perf_counter(), time.process_time()
    found = run(None)
    clocks = (time.perf_counter() - started, time.process_time() - before)
    items = {}
    for sample in found["samples"][name]:
        said = [one[0] for one in sample["resps"]]
        plain = [one[0] if isinstance(one, tuple | list) else one for one in said]
        items[str(sample["doc_id"])] = (
            plain[0] if isinstance(plain[0], str) else [float(one) for one in plain]
        )
    return clocks, items


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:4]))
