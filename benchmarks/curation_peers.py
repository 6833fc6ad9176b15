"""What the benchmarks of curation compare with. Runs in the peers' own environment, not in ours.

    python curation_peers.py datatrove_near_duplicates FOLDER WORKERS
    python curation_peers.py text_dedup_near_duplicates FOLDER WORKERS
    python curation_peers.py datatrove_filters FOLDER WORKERS

FOLDER holds documents in input/*.jsonl. Prints one JSON line: seconds without imports, and where the kept
documents are. Settings are those of our own run: 5-grams of words, 128 permutations, Jaccard 0.8.
"""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def datatrove_near_duplicates(folder: Path, workers: int) -> float:
    """Its four stages as its example has them; 16 buckets of 8 hashes."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    config = MinhashConfig(n_grams=5, num_buckets=16, hashes_per_bucket=8)
    work = folder / "datatrove"
    source = str(folder / "input")

    def run(stage: str, pipeline: list[object], tasks: int) -> None:
        LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=workers, logging_dir=str(work / "logs" / stage)
        ).run()

    signatures, buckets, removed = (str(work / name) for name in ("signatures", "buckets", "removed"))
    started = time.perf_counter()
    run("1", [JsonlReader(source), MinhashDedupSignature(signatures, config=config)], workers)
    run("2", [MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets)
    run("3", [MinhashDedupCluster(buckets, removed, config=config)], 1)
    writer = JsonlWriter(str(work / "kept"), compression=None)
    run("4", [JsonlReader(source), MinhashDedupFilter(removed), writer], workers)
    seconds = time.perf_counter() - started
    _keep(folder / "datatrove.ids", sorted((work / "kept").glob("*.jsonl")))
    return seconds


def text_dedup_near_duplicates(folder: Path, workers: int) -> float:
    """Its command line's MinHash, with the faster of its hash functions."""
    import datasets
    from text_dedup.minhash import main

    arguments = [
        "--path", "json", "--data_files", str(folder / "input" / "*.jsonl"), "--split", "train",
        "--cache_dir", str(folder / "text_dedup" / "cache"), "--output", str(folder / "text_dedup" / "kept"),
        "--column", "text", "--batch_size", "10000", "--ngram", "5", "--num_perm", "128",
        "--threshold", "0.8", "--hash_func", "xxh3", "--num_proc", str(workers),
    ]  # fmt: skip
    started = time.perf_counter()
    main(arguments, standalone_mode=False)
    seconds = time.perf_counter() - started
    kept = datasets.load_from_disk(str(folder / "text_dedup" / "kept"))["id"]
    (folder / "text_dedup.ids").write_text("\n".join(kept))
    return seconds


def datatrove_filters(folder: Path, workers: int) -> float:
    """Gopher's repetition and quality filters and C4's, in this order."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    work = folder / "datatrove_filters"
    pipeline = [
        JsonlReader(str(folder / "input")),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(),
        JsonlWriter(str(work / "kept"), compression=None),
    ]
    started = time.perf_counter()
    LocalPipelineExecutor(
        pipeline=pipeline, tasks=workers, workers=workers, logging_dir=str(work / "logs")
    ).run()
    seconds = time.perf_counter() - started
    _keep(folder / "datatrove_filters.ids", sorted((work / "kept").glob("*.jsonl")))
    return seconds


def _keep(path: Path, files: list[Path]) -> None:
    ids = [json.loads(line)["id"] for file in files for line in file.read_text("utf-8").splitlines()]
    path.write_text("\n".join(ids))


PEERS = {
    one.__name__: one for one in (datatrove_near_duplicates, text_dedup_near_duplicates, datatrove_filters)
}

if __name__ == "__main__":
    print(json.dumps({"seconds": PEERS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))}))
