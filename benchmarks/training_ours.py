"""Our side of the training benchmark; one measurement a process. Prints one line of JSON."""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.training_rows import LONGEST, STEPS, TOKENS_PER_BATCH, read_rows

HELD_OUT = 40
RANK = 16


def main(name: str, work: Path, *rest: str) -> dict[str, Any]:
    """Measure `name`."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if name == "judge":
        return {"validation_loss": _judged(work, Path(rest[0]))}
    measure: dict[str, Callable[[Path], dict[str, Any]]] = {
        "lora": _lora,
        "matmul": _matmul,
        "dpo": _dpo,
        "head": _head,
        "ablation": _ablation,
        "quote": _quote,
    }
    return measure[name](work)


class _Clock:
    """Clocks after each step."""

    def __init__(self, before: float = 0.0) -> None:
        self._marks: list[tuple[float, float, float]] = []
        self._before = before

    def stepped(
        self, fraction: float, epoch: float, eta_seconds: float, figures: Mapping[str, float]
    ) -> None:
        """Note the time."""
        self._marks.append((figures["tokens"], time.perf_counter(), time.process_time()))

    def checkpointed(self, checkpoint: Any) -> None:
        """Not measured here."""

    def figures(self) -> dict[str, float]:
        """Tokens a second without the first step, which warms up. What came before the steps counts by its
        share."""
        (first, begun, cpu), (last, ended, cpu_ended) = self._marks[0], self._marks[-1]
        tokens = last - first
        seconds = ended - begun + self._before * tokens
        return {
            "tokens_per_second": tokens / seconds,
            "tokens_per_cpu_second": tokens / (cpu_ended - cpu),
            "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def _recipe(**more: Any) -> Any:
    from sartor_training.recipe import Recipe

    return Recipe(
        **{
            "rank": RANK,
            "alpha": 32.0,
            "learning_rate": 2e-4,
            "epochs": 1,
            "tokens_per_batch": TOKENS_PER_BATCH,
            "early_stopping_patience": 0,
            "max_training_tokens": TOKENS_PER_BATCH * (STEPS + 1),
            "warmup_ratio": 0.0,
            **more,
        }
    )


def _chats(work: Path) -> tuple[list[Any], list[Any]]:
    from sartor_models.chat_format import ChatTokens

    rows = [
        ChatTokens(tuple(row["ids"]), tuple(map(bool, row["learned"]))) for row in read_rows(work, "chats")
    ]
    return rows[HELD_OUT:], rows[:HELD_OUT]


def _lora(work: Path) -> dict[str, Any]:
    from sartor_training.methods.method import Sources
    from sartor_training.methods.next_token import NextToken
    from sartor_training.methods.passes import Passes
    from sartor_training.methods.taught_model import taught_model

    recipe = _recipe()
    model, parameters = taught_model(Sources(work / "base", "base", work), recipe, "cpu")
    train, held_out = _chats(work)
    found = _timed(model, parameters, NextToken(model), train, recipe)
    found["validation_loss"] = Passes(model, parameters, NextToken(model)).mean(held_out, 2048)[0]
    return found


def _timed(model: Any, parameters: Any, objective: Any, rows: Sequence[Any], recipe: Any) -> dict[str, Any]:
    from sartor_training.methods.loop import Training

    clock = _Clock()
    Training(model, parameters, objective, rows, [], recipe, clock).run()
    return clock.figures()


def _matmul(work: Path) -> dict[str, Any]:
    """The products of one step with the same shapes and nothing else: forward and the gradient of the input
    of every
    linear layer, and of the output layer on the supervised positions."""
    import torch

    config = json.loads((work / "base" / "config.json").read_text(encoding="utf-8"))
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    train, _ = _chats(work)
    share = sum(row.supervised_count for row in train) / sum(len(row.ids) for row in train)
    tokens, learned = TOKENS_PER_BATCH, int(TOKENS_PER_BATCH * share)
    shapes = [(tokens, width, out) for out in (width, kv, kv, width, inner, inner)] + [(tokens, inner, width)]
    products = [(torch.randn(t, i).bfloat16(), torch.randn(o, i).bfloat16()) for t, i, o in shapes]
    head = torch.randn(learned, width).bfloat16(), torch.randn(config["vocab_size"], width).bfloat16()

    def step() -> None:
        for _ in range(layers):
            for x, weight in products:
                (x @ weight.T) @ weight
        (head[0] @ head[1].T) @ head[1]

    step()
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        step()
    return {
        "tokens_per_second": tokens * STEPS / (time.perf_counter() - begun),
        "tokens_per_cpu_second": tokens * STEPS / (time.process_time() - cpu),
    }


def _dpo(work: Path) -> dict[str, Any]:
    from sartor_models.chat_format import ChatTokens
    from sartor_training.methods.dpo import Preference, PreferenceLoss, _reference
    from sartor_training.methods.dpo import _judged as judged
    from sartor_training.methods.loop import Training
    from sartor_training.methods.method import Sources
    from sartor_training.methods.taught_model import taught_model

    recipe = _recipe(method="dpo", learning_rate=5e-5)
    model, parameters = taught_model(Sources(work / "base", "base", work), recipe, "cpu")
    rows = []
    for pair in read_rows(work, "preferences")[:64]:
        answers = [
            ChatTokens(
                (*pair["prompt"], *pair[name]), (False,) * len(pair["prompt"]) + (True,) * len(pair[name])
            )
            for name in ("chosen", "rejected")
        ]
        rows.append(Preference(answers[0], answers[1]))
    objective = PreferenceLoss(model, 0.1)
    _reference(objective, rows[:8], None)
    begun = time.perf_counter()
    reference = _reference(objective, rows, None)
    seconds = time.perf_counter() - begun
    tokens = sum(objective.length(row) for row in rows)
    clock = _Clock(
        seconds / tokens
    )  # each row's reference is made once, and paid here by the rows of these steps
    Training(model, parameters, objective, judged(rows, reference), [], recipe, clock).run()
    return clock.figures()


def _head(work: Path) -> dict[str, Any]:
    from sartor_models.output_layer import OutputLayer
    from sartor_training.methods.method import Sources
    from sartor_training.methods.output_layer import LabelledRow, OutputLayerLoss
    from sartor_training.methods.taught_model import taught_model

    recipe = _recipe(method="output_layer")
    model, parameters = taught_model(Sources(work / "base", "base", work), recipe, "cpu")
    rows = [LabelledRow(tuple(row["ids"]), (float(row["label"]),)) for row in read_rows(work, "labelled")]
    names = tuple(str(number) for number in range(1 + int(max(row.target[0] for row in rows))))
    layer = OutputLayer("single_label", names, model.config.hidden_size)
    parameters |= {f"output_layer.{name}": parameter for name, parameter in layer.named_parameters()}
    rows *= -(-recipe.max_training_tokens // sum(len(row.ids) for row in rows))
    return _timed(model, parameters, OutputLayerLoss(model, layer), rows, recipe)


def _judged(work: Path, adapter: Path) -> float:
    """Our validation loss of a rival's adapter."""
    from peft import PeftModel
    from sartor_models.load import load_model
    from sartor_training.methods.next_token import NextToken
    from sartor_training.methods.passes import Passes

    model = PeftModel.from_pretrained(load_model(work / "base"), str(adapter)).get_base_model()
    return Passes(model, {}, NextToken(model)).mean(_chats(work)[1], 2048)[0]


