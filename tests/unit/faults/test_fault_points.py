"""Fault points are inert unless armed; armed, one process takes an order and says so before it obeys."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sartor_platform import fault_points
from sartor_platform.errors import Unavailable

from tests.faults.points import Points


@pytest.fixture
def points(tmp_path: Path) -> Iterator[Points]:
    """A folder, and this process armed with it as `ingestion-server`."""
    made = Points(tmp_path / "points")
    fault_points.arm(str(made.folder), "ingestion-server")
    yield made
    fault_points.arm("", "")


def test_without_a_folder_nothing_happens(tmp_path: Path) -> None:
    """A real installation has no folder: points pass and every guard is on."""
    Points(tmp_path / "points").order("before_commit", "any", "fail")
    fault_points.arm("", "ingestion-server")
    fault_points.at("before_commit")
    assert not any(fault_points.switched_off(guard) for guard in fault_points.GUARDS)


def test_an_order_is_obeyed_once_and_confirmed(points: Points) -> None:
    """The second time the point is passed."""
    order = points.order("before_commit", "ingestion-server", "fail")
    with pytest.raises(Unavailable):
        fault_points.at("before_commit")
    fault_points.at("before_commit")
    confirmed = points.confirmation(order)
    assert confirmed is not None
    assert (confirmed.point, confirmed.process) == ("before_commit", "ingestion-server")


def test_orders_for_others_are_left_to_them(points: Points) -> None:
    """Another process, another point, a later attempt than the order is for, or an order taken back."""
    orders = [
        points.order("before_commit", "curation-server", "fail"),
        points.order("before_publish", "any", "fail"),
        points.order("before_commit", "any", "fail", attempt_below=3),
    ]
    taken_back = points.order("before_commit", "any", "fail")
    points.withdraw(taken_back)
    fault_points.at("before_commit", attempt=3)
    assert [points.confirmation(order) for order in [*orders, taken_back]] == [None] * 4


def test_a_process_that_kills_itself_has_said_where(tmp_path: Path) -> None:
    """The confirmation is on disk before the signal."""
    points = Points(tmp_path / "points")
    order = points.order("after_publish_before_mark", "any", "kill")
    code = (
        "from sartor_platform import fault_points\n"
        f"fault_points.arm({str(points.folder)!r}, 'training-server')\n"
        "fault_points.at('after_publish_before_mark')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    confirmed = points.confirmation(order)
    assert confirmed is not None
    assert confirmed.action == "kill"


def test_a_guard_is_off_while_the_harness_says_so(points: Points) -> None:
    """And on again afterwards."""
    points.switch_off("inbox")
    assert fault_points.switched_off("inbox")
    assert not fault_points.switched_off("lease_fence")
    points.switch_on("inbox")
    assert not fault_points.switched_off("inbox")
