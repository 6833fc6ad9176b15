"""Our side of the training benchmark; one measurement a process. Prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.training_ablation import ablation
from benchmarks.training_jobs import jobs
from benchmarks.training_rows import STEPS, TOKENS_PER_BATCH, read_rows
from benchmarks.training_timing import Clock, chats, lora_recipe, timed


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
        "ablation": ablation,
        "jobs": jobs,
    }
    return measure[name](work)


def _lora(work: Path) -> dict[str, Any]:
    from sartor_training.methods.method import Sources
    from sartor_training.methods.next_token import NextToken
    from sartor_training.methods.passes import Passes
    from sartor_training.methods.taught_model import taught_model

    recipe = lora_recipe()
    model, parameters = taught_model(Sources(work / "base", "base", work), recipe, "cpu")
    train, held_out = chats(work)
    found = timed(model, parameters, NextToken(model), train, recipe)
    found["validation_loss"] = Passes(model, parameters, NextToken(model)).mean(held_out, 2048)[0]
    return found


def _matmul(work: Path) -> dict[str, Any]:
    """The products of one step with the same shapes and nothing else: forward and the gradient of the input
    of every
    linear layer, and of the output layer on the supervised positions."""
    import torch

    config = json.loads((work / "base" / "config.json").read_text(encoding="utf-8"))
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    train, _ = chats(work)
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

    recipe = lora_recipe(method="dpo", learning_rate=5e-5)
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
    clock = Clock(
        seconds / tokens
    )  # each row's reference is made once, and paid here by the rows of these steps
    Training(model, parameters, objective, judged(rows, reference), [], recipe, clock).run()
    return clock.figures()


def _head(work: Path) -> dict[str, Any]:
    from sartor_models.output_layer import OutputLayer
    from sartor_training.methods.method import Sources
    from sartor_training.methods.output_layer import LabelledRow, OutputLayerLoss
    from sartor_training.methods.taught_model import taught_model

    recipe = lora_recipe(method="output_layer")
    model, parameters = taught_model(Sources(work / "base", "base", work), recipe, "cpu")
    rows = [LabelledRow(tuple(row["ids"]), (float(row["label"]),)) for row in read_rows(work, "labelled")]
    names = tuple(str(number) for number in range(1 + int(max(row.target[0] for row in rows))))
    layer = OutputLayer("single_label", names, model.config.hidden_size)
    parameters |= {f"output_layer.{name}": parameter for name, parameter in layer.named_parameters()}
    rows *= -(-recipe.max_training_tokens // sum(len(row.ids) for row in rows))
    return timed(model, parameters, OutputLayerLoss(model, layer), rows, recipe)


def _judged(work: Path, adapter: Path) -> float:
    """Our validation loss of a rival's adapter."""
    from peft import PeftModel
    from sartor_models.load import load_model
    from sartor_training.methods.next_token import NextToken
    from sartor_training.methods.passes import Passes

    model = PeftModel.from_pretrained(load_model(work / "base"), str(adapter)).get_base_model()
    return Passes(model, {}, NextToken(model)).mean(chats(work)[1], 2048)[0]


if __name__ == "__main__":
    from sartor_training.waiting_threads import let_threads_wait

    let_threads_wait()  # as a worker's child does
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])))
