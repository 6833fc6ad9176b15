"""The filter grammar."""

from __future__ import annotations

import pytest
from sartor_platform.errors import InvalidArgument
from sartor_platform.listing import parse_filter


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ("  ", {}),
        ('run = "01h"', {"run": "01h"}),
        ("state=FAILED", {"state": "FAILED"}),
        ('run = "a b" AND state = FAILED', {"run": "a b", "state": "FAILED"}),
        (r'run = "say \"x\" AND y"', {"run": 'say "x" AND y'}),
        ('run = ""', {"run": ""}),
    ],
)
def test_a_filter_names_the_wanted_values(text: str, wanted: dict[str, str]) -> None:
    """Values may be quoted or bare."""
    assert parse_filter(text, ("run", "state")) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "run",
        "run =",
        'run = "open',
        "other = 1",
        "run = a state = b",
        "run = a AND",
        "run = a AND run = b",
        "AND",
    ],
)
def test_another_filter_is_refused(text: str) -> None:
    """With the fault and the field `filter`."""
    with pytest.raises(InvalidArgument) as caught:
        parse_filter(text, ("run", "state"))
    assert caught.value.reason == "BAD_FILTER"
    assert caught.value.violations[0].field == "filter"
