"""The items of a named suite, from the files that were staged for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_evaluation.built_in_suites import BIAS, METRICS, bias_items, leakage_items
from sartor_evaluation.harness.task_files import read_task
from sartor_evaluation.items import Item
from sartor_evaluation.suites import Expectation, curated_items, read_client_items, sample
from sartor_evaluation.variations import varied


@dataclass(frozen=True, slots=True)
class SuiteItems:
    """What is asked, and which metrics are shown (all where none is named)."""

    items: Sequence[Item]
    metrics: tuple[str, ...] = ()


def suite_items(name: str, value: Mapping[str, Any], train: Sequence[Item] = ()) -> SuiteItems:
    """The suite that `worker.stage_in` staged; `train` is what the leakage suite asks.

    Raises:
        UnusableItems: it is empty, or an item cannot be asked.
        BadTaskFile: its task file cannot be run.
    """
    if value.get("builtin"):
        items = bias_items(name) if value["builtin"] == BIAS else leakage_items(train, name)
        metrics = tuple(value["metrics"]) or METRICS[value["builtin"]]
        return SuiteItems(_whole_families(items, value["max_items"]), metrics)
    if value["task"]:
        task = read_task(value["task"], {key: Path(path) for key, path in value["data"].items()}, name)
        metrics = tuple(value["metrics"]) or task.metrics
        return SuiteItems(sample(task.items, value["max_items"]), metrics)
    if value["items"]:
        expected = Expectation(value["pattern"], value["schema"])
        items = read_client_items(Path(value["items"]), name, expected)
    else:
        items = curated_items(Path(value["curated"]), "test", name)
    items = sample(items, value["max_items"])
    if value.get("variations"):
        items = varied(items, value["variations"])
    return SuiteItems(items, tuple(value["metrics"]))


def _whole_families(items: Sequence[Item], most: int) -> list[Item]:
    """About `most` of the items (0: all), families not torn apart."""
    families = {item.family or item.item_id: item for item in items}
    share = max(most * len(families) // max(len(items), 1), 1) if most else 0
    chosen = {item.family or item.item_id for item in sample(list(families.values()), share)}
    return [item for item in items if (item.family or item.item_id) in chosen]
