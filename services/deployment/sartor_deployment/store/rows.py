"""What the parts of the store share: references in columns, and setting columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform.transaction import Transaction
from sqlalchemy import text

from sartor_deployment.resources import State


def dump(reference: ObjectReference) -> str:
    """As a column keeps it."""
    return json.dumps(asdict(reference))


def reference_of(value: Mapping[str, Any] | None) -> ObjectReference | None:
    """From a column."""
    return None if value is None else ObjectReference(**value)


def update(tx: Transaction, table: str, name: str, values: Mapping[str, Any]) -> None:
    """Set columns of the row of this name, and wake who watches it."""
    plain = {
        key: json.dumps(value)
        if isinstance(value, dict | list)
        else value.value
        if isinstance(value, State)
        else value
        for key, value in values.items()
    }
    sets = ", ".join(
        f"{key} = cast(:{key} AS jsonb)" if isinstance(values[key], dict | list) else f"{key} = :{key}"
        for key in plain
    )
    # The table and the columns are written in this package, never taken from outside.
    tx.connection.execute(text(f"UPDATE {table} SET {sets} WHERE name = :name"), {**plain, "name": name})  # noqa: S608
    tx.notify(name)
