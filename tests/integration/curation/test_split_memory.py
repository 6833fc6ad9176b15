"""Splits for life in the database: what was decided first holds, whoever else decides at the same time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sartor_curation import store
from sartor_platform.database import Database
from sartor_platform.migrations import upgrade

from tests.conftest import Servers

DATASET = "projects/p/datasets/d"


@pytest.fixture(scope="module")
def database(fresh_stack: Servers) -> Iterator[Database]:
    upgrade(fresh_stack.database_url, "sartor_curation")
    database = Database(fresh_stack.database_url, "curation")
    yield database
    database.close()


def remember(database: Database, dataset: str, *decided: tuple[str, str, str, str]) -> bool:
    with database.transaction() as tx:
        return store.remember_splits(tx, dataset, "projects/p/curations/c", iter(decided))


def remembered(database: Database, dataset: str) -> dict[str, tuple[str, str]]:
    with database.read() as connection:
        return {key: (cluster, split) for key, cluster, split in store.read_splits(connection, dataset)}


def test_what_two_decide_alike_is_remembered_once(database: Database) -> None:
    dataset = f"{DATASET}1"
    assert remember(database, dataset, ("a", "c1", "train", ""), ("b", "c2", "test", ""))
    assert remember(database, dataset, ("b", "c2", "test", ""), ("c", "c3", "train", ""))
    assert remembered(database, dataset) == {"a": ("c1", "train"), "b": ("c2", "test"), "c": ("c3", "train")}


def test_who_decides_otherwise_later_must_do_it_again(database: Database) -> None:
    dataset = f"{DATASET}2"
    assert remember(database, dataset, ("a", "c1", "test", ""))
    assert not remember(database, dataset, ("a", "c9", "train", ""))
    assert remembered(database, dataset) == {"a": ("c1", "test")}


def test_a_split_changes_only_for_who_knew_it(database: Database) -> None:
    dataset = f"{DATASET}3"
    assert remember(database, dataset, ("a", "c1", "train", ""), ("b", "c2", "validation", ""))
    assert remember(database, dataset, ("a", "c1", "test", "train"))
    assert not remember(database, dataset, ("a", "c1", "validation", "train"))
    assert remembered(database, dataset)["a"] == ("c1", "test")


def test_datasets_remember_apart(database: Database) -> None:
    assert remember(database, f"{DATASET}4", ("a", "c1", "train", ""))
    assert remember(database, f"{DATASET}5", ("a", "c1", "test", ""))
    assert remembered(database, f"{DATASET}4") == {"a": ("c1", "train")}


def test_many_splits_are_remembered_in_pieces(database: Database) -> None:
    dataset = f"{DATASET}6"
    assert remember(database, dataset, *((f"k{i}", f"c{i}", "train", "") for i in range(12_000)))
    assert len(remembered(database, dataset)) == 12_000
