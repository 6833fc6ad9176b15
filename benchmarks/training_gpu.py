"""Training on a CUDA device: tokens a second and FLOP utilisation of a 1B-class Llama shape, with LoRA and
in full, beside what dense bf16 products reach, and beside TRL with Liger kernels. Says so and ends well where
there is no such device."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import report

GOAL = 0.45
TOKENS_PER_BATCH = 16_384
LENGTH = 2048
STEPS = 12
PARAMETERS = 1_000_000_000


def main() -> int:
    """Measure on the first CUDA device."""
    import torch

    if not torch.cuda.is_available():
        print("There is no CUDA device here, so nothing was measured.")
        return 0
    print(f"device: {torch.cuda.get_device_name()}")
    dense = _dense_products()
    for adapter, operations in (("lora", 4), ("full", 6)):
        with tempfile.TemporaryDirectory(prefix="sartor-gpu-") as folder:
            work = Path(folder)
            run = measure(adapter, "cuda", PARAMETERS, TOKENS_PER_BATCH, LENGTH, STEPS, work)
            torch.cuda.empty_cache()
            peer = _peer(adapter, work)
        ratio = run["tokens_per_second"] / peer["tokens_per_second"]
        report(f"gpu_{adapter}_vs_trl_liger", ratio, 1.0, "higher", ours=run, peer=peer)
        reached = operations * run["parameters"] * run["tokens_per_second"]
        told = f"{run['tokens_per_second']:.0f} tokens/s, {run['memory_gib']:.1f} GiB"
        print(f"  {adapter}: {told}, {reached / 1e12:.0f} of {dense / 1e12:.0f} TFLOP/s")
        report(f"gpu_{adapter}_utilisation", reached / dense, GOAL, "higher", **run, dense_flops=dense)
    return 0


def _peer(adapter: str, work: Path) -> dict[str, float]:
    from benchmarks.training import peers

    command = [str(peers("liger-kernel==0.8.5")), "-m", "benchmarks.training_gpu_peer", adapter, str(work)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    run: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    print(
        f"  TRL with Liger, {adapter}: {run['tokens_per_second']:.0f} tokens/s, {run['memory_gib']:.1f} GiB"
    )
    return run


def measure(
    adapter: str, device: str, parameters: int, tokens_per_batch: int, length: int, steps: int, work: Path
) -> dict[str, float]:
    """The service's own loop on random tokens in full rows. Leaves model and rows in `work` for the peer."""
    import torch
    from sartor_models.chat_format import ChatTokens
    from sartor_models.new_model import shape_of_size, write_new_model
    from sartor_training.methods.loop import Training
    from sartor_training.methods.method import Sources
    from sartor_training.methods.next_token import NextToken
    from sartor_training.methods.taught_model import taught_model
    from sartor_training.recipe import Recipe

    chance = random.Random(0)
    base = work / "base"
    shape = write_new_model(
        base, shape_of_size(parameters, vocabulary=512, context=length), _words(chance), seed=0
    )
    recipe = Recipe(
        adapter=adapter,
        rank=16,
        epochs=1,
        tokens_per_batch=tokens_per_batch,
        max_length=length,
        early_stopping_patience=0,
    )
    model, taught = taught_model(Sources(base, "base", base), recipe, device)
    count = steps * max(1, tokens_per_batch // length)
    rows = []
    for _ in range(count):
        ids = tuple(chance.randrange(shape.vocabulary) for _ in range(length))
        rows.append(ChatTokens(ids, (True,) * length))
    per_batch = max(1, tokens_per_batch // length)
    asked = {"rows_per_batch": per_batch, "steps": steps, "length": length}
    (work / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    (work / "rows.json").write_text(json.dumps([row.ids for row in rows]), encoding="utf-8")
    clock = _Clock()
    Training(model, taught, NextToken(model), rows, [], recipe, clock).run()
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return {
        "tokens_per_second": clock.tokens_per_second(),
        "parameters": shape.parameters,
        "memory_gib": memory,
    }


def _words(chance: random.Random) -> list[str]:
    return [" ".join(f"word{chance.randrange(500)}" for _ in range(400)) for _ in range(20)]


def _dense_products(size: int = 8192, rounds: int = 20) -> float:
    """Floating-point operations a second of square bf16 products."""
    import torch

    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    a @ b
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(rounds):
        a @ b
    torch.cuda.synchronize()
    return 2 * size**3 * rounds / (time.perf_counter() - begun)


class _Clock:
    """Clocks after each step; the first two warm up."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []

    def stepped(
        self, fraction: float, epoch: float, eta_seconds: float, figures: Mapping[str, float]
    ) -> None:
        """The loss was read before, so the device is done."""
        self._marks.append((figures["tokens"], time.perf_counter()))

    def checkpointed(self, checkpoint: Any) -> None:
        """Not measured here."""

    def tokens_per_second(self) -> float:
        """Without the first two steps."""
        (first, begun), (last, ended) = self._marks[1], self._marks[-1]
        return (last - first) / (ended - begun)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    raise SystemExit(main())
