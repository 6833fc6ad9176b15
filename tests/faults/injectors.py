"""The faults themselves. `strike` returns whether the fault is known to have struck inside its window."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg

from tests.faults.ledger import DatasetLedger, SentEvent, poison_event
from tests.faults.observer import OURS, Observer
from tests.faults.plan import Fault
from tests.faults.producer import OutsideProducer
from tests.faults.proxy import Proxy
from tests.faults.world import LEASE_SECONDS, STATE_DISK, World

_BEYOND_LEASE_SECONDS = LEASE_SECONDS + 2.0
_POISON = ("unknown_type", "broken_json", "unknown_source")


class Injectors:
    """Strikes one world. `pages` are the datasets of the round, for faults that are messages."""

    def __init__(
        self,
        world: World,
        producer: OutsideProducer,
        observer: Observer,
        pages: list[DatasetLedger],
        rng: random.Random,
    ) -> None:
        self._world = world
        self._producer = producer
        self._observer = observer
        self._pages = pages
        self._rng = rng
        self._poisoned = 0

    def strike(self, fault: Fault) -> bool:
        """Do it now; returns when it is over."""
        kinds: dict[str, Callable[[Fault], bool]] = {
            "kill_process": self._kill,
            "kill_server": self._kill,
            "kill_child": self._kill_child,
            "freeze": self._freeze,
            "cut": self._cut,
            "reset": self._reset,
            "delay": self._delay,
            "half_open": self._half_open,
            "disk_full": self._disk_full,
            "redeliver": self._redeliver,
            "reorder": self._reorder,
            "poison": self._poison,
            "lose_log": self._lose_log,
        }
        return kinds[fault.kind](fault)

    # --- processes ---

    def _kill(self, fault: Fault) -> bool:
        self._alive(fault.target)
        return self._world.kill(fault.target)

    def _kill_child(self, _fault: Fault) -> bool:
        workers = [name for name in self._world.names() if "worker" in name]
        until = time.monotonic() + 8
        while time.monotonic() < until:
            for name in workers:
                for child in self._world.children(name):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                        return True
            time.sleep(0.02)
        return False

    def _freeze(self, fault: Fault) -> bool:
        self._alive(fault.target)
        pid = self._world.freeze(fault.target)
        if pid is None:
            return False
        time.sleep(_BEYOND_LEASE_SECONDS)
        stopped = is_stopped(pid)
        self._world.wake(fault.target)
        return stopped

    def _alive(self, name: str) -> None:
        until = time.monotonic() + 10
        while self._world.pid(name) is None and time.monotonic() < until:
            time.sleep(0.05)

    # --- connections ---

    def _cut(self, fault: Fault) -> bool:
        return self._connected(fault.target).cut(self._rng, 0.5) > 0

    def _reset(self, fault: Fault) -> bool:
        return self._connected(fault.target).reset(self._rng, 0.5) > 0

    def _delay(self, fault: Fault) -> bool:
        proxy = self._connected(fault.target)
        felt = proxy.delay(0.3)
        time.sleep(fault.value)
        proxy.delay(0.0)
        return felt > 0

    def _half_open(self, fault: Fault) -> bool:
        end = self._connected(fault.target).half_open(self._rng, 0.3)
        time.sleep(1.0 + fault.value)
        return end() > 0

    def _connected(self, target: str) -> Proxy:
        """The proxy before this server, once somebody is talking through it."""
        proxy = self._world.proxies[target]
        until = time.monotonic() + 5
        while not proxy.connections and time.monotonic() < until:
            time.sleep(0.005)
        return proxy

    # --- disk ---

    def _disk_full(self, fault: Fault) -> bool:
        """Fill a disk; confirmed if somebody who needed it ran into it."""
        disk = self._world.disks.get(fault.target)
        if disk is None:
            return False
        marks = {log: log.stat().st_size for log in self._world.logs()}
        filler = disk / "filler"
        try:
            self._fill(filler)
            refused = self._database_is_full() if fault.target == STATE_DISK else False
            time.sleep(fault.value)
        finally:
            filler.unlink(missing_ok=True)
        return refused or any("No space left" in _read_from(log, mark) for log, mark in marks.items())

    def _database_is_full(self) -> bool:
        """Whether PostgreSQL refuses what needs more room than it has."""
        url = self._world.platform_settings().database_url
        try:
            with psycopg.connect(url, connect_timeout=5) as connection:
                connection.execute(
                    "CREATE TABLE probe AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)"
                )
                connection.rollback()
        except psycopg.Error as error:
            return isinstance(error, psycopg.errors.DiskFull) or "No space left" in str(error)
        return False

    def _fill(self, path: os.PathLike[str]) -> None:
        block = bytes(1 << 20)
        with open(path, "ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while file.write(block[:size]):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    # --- messages ---

    def _page(self, fault: Fault) -> DatasetLedger:
        return self._pages[int(fault.target) % len(self._pages)]

    def _redeliver(self, fault: Fault) -> bool:
        """Data events of ours and events of the services come again, as they were."""
        page = self._page(fault)
        ours = list(page.events)
        for event in ours:
            self._producer.send(event)
        page.redelivered += len(ours)
        return bool(ours) and self._again(self._rng.sample)

    def _reorder(self, fault: Fault) -> bool:
        """The same, newest first."""
        page = self._page(fault)
        ours = list(page.events)
        for event in reversed(ours):
            self._producer.send(event)
        page.redelivered += len(ours)
        return bool(ours) and self._again(lambda events, count: list(reversed(events[-count:])))

    def _again(self, choose: Callable[[list[SentEvent], int], list[SentEvent]]) -> bool:
        seen = [each for each in self._observer.seen() if each.topic in OURS]
        events = [SentEvent(each.id, each.topic, each.key, each.value, each.headers) for each in seen]
        for event in choose(events, min(6, len(events))):
            self._producer.send(event)
        return True

    def _poison(self, fault: Fault) -> bool:
        page = self._page(fault)
        for kind in _POISON:
            self._poisoned += 1
            event = poison_event(page, len(page.poison) + 1, kind)
            self._producer.send(event)
            page.poison.append(event)
        return True

    # --- the whole log ---

    def _lose_log(self, fault: Fault) -> bool:
        """The broker forgets everything; producers, who were acknowledged, send again what may be lost."""
        struck = self._world.kill(fault.target)
        self._observer.read_anew()
        for page in self._pages:
            for event in list(page.events):
                self._producer.send(event)
        return struck


def _read_from(log: Path, mark: int) -> str:
    with log.open(errors="replace") as file:
        file.seek(mark)
        return file.read()


def is_stopped(pid: int) -> bool:
    """Whether the process is there and does not run."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return False
