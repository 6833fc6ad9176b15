"""The items of a named suite, from the files that were staged for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_evaluation.harness.task_files import read_task
from sartor_evaluation.items import Item
from sartor_evaluation.suites import Expectation, curated_items, read_client_items, sample


@dataclass(frozen=True, slots=True)
class SuiteItems:
    """What is asked, and which metrics are shown (all where none is named)."""

    items: Sequence[Item]
    metrics: tuple[str, ...] = ()


def suite_items(name: str, value: Mapping[str, Any]) -> SuiteItems:
    """The suite that `worker.stage_in` staged.

    Raises:
        UnusableItems: it is empty, or an item cannot be asked.
        BadTaskFile: its task file cannot be run.
    """
    if value["task"]:
        task = read_task(value["task"], {key: Path(path) for key, path in value["data"].items()}, name)
        metrics = tuple(value["metrics"]) or task.metrics
        return SuiteItems(sample(task.items, value["max_items"]), metrics)
    if value["items"]:
        expected = Expectation(value["pattern"], value["schema"])
        items = read_client_items(Path(value["items"]), name, expected)
    else:
        items = curated_items(Path(value["curated"]), "test", name)
    return SuiteItems(sample(items, value["max_items"]), tuple(value["metrics"]))
