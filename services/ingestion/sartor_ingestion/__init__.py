"""Ingestion: rows come in by upload and by data event, and become records, segments and snapshots."""
