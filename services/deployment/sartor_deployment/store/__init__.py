"""Deployment's tables and queries, in one place."""

from sartor_deployment.store.endpoints import (
    endpoint,
    endpoints_of,
    live_revisions,
    put_endpoint,
    update_endpoint,
)
from sartor_deployment.store.engines import (
    EngineRow,
    heartbeat,
    put_engine,
    ready_engines,
    remove_engines,
)
from sartor_deployment.store.known import (
    latest_approved,
    model_version,
    put_approval,
    put_base_model,
    put_model_version,
)
from sartor_deployment.store.revisions import (
    engine_wanted,
    insert_revision,
    list_revisions,
    proven_before,
    revision,
    update_revision,
)

__all__ = [
    "EngineRow",
    "endpoint",
    "endpoints_of",
    "engine_wanted",
    "heartbeat",
    "insert_revision",
    "latest_approved",
    "list_revisions",
    "live_revisions",
    "model_version",
    "proven_before",
    "put_approval",
    "put_base_model",
    "put_endpoint",
    "put_engine",
    "put_model_version",
    "ready_engines",
    "remove_engines",
    "revision",
    "update_endpoint",
    "update_revision",
]
