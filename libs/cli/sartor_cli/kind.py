"""What `sartor get` knows of one kind of resource, and the columns that several kinds share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sartor_cli.client import Sartor
from sartor_cli.output import Column, age, duration, last
from sartor_cli.words import state_word, styled

Call = Callable[[Sartor], Callable[[Any], Any]]
C = Column[Any]


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """One kind. `parent` is the List call's parent below the project; `{}` takes a parent's id, else "-"."""

    name: str
    listing: Call
    list_request: type[Any]
    columns: Sequence[Column[Any]]
    reading: Call | None = None
    read_request: type[Any] | None = None
    collection: str = ""
    """Path of one below the project: "curations/{}"."""
    parent: str = ""
    filters: bool = False


NAME = C("NAME", lambda each: last(each.name), whole=True)
AGE = C("AGE", lambda each: age(each.create_time), right=True)
RUN = C("RUN", lambda each: each.run, whole=True)
STATE = C("STATE", lambda each: styled(state_word(each.job.state)))
PROGRESS = C("PROGRESS", lambda each: progress_text(each), right=True)
ORDER = (
    C("REVISION", lambda each: str(each.order.revision), right=True),
    C("GENERATION", lambda each: str(each.order.generation), right=True),
    C("AGE", lambda each: age(each.order.update_time), right=True),
)


def progress_text(each: Any) -> str:
    """Share done and time left of a resource that stands for a job."""
    if state_word(each.job.state) != "running":
        return ""
    progress = each.job.progress
    eta = f", {duration(progress.eta.seconds)} left" if progress.HasField("eta") else ""
    return f"{progress.fraction:.0%}{eta}"


def short(name: str) -> str:
    """A version or revision with its parent's id: "support-assistant/versions/0001"."""
    return "/".join(name.split("/")[3:])
