"""The settings of ingestion: the only reader of its environment."""

from __future__ import annotations

from dataclasses import dataclass

from sartor_platform.settings import PlatformSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionSettings(PlatformSettings):
    """What ingestion needs to know beyond the platform's settings."""

    upload_limit_bytes: int = 10_737_418_240
    rejected_retention_seconds: float = 90 * 86_400.0
    """How long rejected rows are kept: their excerpts may show personal data."""
