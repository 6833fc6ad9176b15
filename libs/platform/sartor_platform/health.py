"""Whether a process can do its work: not draining, not stuck, and its servers not away for long.

Each server is asked in a thread of its own, because a question to one that is frozen may never return. A
short absence is not told: what waits goes on by itself, and nobody should send its calls elsewhere for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from sartor_platform import log
from sartor_platform.database import Database
from sartor_platform.topics import Topics, topic_of
from sartor_platform.watchdog import Watchdog

_ASK_SECONDS = 2.0
_LOOK_SECONDS = 0.25
_FRESH_SECONDS = 0.5


class Health:
    """Asks from `start` on. `fault` says what is wrong; `on_change` is told when it begins and ends."""

    def __init__(
        self, questions: Mapping[str, Callable[[], None]], watchdog: Watchdog, patience: float
    ) -> None:
        """`questions` raise where the server of that name does not answer; `patience` in seconds."""
        self._questions = questions
        self._watchdog = watchdog
        self._patience = patience
        self._answered = dict.fromkeys(questions, time.monotonic())
        self._draining = False
        self._stopping = threading.Event()
        self._listener: Callable[[bool], None] = lambda _serving: None

    def start(self, on_change: Callable[[bool], None] = lambda _serving: None) -> None:
        """Begin to ask."""
        self._listener = on_change
        for name, ask in self._questions.items():
            self._thread(f"health-{name}", self._ask, name, ask)
        self._thread("health", self._look)

    def drain(self) -> None:
        """The process was told to stop."""
        self._draining = True
        self._listener(False)

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()

    def fault(self) -> str | None:
        """What is wrong in words, or None."""
        if self._draining:
            return "draining"
        if stuck := self.stuck():
            return stuck
        now = time.monotonic()
        away = {name: now - at for name, at in self._answered.items() if now - at > self._patience}
        if away:
            return "; ".join(f"the {name} has not answered for {since:.0f} s" for name, since in away.items())
        return None

    def stuck(self) -> str | None:
        """Whether a loop stands still, which a restart would mend."""
        stuck = self._watchdog.stuck()
        return f"no progress: {', '.join(stuck)}" if stuck else None

    def _thread(self, name: str, target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, name=name, daemon=True).start()

    def _ask(self, name: str, ask: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                ask()
                self._answered[name] = time.monotonic()
            except Exception as error:  # noqa: BLE001 - any failure is an answer that did not come
                log.get().debug("health.no_answer", server=name, error=log.brief(error))
            self._stopping.wait(min(_ASK_SECONDS, self._patience / 4))

    def _look(self) -> None:
        told: str | None = None
        asleep = time.monotonic()
        while not self._stopping.wait(_LOOK_SECONDS):
            now = time.monotonic()
            if now - asleep > self._patience / 2:  # we were stopped ourselves: ask before judging
                self._answered = dict.fromkeys(self._answered, now)
            asleep = now
            fault = self.fault()
            if (fault is None) != (told is None) and not self._draining:
                log.get().warning("health.changed", serving=fault is None, fault=fault)
                self._listener(fault is None)
            told = fault


def database_answers(database: Database) -> Callable[[], None]:
    """The question whether the database answers."""

    def ask() -> None:
        with database.read() as connection:
            connection.exec_driver_sql("SELECT 1")

    return ask


def broker_answers(topics: Topics, service: str) -> Callable[[], None]:
    """The question whether the broker answers: what others have heard of it just now counts too."""

    def ask() -> None:
        if time.monotonic() - topics.answered_at > _FRESH_SECONDS:
            topics.ids([topic_of(service)])

    return ask