def _ablation(work: Path) -> dict[str, Any]:
    """Each choice taken away alone; three steps each."""
    import torch
    from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora
    from sartor_models.load import load_model
    from sartor_training.methods import plan
    from sartor_training.methods.fast_layers import speed_up
    from sartor_training.methods.next_token import NextToken

    train, _ = _chats(work)
    recipe = _recipe(max_training_tokens=TOKENS_PER_BATCH * 3)

    def run(
        dtype: Any = None, fast: bool = True, wide: bool = False, head: bool = True, mixed: bool = False
    ) -> Any:
        model = add_lora(load_model(work / "base", dtype), LoraAdapter(RANK, 32.0), 0)
        parameters = adapter_weights(model)
        if wide:
            for parameter in parameters.values():
                parameter.data = parameter.data.float()
        if fast:
            speed_up(model)
        objective: Any = NextToken(model) if head else _WholeHead(model)
        shuffled: AbstractContextManager[Any] = (
            mock.patch.object(plan, "length_bucketed", _shuffled) if mixed else nullcontext()
        )
        mixer = torch.autocast("cpu", torch.bfloat16) if wide else nullcontext()
        with shuffled, mixer:
            return _timed(model, parameters, objective, train, recipe)

    return {
        "all of it": run(),
        "library's layers": run(fast=False),
        "head on all positions": run(head=False),
        "rows in random batches": run(mixed=True),
        "adapters in float32": run(wide=True, fast=False),
        "everything in float32": run(torch.float32),
    }


