"""A join that does not end is noticed."""

from __future__ import annotations

import pytest
from kafka.errors import CoordinatorNotAvailableError
from sartor_platform import consumer_client
from sartor_platform.consumer_client import _Membership


def test_a_join_that_never_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the consumer starts over with a new client, and does not poll a dead one for ever."""
    membership = _Membership()
    membership.check()
    membership.joins()
    membership.check()
    monkeypatch.setattr(consumer_client.time, "monotonic", lambda: float("1e12"))
    with pytest.raises(CoordinatorNotAvailableError):
        membership.check()


def test_a_member_may_stay_as_long_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a join has a deadline; losing the partitions begins another."""
    membership = _Membership()
    membership.joins()
    membership.assigned([])
    monkeypatch.setattr(consumer_client.time, "monotonic", lambda: float("1e12"))
    membership.check()
    membership.revoked([])
    membership.check()
    monkeypatch.setattr(consumer_client.time, "monotonic", lambda: float("2e12"))
    with pytest.raises(CoordinatorNotAvailableError):
        membership.check()
