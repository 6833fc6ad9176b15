"""The settings of curation: the only reader of its environment."""

from __future__ import annotations

from dataclasses import dataclass

from sartor_platform.settings import PlatformSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationSettings(PlatformSettings):
    """What curation needs to know beyond the platform's settings."""

    shard_bytes: int = 4 << 20
    """Bytes of a shard of a snapshot: a process holds some fifty times as much while it works on one."""
    compute_processes: int = 0
    """Processes that work on the shards of one snapshot; 0 is one a core."""
    ray_address: str = ""
    """Of the Ray cluster for policies with `runtime: ray`, such as ray://ray-head:10001; empty starts Ray on
    the machine of the worker."""
