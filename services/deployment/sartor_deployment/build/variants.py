"""One stored form of a version's weights, measured through its own engine: size, speed, loss."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from sartor_datasets.reference_outputs import ReferenceOutput
from sartor_platform.errors import SartorError

from sartor_deployment.build.forms import Stored
from sartor_deployment.parity.check import measure
from sartor_deployment.parity.speed import speed
from sartor_deployment.resources import EngineSettings
from sartor_deployment.targets.engine_api import EngineApi, EngineRefused
from sartor_deployment.targets.engine_memory import EngineMemory, available_bytes, need
from sartor_deployment.targets.local_llama_cpp import EngineDied, LocalEngine

_LOAD_SECONDS = 300.0
FAULTS = (EngineDied, EngineRefused, OSError, ValueError)
"""What says of one form that it does not work, and nothing of the others."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One stored form, as it was measured. `loss_gap` is above the evaluated model's loss, nats a token."""

    quantization: str
    size_bytes: int
    loss: float = 0.0
    loss_gap: float = 0.0
    top1_agreement: float = 0.0
    tokens_per_second: float = 0.0
    chosen: bool = False
    error: str = ""
    shared_bytes: int = 0
    memory_bytes_per_second: float = 0.0

    def good(self, *, allowed_loss: float, top1_agreement: float) -> bool:
        """Whether it works, loses at most this much and passes the parity bound."""
        return not self.error and self.loss_gap <= allowed_loss and self.top1_agreement >= top1_agreement


def measured(task: Mapping[str, Any], name: str, stored: Stored, items: Sequence[ReferenceOutput]) -> Variant:
    """Its row of the table; where it does not run, with the reason.

    Task: context_length, slots, threads, budget_seconds; free_bytes of memory (all that is, if not there) and
        mapped_bases, the quantizations of the base that engines have mapped, and which are not free.
    """
    variant = Variant(name, stored.size_bytes, shared_bytes=stored.shared_bytes)
    try:
        with engine(task, name, stored) as api:
            until = time.monotonic() + task["budget_seconds"]
            found = measure(api, items, slots=task["slots"], until=until, report=Quiet())
            return replace(
                variant,
                loss=found.served_loss,
                loss_gap=found.served_loss - found.reference_loss,
                top1_agreement=found.top1_agreement,
                **asdict(speed(api, items[0], threads=task["threads"], here=True)),
            )
    except FAULTS as error:
        return replace(variant, error=str(error)[:300])
    except SartorError as error:
        if error.reason != "ENGINE_NEEDS_MEMORY":
            raise
        return replace(variant, error=f"{error.reason}: {error.message}"[:300])


@contextmanager
def engine(task: Mapping[str, Any], name: str, stored: Stored) -> Iterator[EngineApi]:
    """Its engine while it runs.

    Raises:
        FailedPrecondition: ENGINE_NEEDS_MEMORY: beside what engines of other revisions have mapped.
        EngineDied: with its last words.
    """
    settings = EngineSettings(task["context_length"], task["slots"], task["threads"])
    memory = EngineMemory(0, lambda: task.get("free_bytes", available_bytes()))
    needed = need(stored.model, settings, stored.adapter)
    if stored.adapter is not None and name.partition("+")[0] in task.get("mapped_bases", ()):
        needed = replace(needed, file_bytes=0)
    with memory.hold(needed):
        started = LocalEngine(stored.model, name, settings, adapter=stored.adapter)
        try:
            address = started.wait_for_address(_LOAD_SECONDS)
            if address is None:
                raise EngineDied(f"it did not load its model in {_LOAD_SECONDS:.0f} s")
            yield EngineApi(address.url)
        finally:
            started.stop()


def as_json(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """The table as the revision's row keeps it."""
    return [asdict(each) for each in variants]


class Quiet:
    """The whole is reported, not its parts."""

    def __call__(
        self,
        fraction: float,
        *,
        stage: str = "",
        eta_seconds: float | None = None,
        message: str = "",
        **figures: float,
    ) -> None:
        return

    def send(self, message: dict[str, Any]) -> None:
        return
