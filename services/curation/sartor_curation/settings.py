"""The settings of curation: the only reader of its environment."""

from __future__ import annotations

from dataclasses import dataclass

from sartor_platform.settings import PlatformSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationSettings(PlatformSettings):
    """What curation needs to know: so far nothing beyond the platform's settings."""
