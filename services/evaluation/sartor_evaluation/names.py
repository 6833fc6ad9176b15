"""The names of evaluation's resources and the limits of what can be asked for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sartor_platform.errors import NotFound
from sartor_platform.names import pattern

PROJECT = pattern("projects/{project}")
GATE = pattern("projects/{project}/gates/{gate}")
SUITE = pattern("projects/{project}/suites/{suite}")
PROMPT = pattern("projects/{project}/prompts/{prompt}")
EVALUATION = pattern("projects/{project}/evaluations/{evaluation}")
MODEL = pattern("projects/{project}/models/{model}")
MODEL_VERSION = pattern("projects/{project}/models/{model}/versions/{version}")
BASE_MODEL = pattern("projects/{project}/baseModels/{base_model}")
ENDPOINT = pattern("projects/{project}/endpoints/{endpoint}")
CURATION = pattern("projects/{project}/curations/{curation}")

JOB = "evaluation"
GENERAL_SUITES = ("", "builtin", "none")
CHOICES = ("fixed", "diverse", "retrieved")
MOST_INLINE_ITEMS = 1_000
MOST_INLINE_ANSWERS = 10_000
MOST_ITEMS_ONCE = 16
MOST_SHOTS = 32
MOST_CANDIDATES = 8
MOST_SUITES = 16
MOST_PROMPTS = 16
MOST_CLIENTS = 64
SEARCH = -1
"""As number of shots: search the best prompt on the validation split."""


def project_of(name: str) -> str:
    """The project's id in a resource's name."""
    return name.split("/", 2)[1]


def not_found(kind: str, name: str, known: Sequence[str]) -> NotFound:
    """Says what does not exist and which do."""
    others = f"known are {', '.join(known)}" if known else "none is known yet"
    reason = f"{kind.upper().replace(' ', '_')}_NOT_FOUND"
    return NotFound(f"there is no {kind} {name}; {others}", reason=reason, metadata={"name": name})
