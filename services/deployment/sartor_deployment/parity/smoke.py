"""Smoke prompts: what the project file wants looked at before any user is served, asked as users would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor_deployment.rollout import SmokePrompt
from sartor_deployment.targets.engine_api import EngineApi, EngineRefused

_ANSWER_TOKENS = 128


def ask_smoke_prompts(engine: EngineApi, prompts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Each prompt with its answer and what is wrong with it ("" where nothing is)."""
    answered = []
    for given in prompts:
        smoke = SmokePrompt(given["prompt"], tuple(given["expect"]), tuple(given["forbid"]))
        try:
            answer = engine.chat([{"role": "user", "content": smoke.prompt}], tokens=_ANSWER_TOKENS)
            fault = smoke.fault(answer)
        except EngineRefused as error:
            answer, fault = "", str(error)
        answered.append({"prompt": smoke.prompt, "answer": answer, "fault": fault})
    return answered
