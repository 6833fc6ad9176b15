"""The tables as SQLAlchemy sees them, for the lists that are paged, and object references as they are kept
in them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

METADATA = MetaData()
_TIME = DateTime(timezone=True)

MODELS = Table(
    "models",
    METADATA,
    Column("name", Text),
    Column("project", Text),
    Column("latest_version", Text),
    Column("create_time", _TIME),
)

TRAINING_JOBS = Table(
    "training_jobs",
    METADATA,
    Column("name", Text),
    Column("project", Text),
    Column("plan", Text),
    Column("plan_revision", Integer),
    Column("curation", Text),
    Column("model", Text),
    Column("base_model", Text),
    Column("recipe", JSONB),
    Column("version", Integer),
    Column("model_version", Text),
    Column("run", Text),
    Column("generation", BigInteger),
    Column("create_time", _TIME),
    Column("created_by", Text),
)

MODEL_VERSIONS = Table(
    "model_versions",
    METADATA,
    Column("name", Text),
    Column("project", Text),
    Column("model", Text),
    Column("training_job", Text),
    Column("manifest", JSONB),
    Column("model_card", JSONB),
    Column("base_model", Text),
    Column("base_model_digest", Text),
    Column("curation", Text),
    Column("metrics", JSONB),
    Column("run", Text),
    Column("create_time", _TIME),
)

TRAINING_STEPS = Table(
    "training_steps",
    METADATA,
    Column("training_job", Text),
    Column("step", BigInteger),
    Column("figures", JSONB),
)

JOBS = Table("jobs", METADATA, Column("resource", Text), Column("state", Text), Column("create_time", _TIME))


def to_column(reference: ObjectReference) -> str:
    """A reference as JSON text, for a jsonb column."""
    return json.dumps(dataclasses.asdict(reference))


def from_column(value: Mapping[str, Any]) -> ObjectReference:
    """The reference of a jsonb column."""
    return ObjectReference(**value)
