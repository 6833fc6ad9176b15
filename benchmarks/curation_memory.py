"""A large corpus through every step of the preset `corpus`: peak memory, a kill in between, time by size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.curation_corpus import documents
from benchmarks.results import report

GOAL_MB = 2000
WORKERS = min(2, os.cpu_count() or 1)


def corpus_in_bounded_memory(folder: Path, megabytes: int) -> bool:
    """Measures a tenth of the size, then all of it with a kill after some shards; reports the peak."""
    small = measured(folder / "small", max(megabytes // 10, 10), kill=False)
    large = measured(folder / "large", megabytes, kill=True)
    a_megabyte = [one["seconds"] / one["megabytes"] for one in (small, large)]
    details = {
        "small": small,
        "large": large,
        "seconds_a_megabyte": a_megabyte,
        "goal_is_for_megabytes": 2000,
    }
    print(f"  corpus: {details}")
    return report("corpus_peak_mb", large["peak_mb"], GOAL_MB, "lower", **details)


def measured(folder: Path, megabytes: int, *, kill: bool) -> dict[str, float]:
    """Seconds and peak memory of all processes together, in MB of proportional set size."""
    write(folder / "input", megabytes)
    result: dict[str, float] = {"megabytes": megabytes}
    before = 0.0
    if kill:
        before, _ = run(folder, until=2)
        done = {path: path.stat().st_mtime_ns for path in (folder / "ours/shards/prepared").glob("*.json")}
        result["shards_before_the_kill"] = len(done)
    seconds, peak = run(folder)
    if kill:
        redone = [path for path, made in done.items() if path.stat().st_mtime_ns != made]
        result["shards_redone_after_the_kill"] = len(redone)
    shutil.rmtree(folder)
    return {**result, "seconds": round(before + seconds, 1), "peak_mb": round(peak)}


def write(folder: Path, megabytes: int) -> None:
    """About so many megabytes of JSON lines: 20,000 documents, and again with their sentences in other
    words."""
    folder.mkdir(parents=True)
    size, seed = 0, 0
    with (folder / "0.jsonl").open("w", encoding="utf-8") as lines:
        while size < megabytes << 20:
            seed += 1
            for key, text in documents(20_000, seed):
                size += lines.write(json.dumps({"id": f"{seed}-{key}", "text": text}) + "\n")
                if size >= megabytes << 20:
                    break


def run(folder: Path, until: int | None = None) -> tuple[float, float]:
    """Seconds and peak of a run; `until` so many shards are prepared, then it is killed."""
    command = [sys.executable, "-m", "benchmarks.curation_ours", "corpus", str(folder), str(WORKERS)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    watched, peak = psutil.Process(process.pid), 0.0
    while process.poll() is None:
        peak = max(peak, _proportional_megabytes(watched))
        if until and len(list((folder / "ours/shards/prepared").glob("*.json"))) >= until:
            process.kill()
            process.wait()
            return time.monotonic() - started, peak
        time.sleep(0.25)
    if process.returncode:
        raise RuntimeError(f"curating {folder} failed")
    return time.monotonic() - started, peak


def _proportional_megabytes(parent: psutil.Process) -> float:
    total = 0
    for process in [parent, *_children(parent)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 1e6


def _children(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
