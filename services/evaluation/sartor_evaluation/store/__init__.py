"""Evaluation's tables and queries, in one place."""

from sartor_evaluation.store.evaluations import (
    add_evaluation,
    find_evaluation,
    finish_evaluation,
    list_evaluations,
    newest_with_findings,
)
from sartor_evaluation.store.items import (
    add_finished,
    finished_after,
    forget_finished,
    item_results_of,
    list_item_results,
)
from sartor_evaluation.store.runners import (
    beat,
    living_runners,
)
from sartor_evaluation.store.upstream import (
    find_base_model,
    find_curation,
    find_live_version,
    find_model_version,
    known,
    put_base_model,
    put_curation,
    put_live_version,
    put_model_version,
)

__all__ = [
    "add_evaluation",
    "add_finished",
    "beat",
    "find_base_model",
    "find_curation",
    "find_evaluation",
    "find_live_version",
    "find_model_version",
    "finish_evaluation",
    "finished_after",
    "forget_finished",
    "item_results_of",
    "known",
    "list_evaluations",
    "list_item_results",
    "living_runners",
    "newest_with_findings",
    "put_base_model",
    "put_curation",
    "put_live_version",
    "put_model_version",
]
