"""Keys for the gateway: how a secret is made, hashed and judged. Pure.

A secret has 256 random bits, so one round of SHA-256 keeps it: there is nothing to guess that a slow hash
would guard, and the gateway can look it up for every request.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from sartor_platform.names import pattern

API_KEY = pattern("projects/{project}/apiKeys/{api_key}")
PREFIX = "sk-sartor-"
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. Quotas of 0 are none."""

    name: str
    project: str
    prefix: str
    tokens_per_minute: int
    requests_per_minute: int
    created_by: str
    create_time: datetime
    expire_time: datetime | None = None
    revoke_time: datetime | None = None

    def ended(self, now: datetime) -> str:
        """Why it is refused now, or ""."""
        if self.revoke_time is not None:
            return "was revoked"
        if self.expire_time is not None and self.expire_time <= now:
            return "has expired"
        return ""


def new_secret() -> str:
    """What a client sends."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is kept of it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def shown(secret: str) -> str:
    """Enough of it to recognise it by."""
    return secret[: len(PREFIX) + _SHOWN]
