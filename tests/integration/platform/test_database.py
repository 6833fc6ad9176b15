"""Reading from the database."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest
from sartor_local.ports import free_port
from sartor_platform import listen, patient_connection
from sartor_platform.database import Database, is_transient, take_time
from sartor_platform.listen import Listener
from sartor_platform.patient_connection import PatientConnection
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from tests.faults.proxy import Proxy, ProxyLoop
from tests.integration.platform.conftest import Platform, until


def test_what_is_read_in_one_block_is_of_one_moment(platform: Platform) -> None:
    """A job that succeeds between two queries of a call is not shown beside a resource of before."""
    count = text("SELECT count(*) FROM jobs")
    with platform.database.read() as connection:
        before = connection.execute(count).scalar_one()
        with platform.database.transaction() as tx:
            tx.enqueue("double", resource="projects/p/things/t", project="p")
        assert connection.execute(count).scalar_one() == before
    with platform.database.read() as connection:
        assert connection.execute(count).scalar_one() == before + 1


@pytest.fixture
def proxy(platform: Platform) -> Iterator[tuple[Proxy, Database]]:
    """A way to the same schema through a proxy that can fall silent."""
    url = make_url(platform.settings.database_url)
    loop, port = ProxyLoop(), free_port()
    through = Database(
        url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False), platform.service
    )
    try:
        yield Proxy(loop, port, url.port or 5432), through
    finally:
        through.close()
        loop.stop()


def silence(proxy: Proxy) -> None:
    """Nothing comes through on the connections there are; new ones work."""
    proxy.half_open(random.Random(0), 1.0)


def test_a_pooled_connection_whose_server_fell_silent_is_replaced(
    proxy: tuple[Proxy, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_connection, "PROMPT_SECONDS", 0.5)
    between, database = proxy
    with database.read() as connection:
        before = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    silence(between)
    with database.read() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != before


def test_an_answer_that_does_not_come_is_a_transient_fault(
    proxy: tuple[Proxy, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    between, database = proxy
    with database.read():
        pass
    monkeypatch.setattr(PatientConnection, "answer_seconds", 0.5)
    with database.read() as connection:
        silence(between)
        with pytest.raises(OperationalError, match=r"has not answered for 0\.5 s") as caught:
            connection.execute(text("SELECT 1"))
    assert is_transient(caught.value)


def test_a_transaction_may_take_its_time(
    proxy: tuple[Proxy, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, database = proxy
    with database.read():
        pass  # connected: what that asks is not tried here
    monkeypatch.setattr(PatientConnection, "answer_seconds", 1.0)
    with database.read() as connection:
        take_time(connection)
        connection.execute(text("SELECT pg_sleep(2)"))
    with database.read() as connection, pytest.raises(OperationalError, match="has not answered"):
        connection.execute(text("SELECT pg_sleep(60)"))


def test_a_listener_whose_server_fell_silent_listens_anew(
    platform: Platform, proxy: tuple[Proxy, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_connection, "PROMPT_SECONDS", 0.5)
    monkeypatch.setattr(listen, "PING_SECONDS", 0.5)
    between, database = proxy
    listener, looked, heard = Listener(database), threading.Event(), threading.Event()
    listener.subscribe("jobs", lambda detail: heard.set() if detail == "here" else looked.set())
    listener.start()
    try:
        assert until(looked.is_set)
        looked.clear()
        silence(between)
        assert until(looked.is_set), "it tells its subscribers to look themselves"

        def told() -> bool:  # again: it may be between two connections
            with platform.database.transaction() as tx:
                tx.connection.execute(
                    text("SELECT pg_notify(:channel, 'jobs:here')"), {"channel": database.channel}
                )
            return heard.wait(1)

        assert until(told)
    finally:
        listener.stop()
