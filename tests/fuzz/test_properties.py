"""Each property of what comes from outside, tried a little; `make fuzz` tries for long."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz.properties import PROPERTIES


@pytest.mark.parametrize("name", PROPERTIES)
def test_outside_bytes_are_parsed_or_refused(name: str) -> None:
    """No crash and no error that is not ours."""
    tried = settings(
        max_examples=60,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    tried(PROPERTIES[name]())()
