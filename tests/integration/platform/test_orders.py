"""Standing orders and lists on the real database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sartor_platform import listing, orders
from sartor_platform.errors import Aborted, InvalidArgument, NotFound
from sartor_platform.orders import Order
from sqlalchemy import column, select, table

from tests.integration.platform.conftest import Platform


def apply(
    platform: Platform, spec: dict[str, object], generation: int = 0, name: str = "orders/o", **more: str
) -> Order:
    with platform.database.transaction() as tx:
        return orders.apply(tx, name, spec, generation, **more)


def test_an_unchanged_order_keeps_its_revision_and_takes_the_generation(platform: Platform) -> None:
    """A changed one gets a new revision; the old one stays readable as it was."""
    first = apply(platform, {"rank": 8, "b": [1]}, 1)
    same = apply(platform, {"b": [1], "rank": 8}, 2)
    changed = apply(platform, {"rank": 16}, 3)
    assert (first.revision, same.revision, changed.revision) == (1, 1, 2)
    assert (first.generation, same.generation, changed.generation) == (1, 2, 3)
    assert len({first.etag, same.etag, changed.etag}) == 3
    assert changed.created_by == "local"
    with platform.database.read() as connection:
        assert orders.get(connection, "orders/o").spec == {"rank": 16}
        assert orders.get(connection, "orders/o", 1).spec == {"rank": 8, "b": [1]}
        with pytest.raises(NotFound):
            orders.get(connection, "orders/o", 3)
    shown = orders.order_revision(changed)
    assert (shown.revision, shown.generation, shown.etag) == (2, 3, changed.etag)


def test_an_outdated_write_is_refused(platform: Platform) -> None:
    """An old etag or an older generation writes nothing; a direct write keeps the generation."""
    first = apply(platform, {"a": 1}, 5)
    second = apply(platform, {"a": 2}, 0, etag=first.etag)
    assert second.generation == 5
    with pytest.raises(Aborted) as caught:
        apply(platform, {"a": 3}, 6, etag=first.etag)
    assert caught.value.reason == "ETAG_MISMATCH"
    with pytest.raises(Aborted) as caught:
        apply(platform, {"a": 3}, 4)
    assert caught.value.reason == "GENERATION_SUPERSEDED"
    with platform.database.read() as connection:
        assert orders.get(connection, "orders/o").spec == {"a": 2}


def test_equal_orders_applied_at_once_make_one_revision(platform: Platform) -> None:
    """Writers of one order wait for each other."""
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: apply(platform, {"a": 1}, 1), range(8)))
    assert {order.revision for order in results} == {1}
    assert len(platform.rows("SELECT 1 FROM order_revisions")) == 1


def test_a_paused_order_says_so(platform: Platform) -> None:
    """It stays readable, and its etag changes."""
    first = apply(platform, {"a": 1})
    with platform.database.transaction() as tx:
        paused = orders.set_paused(tx, "orders/o", True)
    assert paused.paused
    assert paused.etag != first.etag


def test_pages_show_every_order_once(platform: Platform) -> None:
    """Also when some are added meanwhile; the empty token is the only end; a token fits only its own list."""
    for number in range(7):
        apply(platform, {}, name=f"projects/p/orders/o{number}")
    apply(platform, {}, name="projects/p_/orders/o")
    names, token = [], ""
    with platform.database.read() as connection:
        while True:
            page, token = orders.list_orders(connection, "projects/p/orders/", page_size=3, page_token=token)
            names += [order.name for order in page]
            if not token:
                break
        assert names == [f"projects/p/orders/o{number}" for number in range(7)]
        assert [order.name for order in orders.all_orders(connection, "projects/p/")] == names
        _, token = orders.list_orders(connection, "projects/p/", page_size=3)
        for bad in ("nonsense", token):
            with pytest.raises(InvalidArgument) as caught:
                orders.list_orders(connection, "projects/p_/", page_size=3, page_token=bad)
            assert caught.value.reason == "BAD_PAGE_TOKEN"


def test_pages_run_backwards_over_equal_times(platform: Platform) -> None:
    """Newest first, ordered by time and id."""
    with platform.database.transaction() as tx:
        ids = [tx.enqueue("k", resource=f"r{number}", project="p") for number in range(5)]
    jobs = table("jobs", column("id"), column("create_time"))
    query = select(jobs.c.id, jobs.c.create_time)
    seen, token = [], ""
    with platform.database.read() as connection:
        for _ in range(3):
            rows, token = listing.page(
                connection,
                query,
                order=[jobs.c.create_time, jobs.c.id],
                page_size=2,
                page_token=token,
                descending=True,
            )
            seen += [row.id for row in rows]
    assert seen == sorted(ids, reverse=True)
    assert token == ""


def test_the_time_of_a_transaction_is_the_databases(platform: Platform) -> None:
    """One time for the whole transaction, in UTC."""
    with platform.database.transaction() as tx:
        assert tx.now is tx.now
        assert tx.now.utcoffset() == datetime.now(UTC).utcoffset()
