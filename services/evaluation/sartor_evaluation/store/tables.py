"""Evaluation's own tables, as far as queries are built from them."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

_METADATA = MetaData()

EVALUATIONS = Table(
    "evaluations",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("project", Text),
    Column("gate", Text),
    Column("gate_revision", Integer),
    Column("model_version", Text),
    Column("spec", JSONB),
    Column("inputs", JSONB),
    Column("findings", JSONB),
    Column("objects", JSONB),
    Column("run", Text),
    Column("generation", Integer),
    Column("create_time", DateTime(timezone=True)),
    Column("created_by", Text),
)
ITEM_RESULTS = Table(
    "item_results",
    _METADATA,
    Column("evaluation", Text, primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("suite", Text),
    Column("candidate", Text),
    Column("item_id", Text),
    Column("document", JSONB),
)
FINISHED_ITEMS = Table(
    "finished_items",
    _METADATA,
    Column("number", Integer, primary_key=True),
    Column("evaluation", Text),
    Column("document", JSONB),
)
JOBS = Table("jobs", _METADATA, Column("resource", Text), Column("state", Text))
