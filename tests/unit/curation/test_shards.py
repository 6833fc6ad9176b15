"""Facts about shards: however many, and whoever works on them, the outcome is the same; done stays done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pytest
from sartor_curation.pipeline import Finished, Pipeline
from sartor_curation.shards import Executor, Inline, Processes
from sartor_datasets.arrow import records_to_batch
from sartor_datasets.records import Record

from tests.unit.curation.desk import TOPICS, chat, count_words, desk, policy
from tests.unit.curation.test_splits import many

Task = TypeVar("Task")
Result = TypeVar("Result")


class Killed(Exception):
    """Stands for a kill between two shards."""


class UntilKilled:
    """Runs so many tasks, then is killed."""

    def __init__(self, tasks: int) -> None:
        self.left = tasks

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        for task in tasks:
            if not self.left:
                raise Killed
            self.left -= 1
            yield work(task)


def records() -> list[Record]:
    faulty = [
        chat("empty", "What is this?", " "),
        chat("copy", TOPICS[0][0].rstrip("?"), TOPICS[0][1].rstrip(".") + "!"),
        chat("far", "Où est ma commande depuis deux semaines ?", "Elle arrivera demain matin chez vous."),
        chat("mail", "Who answers eva.kern@example.de these days?", "The team for partners does."),
    ]
    return [*desk(), *many(), *faulty]


def curated(folder: Path, executor: Executor, shard_bytes: int = 4000) -> Finished:
    pipeline = Pipeline(policy(), folder, count_words, "test", executor=executor, shard_bytes=shard_bytes)
    return pipeline.run(_batches())


def _batches() -> Iterator[pa.RecordBatch]:
    everything = records()
    for start in range(0, len(everything), 7):
        yield records_to_batch(everything[start : start + 7])


def outcome(finished: Finished) -> tuple[list[object], list[object], object]:
    kept: list[object] = [row for batch in finished.batches() for row in batch.to_pylist()]
    report = finished.report()
    return kept, list(finished.dropped()), (report.dropped_by_reason, report.changed_by_kind, report.splits)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], list[object], object]:
    return outcome(curated(tmp_path_factory.mktemp("whole"), Inline(), 1 << 30))


def test_many_shards_give_what_one_gives(tmp_path: Path, whole: object) -> None:
    finished = curated(tmp_path, Inline())
    assert len(finished.notes) > 3
    assert outcome(finished) == whole


def test_a_batch_larger_than_a_shard_is_cut(tmp_path: Path, whole: object) -> None:
    pipeline = Pipeline(policy(), tmp_path, count_words, "test", shard_bytes=4000)
    finished = pipeline.run([records_to_batch(records())])
    assert len(finished.notes) > 3
    assert outcome(finished) == whole


def test_processes_give_what_one_gives(tmp_path: Path, whole: object) -> None:
    assert outcome(curated(tmp_path / "once", Processes(2))) == whole
    with Processes(2) as kept:
        assert outcome(curated(tmp_path / "kept", kept)) == whole


@pytest.mark.parametrize("tasks", [2, 8])
def test_after_a_kill_no_finished_shard_is_made_again(tmp_path: Path, whole: object, tasks: int) -> None:
    with pytest.raises(Killed):
        curated(tmp_path, UntilKilled(tasks))
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.json")}
    assert len(done) >= tasks
    assert outcome(curated(tmp_path, Inline())) == whole
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_another_policy_makes_shards_anew(tmp_path: Path) -> None:
    curated(tmp_path, Inline())
    before = (tmp_path / "prepared" / "00000.json").stat().st_mtime_ns
    other = policy(languages=("fr",))
    Pipeline(other, tmp_path, count_words, "test", shard_bytes=4000).run(_batches())
    assert (tmp_path / "prepared" / "00000.json").stat().st_mtime_ns > before
