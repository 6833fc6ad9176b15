"""What a record, a snapshot and their manifests are. Importing this package imports nothing heavy.

`records` and `manifests` need the standard library alone, so a small server can use them; `arrow`, `parquet`,
`snapshots` and `curated` need pyarrow, so they belong in the child process of a job.
"""
