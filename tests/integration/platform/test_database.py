"""Reading from the database."""

from __future__ import annotations

from sqlalchemy import text

from tests.integration.platform.conftest import Platform


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
