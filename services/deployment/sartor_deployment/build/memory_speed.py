"""How fast this machine reads its memory: what tokens a second are scaled by to other machines."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_BYTES = 128 * 2**20
"""More than caches hold."""
_PASSES = 4


def memory_bytes_per_second(threads: int = 0) -> float:
    """Bytes a second that so many threads (0: all cores) read of memory beyond the caches; the best pass."""
    threads = threads or os.cpu_count() or 1
    parts = [np.ones(_BYTES // 8 // threads, np.uint64) for _ in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_PASSES):
            begun = time.perf_counter()
            list(pool.map(np.max, parts))
            best = max(best, sum(part.nbytes for part in parts) / (time.perf_counter() - begun))
    return best
