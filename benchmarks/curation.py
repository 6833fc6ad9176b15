"""Curation against datatrove and text-dedup, and its memory on a corpus: `make bench-curation`.

One run, the same documents, the same cores. The peers get an environment of their own, made here outside the
repository. `python -m benchmarks.curation DOCUMENTS MEGABYTES` chooses other sizes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.curation_corpus import write_jsonl
from benchmarks.curation_memory import corpus_in_bounded_memory
from benchmarks.results import report

DOCUMENTS = 200_000
FILTERED = 50_000
SAMPLE = 10_000
MEGABYTES = 2000
WORKERS = min(2, os.cpu_count() or 1)
PEERS = ("datatrove[io,processing]==0.10.1", "spacy==3.8.18", "text-dedup==0.4.0")
THRESHOLD = 0.8


def main(documents: int = DOCUMENTS, megabytes: int = MEGABYTES) -> int:
    """Measures all; returns the number of goals that were missed."""
    python = peers_environment()
    with tempfile.TemporaryDirectory(prefix="sartor-curation-") as folder:
        met = [
            *near_duplicates(Path(folder) / "near", documents, python),
            *filters(Path(folder) / "filters", min(FILTERED, documents), python),
            *corpus_in_bounded_memory(Path(folder) / "corpus", megabytes),
        ]
    return met.count(False)


def peers_environment() -> Path:
    """The Python of the peers' environment, made at the first call."""
    folder = Path(os.environ.get("SARTOR_BENCH_PEERS", Path(tempfile.gettempdir()) / "sartor-bench-peers"))
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if not ready.exists() or ready.read_text() != "\n".join(PEERS):
        print(f"Making an environment for the peers in {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        ready.write_text("\n".join(PEERS))
    return python


def near_duplicates(folder: Path, documents: int, python: Path) -> list[bool]:
    """Recall and precision on a sample, speed on all documents."""
    quality = near_duplicate_quality(folder.with_name("sample"), min(SAMPLE, documents), python)
    compiling = _compile_seconds(folder.with_name("compiled"))
    _input(folder, documents)
    ours = _seconds(sys.executable, "-m", "benchmarks.curation_ours", "near_duplicates", folder)
    theirs = {
        name: _seconds(python, "benchmarks/curation_peers.py", f"{name}_near_duplicates", folder)
        for name in ("datatrove", "text_dedup")
    }
    shutil.rmtree(folder)
    shown = {
        "documents": documents,
        "ours_seconds": ours,
        "compile_seconds_once_a_machine": compiling,
        "quality": quality,
    }
    goals = {"datatrove": 20.0, "text_dedup": 3.0}
    speed = [
        report(f"near_dup_vs_{name}", seconds / ours, goals[name], "higher", **shown, peer_seconds=seconds)
        for name, seconds in theirs.items()
    ]
    best = {of: max(quality[name][of] for name in theirs) for of in ("recall", "precision")}
    as_good = [
        report(
            f"near_dup_{of}",
            quality["ours"][of],
            peer,
            "higher",
            **{**shown, "documents": min(SAMPLE, documents)},
        )
        for of, peer in best.items()
    ]
    return [*speed, *as_good]


def _compile_seconds(folder: Path) -> float:
    """What the first run on a machine pays for machine code, that later ones find on disk."""
    call = (
        "from sartor_text.minhash import sign_pages; from sartor_text.shingles import *; import numpy as np;"
        "texts = Utf8Texts.of(['a b c d e f']); sign_pages(texts);"
        "word_jaccards(word_shingles(texts), np.zeros((1, 2), dtype=np.int64))"
    )
    seconds: list[float] = []
    for _ in range(2):
        started = time.perf_counter()
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
        subprocess.run([sys.executable, "-c", call], check=True, env=environment)
        seconds.append(time.perf_counter() - started)
    return round(seconds[0] - seconds[1], 1)


def near_duplicate_quality(folder: Path, documents: int, python: Path) -> dict[str, dict[str, float]]:
    """Recall and precision of what each kept, against the exact Jaccard similarity of all pairs."""
    texts = _input(folder, documents)
    _seconds(sys.executable, "-m", "benchmarks.curation_ours", "near_duplicates", folder)
    for name in ("datatrove", "text_dedup"):
        _seconds(python, "benchmarks/curation_peers.py", f"{name}_near_duplicates", folder)
    pairs = exact_pairs(list(texts.values()), THRESHOLD)
    number = {key: place for place, key in enumerate(texts)}
    found = {}
    for name in ("ours", "datatrove", "text_dedup"):
        kept = np.zeros(len(texts), dtype=bool)
        kept[[number[key] for key in (folder / f"{name}.ids").read_text().split("\n")]] = True
        found[name] = _quality(kept, pairs)
    shutil.rmtree(folder)
    print(f"  near duplicates of {documents}: {found}")
    return found


def exact_pairs(texts: Sequence[str], threshold: float) -> np.ndarray:
    """Pairs of texts whose sets of five folded words have at least this Jaccard similarity."""
    from sartor_text.shingles import fold

    rows: list[int] = []
    columns: list[int] = []
    seen: dict[tuple[str, ...], int] = {}
    for row, text in enumerate(texts):
        words = fold(text).split()
        grams = {tuple(words[at : at + 5]) for at in range(max(len(words) - 4, 1))}
        rows += [row] * len(grams)
        columns += [seen.setdefault(gram, len(seen)) for gram in grams]
    ones = np.ones(len(rows), dtype=np.int32)
    matrix = csr_matrix((ones, (rows, columns)), shape=(len(texts), len(seen)))
    both = (matrix @ matrix.T).tocoo()
    sizes = np.bincount(rows, minlength=len(texts))
    above = both.row < both.col
    first, second, shared = both.row[above], both.col[above], both.data[above]
    alike = shared / (sizes[first] + sizes[second] - shared) >= threshold
    return np.stack((first[alike], second[alike]), axis=1)


def _quality(kept: np.ndarray, pairs: np.ndarray) -> dict[str, float]:
    """Recall: of duplicates that had to go, those that went. Precision: of those that went, duplicates.

    A kept document that is like an earlier kept one had to go. A removed one is a duplicate if it is like any
    other.
    """
    has_twin = np.zeros(len(kept), dtype=bool)
    has_twin[pairs.reshape(-1)] = True
    left = len(np.unique(pairs[kept[pairs[:, 0]] & kept[pairs[:, 1]]][:, 1]))
    right, removed = int((~kept & has_twin).sum()), int((~kept).sum())
    return {
        "removed": removed,
        "recall": round(right / max(right + left, 1), 4),
        "precision": round(right / max(removed, 1), 4),
    }


def filters(folder: Path, documents: int, python: Path) -> list[bool]:
    """Gopher's and C4's filters: speed, and how often both decide the same."""
    texts = _input(folder, documents)
    ours = _seconds(sys.executable, "-m", "benchmarks.curation_ours", "filters", folder)
    theirs = _seconds(python, "benchmarks/curation_peers.py", "datatrove_filters", folder)
    kept = [set((folder / f"{name}.ids").read_text().split("\n")) for name in ("ours", "datatrove_filters")]
    same = sum((key in kept[0]) == (key in kept[1]) for key in texts) / len(texts)
    details = {"documents": documents, "ours_seconds": ours, "peer_seconds": theirs, "same_decision": same}
    print(f"  filters of {documents}: {details}")
    shutil.rmtree(folder)
    met = report("filters_vs_datatrove", theirs / ours, 4.0, "higher", **details)
    return [met, report("filters_same_decision", same, 0.999, "higher", **details)]


def _input(folder: Path, documents: int) -> dict[str, str]:
    """Documents in as many files as there are workers, and their texts by id."""
    (folder / "input").mkdir(parents=True)
    whole = write_jsonl(folder / "all.jsonl", documents)
    lines = whole.read_text(encoding="utf-8").splitlines(keepends=True)
    size = -(-len(lines) // WORKERS)
    for worker in range(WORKERS):
        part = lines[worker * size : (worker + 1) * size]
        (folder / "input" / f"{worker}.jsonl").write_text("".join(part), encoding="utf-8")
    whole.unlink()
    return {row["id"]: row["text"] for row in map(json.loads, lines)}


def _seconds(python: str | Path, *arguments: str | Path) -> float:
    started = time.perf_counter()
    command = [str(python), *map(str, arguments), str(WORKERS)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    seconds = float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])
    took = time.perf_counter() - started
    print(f"  {arguments[-2]}: {seconds:.1f} s ({took:.1f} s with imports)", flush=True)
    return seconds


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
