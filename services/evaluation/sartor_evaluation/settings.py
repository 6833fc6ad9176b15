"""The settings of evaluation: the only reader of its environment."""

from __future__ import annotations

from dataclasses import dataclass

from sartor_platform.settings import PlatformSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings(PlatformSettings):
    """What evaluation needs to know beyond the platform's settings."""

    listed_item_results: int = 50_000
    """Item results of one evaluation that can be listed by gRPC, the worst first; the Parquet file has all.
    """
