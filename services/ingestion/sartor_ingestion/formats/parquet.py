"""Apache Parquet. pyarrow is imported when a file is read: in the child process of a job only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sartor_ingestion.formats.rows import BadRow, FileUnreadable, Row

BATCH_ROWS = 1024


def read(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a file, BATCH_ROWS in memory at a time. `end` counts rows.

    Raises:
        FileUnreadable: MALFORMED_PARQUET.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                for fields in batch.to_pylist(maps_as_pydicts="lossy"):
                    number += 1
                    yield Row(number, fields, number)
    except (pa.ArrowException, OSError) as error:
        where = f"after row {number}" if number else "from its beginning"
        raise FileUnreadable(
            "MALFORMED_PARQUET", f"the file is not readable as Parquet {where}: {error}"
        ) from error


def count(path: Path) -> int:
    """Rows of a file, by its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise FileUnreadable("MALFORMED_PARQUET", f"the file is not readable as Parquet: {error}") from error
