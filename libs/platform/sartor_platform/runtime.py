"""What the parts of a running service are given: settings, database, objects and watchers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sartor_platform.database import Database
from sartor_platform.objects import ObjectStore
from sartor_platform.watch import Watchers


@dataclass(frozen=True, slots=True)
class Runtime:
    """One process of one service. `settings` is of the class the service's definition names."""

    settings: Any
    database: Database
    objects: ObjectStore
    watchers: Watchers
    name: str
