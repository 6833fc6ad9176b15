"""How fast a served engine writes, and what its machine's memory gave at the same moment."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sartor_datasets.reference_outputs import ReferenceOutput
from sartor_platform.errors import FailedPrecondition

from sartor_deployment.build.memory_speed import memory_bytes_per_second
from sartor_deployment.targets.engine_api import EngineApi, EngineRefused

_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Speed:
    """`memory_bytes_per_second` is 0 where the engine's machine is another one than this."""

    tokens_per_second: float
    memory_bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How long one request took alone, its prompt read anew, and how fast it was written."""

    seconds: float
    tokens_per_second: float


def speed(api: EngineApi, item: ReferenceOutput, *, threads: int, here: bool) -> Speed:
    """Of one request alone.

    Args:
        threads: of the engine; 0 is the number of cores.
        here: whether the engine runs on this machine.
    """
    tokens = pace(api, item).tokens_per_second
    # At the same moment, so that what else the machine does slows both.
    return Speed(tokens, memory_bytes_per_second(threads) if here else 0.0)


def pace(api: EngineApi, item: ReferenceOutput, tokens: int = _TOKENS) -> Pace:
    """Of a request with this item's prompt and so many tokens of answer, by the engine's own clock."""
    told = api.complete(item.prompt_token_ids, tokens=tokens, ignore_eos=True, cache_prompt=False)
    timings = told.get("timings", {})
    milliseconds = float(timings.get("prompt_ms", 0.0)) + float(timings.get("predicted_ms", 0.0))
    return Pace(milliseconds / 1000, float(timings.get("predicted_per_second", 0.0)))


def served_speed(url: str, items: Sequence[ReferenceOutput], threads: int) -> Speed:
    """Of an engine that answers at `url`, asked the shortest of these prompts.

    Raises:
        FailedPrecondition: ENGINE_REFUSED.
    """
    shortest = min(items, key=lambda item: len(item.prompt_token_ids))
    try:
        return speed(EngineApi(url), shortest, threads=threads, here=is_here(url))
    except EngineRefused as error:
        raise FailedPrecondition(
            f"the engine refuses to go on from item {shortest.item_id}: {error}",
            reason="ENGINE_REFUSED",
            metadata={"item": shortest.item_id},
        ) from error


def is_here(url: str) -> bool:
    """Whether this address is one of this machine's own: only then something can listen on it here."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, _, _, address in found:
        with socket.socket(family, kind) as probe:
            try:
                probe.bind(address)
                return True
            except OSError:
                continue
    return False
