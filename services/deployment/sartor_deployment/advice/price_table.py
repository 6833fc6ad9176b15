"""The price table: machines one can have, as a JSON file that people edit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib import resources
from typing import Any

from sartor_platform.errors import InvalidArgument

CLASSES = ("ANYWHERE", "REGIONAL", "OWN_MACHINES", "DEVICE")
"""Where data may be processed, each stricter than the one before."""
_TARGETS = ("cloud", "onprem", "edge")
_ENGINES = ("vllm", "llama.cpp")


@dataclass(frozen=True, slots=True)
class Machine:
    """One kind of machine. `data_class` is the strictest class of data it may process."""

    name: str
    target: str
    data_class: str
    offline: bool
    engines: tuple[str, ...]
    memory_gb: float
    memory_gb_per_second: float
    tflops: float
    price_per_month: float
    accelerator: str = ""
    """What computes beside the CPU, as people call it; empty where nothing does."""


def read_price_table(text: str = "") -> tuple[Machine, ...]:
    """The machines of a table, or of the one that comes with this release.

    Raises:
        InvalidArgument: BAD_PRICE_TABLE, with the machine and the key.
    """
    text = text or _own_table()
    try:
        machines = json.loads(text)["machines"]
    except (ValueError, KeyError, TypeError) as error:
        raise _bad(f"it is no JSON object with `machines`: {error}") from error
    if not isinstance(machines, list) or not machines:
        raise _bad("its `machines` is no list with a machine in it")
    return tuple(_machine(number, each) for number, each in enumerate(machines))


def currency(text: str = "") -> str:
    """The currency that a readable table names, or ""."""
    return str(json.loads(text or _own_table()).get("currency", ""))


def _own_table() -> str:
    return resources.files(__package__).joinpath("price_table.json").read_text(encoding="utf-8")


def _machine(number: int, given: Any) -> Machine:
    where = f"machine {given.get('name', number)!r}" if isinstance(given, dict) else f"machine {number}"
    try:
        keys = ("memory_gb", "memory_gb_per_second", "tflops", "price_per_month")
        memory, bandwidth, operations, price = (float(given[key]) for key in keys)
        machine = Machine(
            str(given["name"]),
            str(given["target"]),
            str(given["data_class"]),
            bool(given["offline"]),
            tuple(given["engines"]),
            memory,
            bandwidth,
            operations,
            price,
            str(given.get("accelerator", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(f"{where} lacks or breaks {error}") from error
    numbers = (machine.memory_gb, machine.memory_gb_per_second, machine.tflops)
    if machine.target not in _TARGETS or machine.data_class not in CLASSES:
        raise _bad(f"{where}: target is one of {', '.join(_TARGETS)}; data_class of {', '.join(CLASSES)}")
    if not machine.engines or set(machine.engines) - set(_ENGINES):
        raise _bad(f"{where}: engines are {', '.join(_ENGINES)}")
    if not all(0 < each < math.inf for each in numbers) or not 0 <= machine.price_per_month < math.inf:
        raise _bad(f"{where}: its figures must be above 0")
    return machine


def _bad(message: str) -> InvalidArgument:
    return InvalidArgument(f"the price table cannot be used: {message}", reason="BAD_PRICE_TABLE")
