"""The plan of faults: drawn from the seed alone, so that a seed and a round name a plan for ever."""

from __future__ import annotations

import random
from dataclasses import dataclass

SERVER_POINTS = ("before_commit", "after_commit_before_offset", "before_publish", "after_publish_before_mark")
WORKER_POINTS = (
    "after_claim_before_child",
    "after_child_before_upload",
    "after_upload_before_row",
    "after_lease_check_before_accept",
    "before_accept_commit",
    "after_accept_commit",
)
SERVICES = ("ingestion", "curation", "training", "evaluation", "deployment")
DATA = "data"
MODEL = "model"
LOOP = "loop"
LOST_LOG = "lost_log"
DOWN = "down"
"""The fault of a round of the loop: a whole service is away while its work comes."""
ROUND_SECONDS = 9.0
"""The time in which faults that are not tied to a point strike."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to try. `target` is a process, a server or a dataset's number, as the kind needs it."""

    kind: str
    target: str
    point: str = ""
    at_seconds: float = 0.0
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """What happens in one round."""

    seed: int
    number: int
    kind: str
    faults: tuple[Fault, ...]

    @property
    def name(self) -> str:
        """As `--replay` takes it."""
        return f"{self.seed}:{self.number}:{self.kind}"

    def rng(self, purpose: str) -> random.Random:
        """Chance for one purpose, the same in every replay."""
        return random.Random(f"{self.seed}:{self.number}:{purpose}")


def plan_round(seed: int, number: int, kind: str) -> RoundPlan:
    """The plan of one round."""
    rng = random.Random(f"{seed}:{number}:{kind}")
    draw = {DATA: _data_faults, MODEL: _model_faults, LOOP: _outages, LOST_LOG: _lost_log_faults}[kind]
    return RoundPlan(seed, number, kind, tuple(draw(rng)))


def kind_of_round(number: int) -> str:
    """Every fifth round goes all the way to a live revision."""
    return MODEL if number % 5 == 3 else DATA


def _data_faults(rng: random.Random) -> list[Fault]:
    return [
        *_at_points(rng, "ingestion-server", SERVER_POINTS, 3),
        *_at_points(rng, "ingestion-server", ("after_commit_before_answer",), 1),
        *_at_points(rng, "ingestion-worker", WORKER_POINTS, 2),
        *_at_points(rng, "curation-server", SERVER_POINTS, 2),
        *_at_points(rng, "curation-server", ("after_commit_before_answer",), rng.randrange(2)),
        *_at_points(rng, "curation-worker", WORKER_POINTS, 2),
        *_timed(rng, 4, ("ingestion-server-1", "ingestion-server-2", "curation-server", *_DATA_WORKERS)),
        *_messages(rng),
    ]


def _model_faults(rng: random.Random) -> list[Fault]:
    return [
        *_at_points(rng, "training-server", SERVER_POINTS, 2),
        *_at_points(rng, "training-worker", WORKER_POINTS, 1),
        *_at_points(rng, "training-worker", ("after_checkpoint_upload_before_row",), 3),
        *_at_points(rng, "evaluation-server", SERVER_POINTS, 2),
        *_at_points(rng, "evaluation-worker", WORKER_POINTS, 1),
        *_at_points(rng, "deployment-server", SERVER_POINTS, 2),
        *_at_points(rng, "deployment-worker", WORKER_POINTS, 1),
        *_at_points(rng, "deployment-agent", ("after_engine_start_before_row",), 3),
        *_timed(rng, 3, _MODEL_PROCESSES, 3 * ROUND_SECONDS),
    ]


def _outages(_rng: random.Random) -> list[Fault]:
    return [Fault(DOWN, service) for service in SERVICES]


def _lost_log_faults(rng: random.Random) -> list[Fault]:
    losses = [Fault("lose_log", "tansu", at_seconds=rng.uniform(1, ROUND_SECONDS)) for _ in range(3)]
    return [*losses, *_at_points(rng, "ingestion-server", SERVER_POINTS, 2)]


_DATA_WORKERS = ("ingestion-worker-1", "ingestion-worker-2", "curation-worker-1", "curation-worker-2")
_MODEL_PROCESSES = (
    *("training-server", "training-worker-1", "training-worker-2", "evaluation-server", "evaluation-worker"),
    *("deployment-server", "deployment-worker", "deployment-agent", "deployment-gateway"),
)
_TIMED = (
    *("kill_process", "kill_process", "kill_server", "kill_child", "freeze"),
    *("cut", "reset", "delay", "half_open", "disk_full"),
)
_DISKS = ("disk", "state")
_SERVERS = ("postgres", "seaweed", "tansu")


def _at_points(rng: random.Random, process: str, points: tuple[str, ...], count: int) -> list[Fault]:
    chosen = [rng.choice(points) for _ in range(count)]
    can_stop = process.endswith("worker")
    actions = ("kill",) * 8 + ("fail",) + (("stop",) if can_stop else ("kill",))
    return [Fault(rng.choice(actions), process, point=point) for point in chosen]


def _timed(
    rng: random.Random, count: int, processes: tuple[str, ...], until: float = ROUND_SECONDS
) -> list[Fault]:
    found: list[Fault] = []
    for _ in range(count):
        at = rng.uniform(0.2, until)
        kind = rng.choice(_TIMED)
        if kind in ("kill_process", "freeze", "kill_child"):
            workers = tuple(each for each in processes if "worker" in each)
            found.append(
                Fault(kind, rng.choice(workers if kind == "kill_child" else processes), at_seconds=at)
            )
        elif kind == "disk_full":
            found.append(Fault(kind, rng.choice(_DISKS), at_seconds=at, value=rng.uniform(2, 4)))
        else:
            found.append(Fault(kind, rng.choice(_SERVERS), at_seconds=at, value=rng.uniform(0.5, 3)))
    return found


def _messages(rng: random.Random) -> list[Fault]:
    kinds = ["redeliver", "reorder", "poison"]
    return [
        Fault(rng.choice(kinds), str(rng.randrange(2)), at_seconds=rng.uniform(3, ROUND_SECONDS))
        for _ in range(2)
    ]