class _WholeHead:
    """Scores of every position at once, as libraries make them."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def length(self, row: Any) -> int:
        """Tokens."""
        return len(row.ids)

    def positions(self, row: Any) -> int:
        """Supervised tokens."""
        return sum(row.supervised[1:])

    def loss(self, rows: Sequence[Any]) -> Any:
        """Cross-entropy with labels of -100."""
        import torch
        from sartor_models.batches import padded

        ids, _ = padded([row.ids for row in rows], 0)
        learned, _ = padded([row.supervised for row in rows], 0)
        scores = self.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        labels = ids[:, 1:].masked_fill(~learned[:, 1:].bool(), -100)
        return torch.nn.functional.cross_entropy(scores.transpose(1, 2), labels), {}


def _shuffled(lengths: Sequence[int], tokens_per_batch: int, *, seed: int | None = None) -> list[list[int]]:
    """Batches of rows as they come, each padded to its longest."""
    order = list(range(len(lengths)))
    random.Random(seed).shuffle(order)
    batches: list[list[int]] = [[]]
    for index in order:
        longest = max([lengths[index], *(lengths[other] for other in batches[-1])])
        if batches[-1] and longest * (len(batches[-1]) + 1) > tokens_per_batch:
            batches.append([])
        batches[-1].append(index)
    return batches


def _quote(work: Path) -> dict[str, Any]:
    """What is told before a training and what it then took, each in a process of its own."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        told, took = (pool.apply(_quote_part, (str(work), part)) for part in ("told", "took"))
    return {"told": told, "took": took}


def _quote_part(folder: str, part: str) -> dict[str, float]:
    import torch
    from sartor_training.methods import registry
    from sartor_training.methods.method import Audit, Prepared, Sources
    from sartor_training.methods.next_token import NextToken
    from sartor_training.methods.taught_model import taught_model
    from sartor_training.quoting import quoted

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    work = Path(folder)
    recipe = _recipe(max_training_tokens=TOKENS_PER_BATCH * 16)

    def prepare(sources: Sources, recipe: Any, device: str, cached: Any) -> Prepared:
        model, parameters = taught_model(sources, recipe, device)
        train, held_out = _chats(work)
        audit = Audit(rows=len(train), tokens=1, supervised_tokens=1, cut=0, without_labels=0)
        return Prepared(
            recipe,
            model,
            parameters,
            NextToken(model),
            train,
            held_out,
            (),
            audit,
            lambda weights, folder: {},
        )

    sources = Sources(work / "base", "base", work)
    if part == "told":
        with mock.patch.dict(registry.METHODS, {"sft": prepare}):
            quote = quoted(sources, recipe, "cpu", _Silent())
        return {"seconds": quote["seconds"], "memory_mib": quote["peak_memory_bytes"] / 2**20}
    from sartor_training.methods.loop import Training

    begun = time.perf_counter()
    ready = prepare(sources, recipe, "cpu", {})
    Training(
        ready.model, ready.parameters, ready.objective, ready.train, ready.validation, recipe, _Clock()
    ).run()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - begun, "memory_mib": memory}


class _Silent:
    """Nobody listens to the quote's progress."""

    def __call__(self, fraction: float, **_: Any) -> None:
        """Nothing."""

    def send(self, message: dict[str, Any]) -> None:
        """Nothing."""


if __name__ == "__main__":
    assert LONGEST
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])))
