"""A gRPC service to serve, as a service's definition names it. Importing this does not import gRPC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Servicer:
    """`add` is the generated `add_…Servicer_to_server`, `full_name` as in the proto."""

    add: Callable[[Any, Any], None]
    implementation: Any
    full_name: str
