"""The settings of deployment's processes: the only reader of their environment."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from sartor_platform.settings import PlatformSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSettings(PlatformSettings):
    """What server, worker, agent and gateway need to know beyond the platform's settings."""

    gateway_bind: str = "127.0.0.1:8000"
    """Where the OpenAI-compatible API listens."""
    gateway_url: str = "http://127.0.0.1:8000/v1"
    """How users reach it; shown as the URL of every endpoint."""
    gateway_wait_seconds: float = 15.0
    """How long a request waits for an engine that is being started again, before it is answered with 503."""
    gateway_queue_seconds: float = 60.0
    """How long a request waits for a free slot, before it is answered with 429."""
    gateway_request_seconds: float = 600.0
    """The longest a request may take, first to last byte."""
    gateway_slow_reader_seconds: float = 120.0
    """A client that reads nothing for so long is hung up on."""
    gateway_max_body_bytes: int = 8 * 2**20
    gateway_keys: str = "auto"
    """"required", "open", or "auto": required unless the gateway listens on loopback only."""
    agent_name: str = field(default_factory=socket.gethostname)
    """Agents of different names each run a replica of every engine; of one name only one works."""
    engine_bind_host: str = "127.0.0.1"
    engine_host: str = "127.0.0.1"
    """The address under which the gateway and the parity check reach this agent's engines."""
    engine_health_seconds: float = 10.0
    """Between two real requests that prove an engine answers."""
    engine_drain_seconds: float = 120.0
    """How long an engine that is no longer wanted may go on with the answers it has begun."""
    engine_spare_memory_mb: int = 256
    """Memory that must be left free when an engine starts."""
    kubernetes: str = ""
    """Where manifests may be applied: "in-cluster", or the path of a kubeconfig file; empty: nowhere."""
    converter_dir: Path = Path(sys.prefix) / "share" / "sartor" / "converter"
    """Where llama.cpp's converter was unpacked, apart because of its own `gguf` package."""
    parity_max_tokens: int = 1500
    """Answer tokens the parity check replays at most; whole items, chosen by the hash of their ids."""
    parity_budget_seconds: float = 30.0
    """After this long the check takes no further item, once it has replayed 200 tokens."""
