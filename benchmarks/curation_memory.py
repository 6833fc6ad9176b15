"""A large corpus through every step of the preset `corpus`: peak memory, a kill in between, time by size."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil

from benchmarks.curation_corpus import documents
from benchmarks.results import report

GOAL_MB = 2000
LINEAR = 1.25
"""A megabyte of the whole corpus may take so many times what one of a twentieth takes."""
WORKERS = min(2, os.cpu_count() or 1)
_AT_ONCE = 20_000


def corpus_in_bounded_memory(folder: Path, megabytes: int) -> list[bool]:
    """Measures 10 MB, a twentieth and all of the corpus, the latter with a kill after some shards.

    Reports the peak, whether time is linear, and the shards that were made again.
    """
    sizes = sorted({min(10, megabytes), min(max(megabytes // 20, 10), megabytes), megabytes})
    runs = [measured(folder / str(size), size, kill=size == megabytes) for size in sizes]
    a_megabyte = [round(one["seconds"] / one["megabytes"], 4) for one in runs]
    details = {"runs": runs, "seconds_a_megabyte": a_megabyte, "goal_is_for_megabytes": 2000}
    whole = runs[-1]
    part = a_megabyte[-2] if len(runs) > 1 else a_megabyte[-1]
    return [
        report("corpus_peak_mb", whole["peak_mb"], GOAL_MB, "lower", **details),
        report("corpus_seconds_linear", a_megabyte[-1] / part, LINEAR, "lower", **details),
        report("corpus_shards_redone", whole["shards_redone_after_the_kill"], 0, "lower", **details),
    ]


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
    result |= {"seconds": round(before + seconds, 1), "peak_mb": round(peak)}
    print(f"  corpus: {result}", flush=True)
    return result


def write(folder: Path, megabytes: int) -> None:
    """About so many megabytes of JSON lines: 20,000 documents, and again with their sentences in other
    words. As many processes write as will read."""
    folder.mkdir(parents=True)
    size, first = 0, 1
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        while size < megabytes << 20:
            seeds = range(first, first + WORKERS)
            most = -(-((megabytes << 20) - size) // WORKERS)
            size += sum(pool.imap_unordered(partial(_write, folder, most), seeds))
            first += WORKERS


def _write(folder: Path, most: int, seed: int) -> int:
    """One file of 20,000 documents, or of as many as have so many bytes; gives the bytes."""
    size = 0
    with (folder / f"{seed:05d}.jsonl").open("w", encoding="utf-8") as lines:
        for key, text in documents(_AT_ONCE, seed):
            size += lines.write(json.dumps({"id": f"{seed}-{key}", "text": text}) + "\n")
            if size >= most:
                break
    return size


def run(folder: Path, until: int | None = None) -> tuple[float, float]:
    """Seconds and peak of a run; `until` so many shards are prepared, then it is killed."""
    command = [sys.executable, "-m", "benchmarks.curation_ours", "corpus", str(folder), str(WORKERS)]
    started = time.monotonic()
    # One that is killed leaves a warning of its semaphores behind, which says nothing.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if until else None
    )
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
