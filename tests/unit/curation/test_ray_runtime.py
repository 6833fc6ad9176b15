"""Facts about `runtime: ray`: two nodes give what one process gives, and what dies costs only its tasks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sartor_curation.pipeline import Finished, Pipeline
from sartor_curation.ray_runtime import OnRay
from sartor_curation.shards import Executor, Inline
from sartor_curation.tokenizer import TokenCounter
from sartor_datasets.arrow import records_to_batch
from sartor_platform.errors import FailedPrecondition, Unavailable
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.unit.curation.desk import policy
from tests.unit.curation.test_shards import records

_SLOW = ("timed out during startup", "Failed to start GCS", "waiting for node to startup")
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core, on this machine."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    started = Cluster()
    try:
        for _ in range(2):  # the first is the head
            _add_node(started)
        yield started
    finally:
        started.shutdown()


def _add_node(cluster: Any) -> None:
    """A node; Ray gives one up that is not there after 30 s, as happens on a busy machine."""
    for tries_left in (2, 1, 0):
        try:
            cluster.add_node(**NODE)
            return
        except Exception as error:
            if not tries_left or not any(words in str(error) for words in _SLOW):
                raise


def _warm() -> None:
    """Load the work on each node: else one may have done it all while the other starts."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def load() -> None:
        import sartor_curation.shard_work  # noqa: F401

    there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes()]
    ray.get([ray.remote(num_cpus=1, scheduling_strategy=each)(load).remote() for each in there])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that the nodes get with their tasks."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(words.to_str(), encoding="utf-8")
    return path


def curated(folder: Path, tokenizer: Path, executor: Executor) -> Finished:
    everything = records()
    batches = (records_to_batch(everything[start : start + 7]) for start in range(0, len(everything), 7))
    count = TokenCounter(tokenizer)
    return Pipeline(policy(), folder, count, "test", executor=executor, shard_bytes=4000).run(batches)


@dataclass
class NodeDies:
    """A cluster of which one node is killed when the first task is done."""

    ray: OnRay
    cluster: Any

    def run(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        for result in self.ray.run(work, tasks):
            if self.cluster.worker_nodes:
                self.cluster.remove_node(next(iter(self.cluster.worker_nodes)), allow_graceful=False)
            yield result


def outcome(finished: Finished) -> list[object]:
    kept = sorted(str(row) for batch in finished.batches() for row in batch.to_pylist())
    report = finished.report()
    return [kept, list(finished.dropped()), report.splits, report.dropped_by_reason, report.tokens]


def test_two_nodes_give_what_one_process_gives(cluster: Any, tmp_path: Path, tokenizer: Path) -> None:
    """Each node works; nothing that is done is sent again; and what a node does that dies, another does."""
    local = outcome(curated(tmp_path / "local", tokenizer, Inline()))
    with OnRay(cluster.address) as ray:
        _warm()
        assert outcome(curated(tmp_path / "ray", tokenizer, ray)) == local
        assert len(ray.tasks_by_node) == 2
        done = ray.tasks_by_node.total()
        assert done == len(list((tmp_path / "ray").glob("[pr]*ed/*.json")))
        assert outcome(curated(tmp_path / "ray", tokenizer, ray)) == local
        assert ray.tasks_by_node.total() == done
        assert outcome(curated(tmp_path / "node-dies", tokenizer, NodeDies(ray, cluster))) == local


def test_a_cluster_that_is_not_there_is_named() -> None:
    """The job tries again: a cluster may come back."""
    pytest.importorskip("ray")
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9", "anywhere"):
        with pytest.raises(Unavailable, match=address) as failed, OnRay(address):
            pass
        assert failed.value.reason == "RAY_UNREACHABLE"


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """None in the table of modules is what Python takes for one that is not there."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'sartor-curation\[ray\]'") as failed, OnRay():
        pass
    assert failed.value.reason == "RAY_NOT_INSTALLED"


def test_nothing_of_ray_is_imported_where_nobody_asks_for_it() -> None:
    """Neither by the service nor by the work."""
    program = (
        "import sys, sartor_curation.__main__, sartor_curation.curation_job; print('ray' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
