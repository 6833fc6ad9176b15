"""Apache Parquet. pyarrow is imported when a file is read: in the child process of a job only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sartor_ingestion.formats.limits import LIMITS, Budget
from sartor_ingestion.formats.rows import BadRow, FileUnreadable, Row

BATCH_ROWS = 128
"""Rows decoded at a time: a value of some megabytes, written once and repeated, takes its size in each."""
MAX_ROWS = 1_000_000_000


def read(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a file, BATCH_ROWS in memory at a time. `end` counts rows.

    Raises:
        FileUnreadable: MALFORMED_PARQUET, DECOMPRESSION_BOMB, FILE_TOO_LARGE.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _check(file.metadata, path.stat().st_size)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                for fields in batch.to_pylist(maps_as_pydicts="lossy"):
                    number += 1
                    yield Row(number, fields, number)
    except (pa.ArrowException, OSError) as error:
        where = f"after row {number}" if number else "from its beginning"
        raise FileUnreadable(
            "MALFORMED_PARQUET", f"the file is not readable as Parquet {where}: {error}"
        ) from error


def _check(metadata: Any, packed_bytes: int) -> None:
    """Refuse a file that is made to unpack to far more than it holds; raises FileUnreadable."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    Budget(LIMITS, packed_bytes).take(sum(group.total_byte_size for group in groups))
    if metadata.num_rows > MAX_ROWS:
        raise FileUnreadable("FILE_TOO_LARGE", f"the file has more than {MAX_ROWS} rows; split it")


def count(path: Path) -> int:
    """Rows of a file, by its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise FileUnreadable("MALFORMED_PARQUET", f"the file is not readable as Parquet: {error}") from error
