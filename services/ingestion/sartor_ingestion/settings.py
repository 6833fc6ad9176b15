"""The settings of ingestion: the only reader of its environment."""

from __future__ import annotations

from dataclasses import dataclass

from sartor_platform.settings import PlatformSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionSettings(PlatformSettings):
    """What ingestion needs to know beyond the platform's settings."""

    upload_limit_bytes: int = 10_737_418_240
    allowed_object_prefixes: str = ""
    """Outside of our bucket, objects are read only under these, such as `s3://landing/,s3://lake/raw/`; empty
    allows every prefix that a source's standing order names."""
    prefix_limit_bytes: int = 10_737_418_240
    """Most bytes that one import of a prefix stages."""
    preview_retention_seconds: float = 86_400.0
    """How long a preview is kept, and the file that was uploaded for it."""
    upload_grace_seconds: float = 86_400.0
    """How long an upload may take. What is left of one that began longer ago is removed."""
    rejected_retention_seconds: float = 90 * 86_400.0
    """How long rejected rows are kept: their excerpts may show personal data."""
