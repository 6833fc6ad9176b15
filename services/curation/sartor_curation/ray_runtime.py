"""Runs the tasks of shards on a Ray cluster: files travel with the tasks, so nodes need no common disk."""

from __future__ import annotations

import os
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sartor_platform.errors import FailedPrecondition, SartorError, Unavailable

from sartor_curation.shard_work import Prepare, Render
from sartor_curation.shards import Workspace
from sartor_curation.tokenizer import TokenCounter

_STAGES = {Prepare: ("input", "prepared"), Render: ("prepared", "rendered")}
_ATTEMPTS = 3
_KNOCK_SECONDS = 10.0
_AT_ONCE = 2
"""Tasks under way for each core of the cluster: one that is worked on, one whose shard is on its way."""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_Files = dict[str, bytes]


@dataclass(slots=True)
class OnRay:
    """An executor for tasks of `shard_work`; a context that is connected to the cluster.

    A shard goes to a node as a value and its results come back as one; only then they are written here, the
    note last. So a node, or this process, that dies leaves whole shards or none. Tasks of a node that died
    run again on another.

    Args:
        address: as `ray.init` takes it: "ray://host:10001" from outside of the cluster, "host:6379" on one
            of its nodes; empty starts Ray on this machine for as long as the context lasts.
    """

    address: str = ""
    tasks_by_node: Counter[str] = field(default_factory=Counter)
    """How many tasks each node did, by its id."""

    def __enter__(self) -> OnRay:
        ray = _ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports its use to its makers otherwise
        start: dict[str, Any] = {} if self.address else {"include_dashboard": False}
        try:
            if self.address:
                _knock(self.address)
            ray.init(self.address or "local", log_to_driver=False, logging_level="ERROR", **start)
        except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            raise _unreachable(self.address, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        _ray().shutdown()

    def run(self, work: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[_Result]:
        """The results of the tasks, in the order in which they are done."""
        ray = _ray()
        waiting: dict[Any, _Task] = {}
        left = iter([task for task in tasks if not _is_done(task)])
        yield from (work(task) for task in tasks if _is_done(task))  # finds its note, and gives the result
        remote = ray.remote(num_cpus=1, max_retries=_ATTEMPTS)(on_node)
        most = max(1, int(ray.cluster_resources().get("CPU", 1))) * _AT_ONCE
        try:
            while True:
                while len(waiting) < most and (task := next(left, None)) is not None:
                    waiting[remote.remote(work, *_packed(task))] = task
                if not waiting:
                    return
                done, _ = ray.wait(list(waiting))
                for reference in done:
                    node, files, result = _got(ray, reference)
                    self.tasks_by_node[node] += 1
                    _unpack(waiting.pop(reference), files)
                    yield result
        finally:
            for reference in waiting:
                with suppress(Exception):  # what is cancelled may be done, or its node gone
                    ray.cancel(reference, force=True)


def on_node(
    work: Callable[[_Task], _Result], task: Any, files: _Files, tokenizer: bytes | None
) -> tuple[str, _Files, _Result]:
    """Do a task in a folder of this node; its id, the files that came of it, and the result."""
    import ray

    stage_in, stage_out = _STAGES[type(task)]
    with tempfile.TemporaryDirectory(prefix="sartor-shard-") as name:
        folder = Path(name)
        for stage in (stage_in, stage_out):
            (folder / stage).mkdir()
        for file, content in files.items():
            (folder / stage_in / file).write_bytes(content)
        task = replace(task, folder=folder)
        if tokenizer is not None:
            path = folder / "tokenizer.json"
            path.write_bytes(tokenizer)
            task = replace(task, count_tokens=TokenCounter(path))
        result = work(task)
        made = {path.name: path.read_bytes() for path in (folder / stage_out).iterdir()}
    return ray.get_runtime_context().get_node_id(), made, result


def _packed(task: Any) -> tuple[Any, _Files, bytes | None]:
    """A task with the files that it reads, and its tokenizer's."""
    stage, _ = _STAGES[type(task)]
    files = {path.name: path.read_bytes() for path in (task.folder / stage).glob(f"{task.number:05d}.arrow")}
    count = getattr(task, "count_tokens", None)
    return task, files, count.path.read_bytes() if isinstance(count, TokenCounter) else None


def _unpack(task: Any, files: _Files) -> None:
    """Write what came of a task, its note last and whole."""
    folder = task.folder / _STAGES[type(task)][1]
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name.endswith(".json")):
        partial = folder / f"{name}.partial"
        partial.write_bytes(files[name])
        partial.replace(folder / name)


def _is_done(task: Any) -> bool:
    stage = _STAGES[type(task)][1]
    return Workspace(task.folder).note(stage, task.number, task.fingerprint) is not None


def _got(ray: Any, reference: Any) -> Any:
    """What a task gave; its own error where it failed."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, ModuleNotFoundError | ImportError):
            raise FailedPrecondition(
                f"a node of the Ray cluster cannot run curation ({cause}): give its nodes the same image or "
                "packages as the worker of curation",
                reason="RAY_NODE_NOT_PREPARED",
                metadata={"missing": str(getattr(cause, "name", "") or "")},
            ) from error
        raise cause if isinstance(cause, SartorError) else error from error
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise Unavailable(
            f"the Ray cluster lost a task {_ATTEMPTS + 1} times, or is gone: {error}", reason="RAY_LOST_TASK"
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise FailedPrecondition(
            "the policy asks for runtime: ray, but Ray is not installed where curation works; install it by "
            "pip install 'sartor-curation[ray]' there and on the cluster's nodes, or use runtime: local",
            reason="RAY_NOT_INSTALLED",
        ) from error
    return ray


def _knock(address: str) -> None:
    """Nothing, if somebody listens there: Ray itself would wait for minutes."""
    parts = urlsplit(address if "//" in address else f"//{address}")
    if not parts.hostname or not parts.port:
        raise ValueError("an address has the form ray://host:port or host:port")
    socket.create_connection((parts.hostname, parts.port), timeout=_KNOCK_SECONDS).close()


def _unreachable(address: str, error: Exception) -> Unavailable:
    where = f"the Ray cluster at {address}" if address else "Ray on this machine"
    return Unavailable(
        f"{where} cannot be reached or started: {error}; see SARTOR_RAY_ADDRESS, and whether the cluster has "
        "the same versions of Ray and Python",
        reason="RAY_UNREACHABLE",
        metadata={"address": address},
    )
