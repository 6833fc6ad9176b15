"""What `sartor loop status` and `sartor keys list` tell somebody who did not write the project file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from sartor.deployment.v1 import api_key_pb2, endpoint_pb2, loop_pb2
from sartor_cli import loop
from sartor_cli.keys import key_state

ENDPOINT = "projects/desk/endpoints/support"


def test_a_loop_says_what_begins_it_and_what_it_may_spend(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside what waits and what was spent: else nobody knows how far off the next one is."""
    ordered = endpoint_pb2.Loop(
        on_drift=True,
        min_corrections=50,
        every=Duration(seconds=86_400),
        budget=endpoint_pb2.LoopBudget(
            runs=4, training_time=Duration(seconds=7200), period=Duration(seconds=604_800)
        ),
    )
    status = loop_pb2.LoopStatus(name=ENDPOINT, configured=True, waiting_corrections=12, runs_used=1)
    loop._show(status, ordered)
    shown = " ".join(capsys.readouterr().out.split())
    assert "when questions, answers or feedback drift, after 50 corrected answers, every 1d" in shown
    assert "Waiting: 12 corrected answers" in shown
    assert "1 of 4 adaptations" in shown
    assert "records," not in loop._causes(ordered)


def test_a_key_that_has_expired_is_not_good() -> None:
    """The gateway refuses it; the list says so."""
    key = api_key_pb2.ApiKey()
    assert key_state(key) == "good"
    for days, state in ((1, "good until"), (-1, "expired")):
        key.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=days))
        assert key_state(key).startswith(state)
    key.revoke_time.GetCurrentTime()
    assert key_state(key) == "revoked"
