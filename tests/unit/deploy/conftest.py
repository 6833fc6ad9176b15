"""Where the deployment files lie, and what the services' settings are called."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

from sartor_platform.settings import PREFIX, PlatformSettings

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("ingestion", "curation", "training", "evaluation", "deployment")


def settings_of(service: str) -> type[PlatformSettings]:
    """The settings class of a service."""
    module = importlib.import_module(f"sartor_{service}.settings")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, PlatformSettings) and value is not PlatformSettings
    ]
    return found[0] if found else PlatformSettings


def variables_of(service: str) -> set[str]:
    """The environment variables a service reads."""
    return {PREFIX + field.name.upper() for field in dataclasses.fields(settings_of(service))}


def required_of(service: str) -> set[str]:
    """Those it does not start without."""
    return {
        PREFIX + field.name.upper()
        for field in dataclasses.fields(settings_of(service))
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
