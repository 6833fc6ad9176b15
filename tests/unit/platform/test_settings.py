"""Settings from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from sartor_platform.errors import InvalidArgument
from sartor_platform.settings import PlatformSettings, read

SERVERS = {
    "SARTOR_DATABASE_URL": "postgresql://u:secret@h/d",
    "SARTOR_KAFKA_BOOTSTRAP_SERVERS": "h:9092",
    "SARTOR_S3_ENDPOINT": "h:9000",
    "SARTOR_S3_ACCESS_KEY": "key",
    "SARTOR_S3_SECRET_KEY": "secret",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings(PlatformSettings):
    """A service's own settings."""

    gateway_port: int
    ratio: float = 0.5


def test_a_service_extends_the_settings_with_its_own() -> None:
    """Each field comes from its variable, in its type; the rest has its default."""
    more = {
        "SARTOR_GATEWAY_PORT": "8080",
        "SARTOR_S3_SECURE": "true",
        "SARTOR_DATA_DIR": "/data",
        "SARTOR_LOG_JSON": "no",
    }
    settings = read(GatewaySettings, {**SERVERS, **more})
    assert (settings.gateway_port, settings.ratio, settings.s3_secure) == (8080, 0.5, True)
    assert (settings.data_dir, settings.log_json) == (Path("/data"), False)
    assert settings.worker_slots == 1


def test_every_fault_is_told_at_once() -> None:
    """Missing and malformed variables alike, by the names a person sets."""
    wrong = {"SARTOR_GATEWAY_PORT": "http", "SARTOR_RATIO": "half", "SARTOR_S3_SECURE": "perhaps"}
    with pytest.raises(InvalidArgument) as caught:
        read(GatewaySettings, {**SERVERS, **wrong, "SARTOR_DATABASE_URL": ""} | {"SARTOR_S3_ENDPOINT": "h"})
    named = {violation.field for violation in caught.value.violations}
    assert named == set(wrong)
    with pytest.raises(InvalidArgument) as caught:
        read(GatewaySettings, {})
    assert {violation.field for violation in caught.value.violations} == {*SERVERS, "SARTOR_GATEWAY_PORT"}


def test_secrets_are_not_shown() -> None:
    """Settings can be logged."""
    assert "secret" not in repr(read(PlatformSettings, SERVERS))
