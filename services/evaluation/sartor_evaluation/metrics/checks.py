"""Checks that need no reference: pattern, JSON Schema, refusals, language, length."""

import json
import re
from functools import lru_cache
from typing import Any

from sartor_evaluation.metrics.overlap import words
from sartor_evaluation.metrics.sums import MetricSums, mean_of

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_BEGINNING = 400
_REFUSAL = re.compile(
    r"\b(i(?:'m| am) (?:sorry|afraid|unable|not able)|i (?:can(?:'t|not)|won't|will not|am not able "
    "to|do not|don't)"
    r" (?:help|assist|answer|provide|do that|comply|share|discuss)|as an ai\b|against my "
    "(?:policy|guidelines)"
    r"|(?:es )?tut mir leid|ich (?:kann|darf|werde) (?:ihnen |dir |das |dabei |diese |dieser |darauf "
    "|dazu |leider )*"
    r"(?:nicht|leider "
    "nicht|keine)\b[^.!?]{0,60}\b(?:helfen|antworten|beantworten|geben|unterstützen|weiterhelfen|teilen)"
    r"|leider (?:kann|darf) ich)",
    re.IGNORECASE,
)


def regex_match(answer: str, pattern: str) -> float:
    """1.0 where the pattern is found in the answer."""
    return float(_compiled(pattern).search(answer) is not None)


def schema_valid(answer: str, schema: str) -> float:
    """1.0 where the answer is JSON that follows the schema. A code fence around all of it is taken off."""
    fenced = _FENCE.match(answer)
    try:
        value = json.loads(fenced.group(1) if fenced else answer)
    except (ValueError, RecursionError):
        return 0.0
    return float(_validator(schema).is_valid(value))


def refuses(answer: str) -> float:
    """1.0 where the beginning of the answer declines, in English or German."""
    return float(_REFUSAL.search(answer[:_BEGINNING].replace("’", "'")) is not None)


def keeps_language(answer: str, language: str) -> float:
    """0.0 where the answer is surely in another language."""
    from sartor_text.language import UNSURE, identify
    from sartor_text.language_codes import LANGUAGE_CODES

    wanted = language.split("-")[0].lower()
    if wanted not in LANGUAGE_CODES:
        return 1.0
    return float(identify(answer, (wanted,)).code in (wanted, UNSURE))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    from jsonschema.validators import validator_for
    from referencing import Registry

    parsed = json.loads(schema)
    return validator_for(parsed)(parsed, registry=Registry())  # an empty registry: nothing is fetched


METRICS: dict[str, MetricSums] = {
    "regex_match": mean_of(lambda o: regex_match(o.answer or "", o.item.pattern)),
    "schema_valid": mean_of(lambda o: schema_valid(o.answer or "", o.item.schema)),
    "refusals": mean_of(lambda o: refuses(o.answer or "")),
    "language_kept": mean_of(lambda o: keeps_language(o.answer or "", o.item.language)),
    "answer_words": mean_of(lambda o: float(len(words(o.answer or "")))),
    "truncated": mean_of(lambda o: float(o.truncated)),
}
