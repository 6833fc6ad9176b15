"""All kinds of resources that `sartor get` knows, by the names people may give them."""

from __future__ import annotations

from sartor_cli import kinds_of_data, kinds_of_models

KINDS = (*kinds_of_data.KINDS, *kinds_of_models.KINDS)

ALIASES = {
    "project": "projects",
    "source": "sources",
    "dataset": "datasets",
    "snapshot": "snapshots",
    "import": "imports",
    "policy": "policies",
    "curation": "curations",
    "base-model": "base-models",
    "plan": "plans",
    "job": "jobs",
    "training-jobs": "jobs",
    "trainingJobs": "jobs",
    "model": "models",
    "version": "versions",
    "gate": "gates",
    "evaluation": "evaluations",
    "endpoint": "endpoints",
    "revision": "revisions",
}
