"""Threads of a training spin for a moment where the processors are theirs, and sleep where they are not."""

import os

import pytest
from sartor_training import waiting_threads


@pytest.mark.parametrize(("idle", "spins"), [(1.0, "3000"), (0.5, "0"), (0.0, "0")])
def test_threads_spin_only_on_an_idle_machine(
    idle: float, spins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(waiting_threads, "_idle_share", lambda: idle)
    waiting_threads.let_threads_wait()
    assert os.environ["GOMP_SPINCOUNT"] == spins


def test_what_an_operator_sets_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "17")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    waiting_threads.let_threads_wait()
    assert os.environ["GOMP_SPINCOUNT"] == "17"
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_the_idle_share_is_a_share() -> None:
    assert 0.0 <= waiting_threads._idle_share() <= 1.0
