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
    gateway_max_body_bytes: int = 8 * 2**20
    agent_name: str = field(default_factory=socket.gethostname)
    """Agents of different names each run a replica of every engine; of one name only one works."""
    engine_bind_host: str = "127.0.0.1"
    engine_host: str = "127.0.0.1"
    """The address under which the gateway and the parity check reach this agent's engines."""
    engine_health_seconds: float = 10.0
    """Between two real requests that prove an engine answers."""
    converter_dir: Path = Path(sys.prefix) / "share" / "sartor" / "converter"
    """Where llama.cpp's converter was unpacked, apart because of its own `gguf` package."""
    parity_max_tokens: int = 1500
    """Answer tokens the parity check replays at most; whole items, chosen by the hash of their ids."""
    parity_budget_seconds: float = 30.0
    """After this long the check takes no further item, once it has replayed 200 tokens."""
