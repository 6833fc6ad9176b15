"""The names of the suites that hold what answers cost: "cost_8" at eight clients at the same time. Pure."""

import re
from collections.abc import Iterable

_NAME = re.compile(r"cost_([1-9][0-9]?)")


def cost_suite(clients: int) -> str:
    """The suite of so many clients."""
    return f"cost_{clients}"


def clients_of(suite: str) -> int | None:
    """How many clients a suite is about; None for another suite."""
    found = _NAME.fullmatch(suite)
    return None if found is None else int(found.group(1))


def clients_in(suites: Iterable[str]) -> list[int]:
    """The numbers of clients that suites are about."""
    return sorted({count for suite in suites if (count := clients_of(suite)) is not None})
