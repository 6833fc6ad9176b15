"""What makes a gate, a suite or an evaluation valid, with every fault at once. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from sartor_platform.errors import FieldViolation, InvalidArgument

from sartor_evaluation.built_in_suites import BUILT_IN
from sartor_evaluation.gates import faults
from sartor_evaluation.metrics.catalogue import known_metrics, unknown_metrics
from sartor_evaluation.names import (
    BASE_MODEL,
    CHOICES,
    CURATION,
    ENDPOINT,
    GATE,
    GENERAL_SUITES,
    MODEL,
    MODEL_VERSION,
    MOST_CANDIDATES,
    MOST_CLIENTS,
    MOST_INLINE_ANSWERS,
    MOST_INLINE_ITEMS,
    MOST_ITEMS_ONCE,
    MOST_SHOTS,
    MOST_SUITES,
    PROJECT,
    SEARCH,
    SUITE,
    project_of,
)
from sartor_evaluation.prompt_checks import prompt_violations
from sartor_evaluation.specs import (
    Candidate,
    EvaluationSpec,
    FewShotSpec,
    GateSpec,
    ItemSource,
    ModelService,
    SuiteSpec,
)
from sartor_evaluation.variations import KINDS

CORRECTIONS = ("none", "holm")
_NEEDS_NO_REFERENCE = ("pattern", "schema")


def check_gate(name: str, spec: GateSpec) -> None:
    """Raises InvalidArgument: BAD_GATE, with every fault."""
    project = GATE.parse(name)["project"]
    suites = [suite.rpartition("/")[2] for suite in spec.suites]
    rules = faults(spec.rules, general_suite=spec.general_suite, suites=suites)
    found = [FieldViolation(path, text) for path, text in rules.items()]
    found += _few_shot_violations(spec.few_shot)
    found += _suite_violations(spec.general_suite, spec.max_items)
    found += _named_suite_violations(spec.suites, project)
    if spec.correction not in CORRECTIONS:
        found.append(FieldViolation("correction", f"is {spec.correction!r}; known are none and holm"))
    if not MODEL.matches(spec.model):
        found.append(FieldViolation("model", f"must have the form {MODEL.template}"))
    elif project_of(spec.model) != project:
        found.append(FieldViolation("model", f"must be a model of projects/{project}"))
    _raise(found, f"the gate {name} is not usable", "BAD_GATE")


def check_suite(name: str, spec: SuiteSpec) -> None:
    """Raises InvalidArgument: BAD_SUITE, with every fault."""
    project = SUITE.parse(name)["project"]
    found = metric_violations(spec.metrics)
    given = [
        bool(spec.items.curation),
        bool(spec.items.inline),
        spec.items.object is not None,
        bool(spec.task),
        bool(spec.builtin),
    ]
    if sum(given) != 1:
        text = "must be one of curation, inline_items, items_object, task and builtin"
        found.append(FieldViolation("items", "the suite is empty: it " + text if not any(given) else text))
    if spec.items.inline or spec.items.curation:
        found += _item_violations(spec.items, project, needs_reference=not (spec.pattern or spec.schema))
    if spec.builtin and spec.builtin not in BUILT_IN:
        text = f"is {spec.builtin!r}; known are {', '.join(BUILT_IN)}"
        found.append(FieldViolation("builtin", text))
    if unknown := [kind for kind in spec.variations if kind not in KINDS]:
        text = f"knows no {', '.join(unknown)}; known are {', '.join(KINDS)}"
        found.append(FieldViolation("variations", text))
    if spec.variations and (spec.task or spec.builtin):
        text = (
            "change prompts, but a task file or built-in suite says every character of them; leave them out"
        )
        found.append(FieldViolation("variations", text))
    if spec.max_items < 0:
        found.append(FieldViolation("max_items", "must not be negative"))
    found += _expectation_violations(spec.pattern, spec.schema)
    if spec.data and not spec.task:
        found.append(FieldViolation("data", "belongs to a task; give the task file, or leave it out"))
    _raise(found, f"the suite {name} is not usable", "BAD_SUITE")


def check_evaluation(parent: str, spec: EvaluationSpec, allowed_urls: Collection[str] = ()) -> None:
    """Raises InvalidArgument: BAD_EVALUATION, with every fault that shows without looking anything up.

    Args:
        allowed_urls: beginnings of the URLs that may be asked.
    """
    project = PROJECT.parse(parent, field="parent")["project"]
    found = _candidate_violations(spec.candidates, project, allowed_urls)
    found += _few_shot_violations(spec.few_shot)
    found += _suite_violations(spec.general_suite, spec.max_items)
    found += metric_violations(spec.metrics)
    found += _named_suite_violations(spec.suites, project)
    found += prompt_violations(spec, project)
    if any(not 1 <= count <= MOST_CLIENTS for count in spec.cost_clients):
        found.append(FieldViolation("cost_clients", f"must be numbers from 1 to {MOST_CLIENTS}"))
    source = spec.items
    if source.curation or source.inline or source.object is not None or not spec.suites:
        found += _item_violations(source, project, needs_reference=True)
    _raise(found, "the evaluation cannot be made", "BAD_EVALUATION")


def check_once(
    parent: str, candidate: Candidate, items: Sequence[Mapping[str, Any]], wanted: Sequence[str]
) -> ItemSource:
    """The items of EvaluateOnce. Raises InvalidArgument: BAD_EVALUATION, with every fault."""
    PROJECT.parse(parent, field="parent")
    found = metric_violations(wanted)
    if not candidate.model or candidate.shots:
        text = "must be a base model or a model version without examples; ask CreateEvaluation for others"
        found.append(FieldViolation("candidate", text))
    if not 1 <= len(items) <= MOST_ITEMS_ONCE:
        text = f"are {len(items)}; give 1 to {MOST_ITEMS_ONCE}, or ask CreateEvaluation"
        found.append(FieldViolation("items", text))
    _raise(found, "this cannot be asked at once", "BAD_EVALUATION")
    return ItemSource(inline=tuple(items))


def metric_violations(names: Sequence[str], field: str = "metrics") -> list[FieldViolation]:
    """One for each name that no metric has."""
    text = f"is no metric; known are {known_metrics()}"
    return [FieldViolation(field, f"{name!r} {text}") for name in unknown_metrics(names)]


def url_allowed(url: str, allowed: Collection[str]) -> bool:
    """Whether a URL has scheme, host and port of an allowed one, and lies below its path."""
    try:
        asked = urlsplit(url)
        port = asked.port
    except ValueError:
        return False
    if asked.scheme not in ("http", "https") or not asked.hostname or asked.username is not None:
        return False
    if ".." in asked.path.split("/"):
        return False
    for each in allowed:
        known = urlsplit(each)
        same = (known.scheme, known.hostname, known.port) == (asked.scheme, asked.hostname, port)
        below = f"{asked.path.rstrip('/')}/".startswith(f"{known.path.rstrip('/')}/")
        if same and below:
            return True
    return False


def _few_shot_violations(spec: FewShotSpec) -> list[FieldViolation]:
    found = []
    if any(not 1 <= shots <= MOST_SHOTS for shots in spec.shots):
        found.append(FieldViolation("few_shot.shots", f"must be numbers from 1 to {MOST_SHOTS}"))
    if unknown := [choice for choice in spec.choices if choice not in CHOICES]:
        text = f"knows no {', '.join(unknown)}; known are {', '.join(CHOICES)}"
        found.append(FieldViolation("few_shot.choices", text))
    if spec.items < 0:
        found.append(FieldViolation("few_shot.items", "must not be negative"))
    return found


def _suite_violations(general_suite: str, max_items: int) -> list[FieldViolation]:
    found = []
    if general_suite not in GENERAL_SUITES:
        text = f"is {general_suite!r}; known are builtin and none"
        found.append(FieldViolation("general_suite", text))
    if max_items < 0:
        found.append(FieldViolation("max_items", "must not be negative"))
    return found


def _named_suite_violations(suites: Sequence[str], project: str) -> list[FieldViolation]:
    found = []
    if len(suites) > MOST_SUITES:
        found.append(FieldViolation("suites", f"are {len(suites)}; name at most {MOST_SUITES}"))
    for index, name in enumerate(suites):
        if not SUITE.matches(name) or project_of(name) != project:
            text = f"is {name!r}; must have the form projects/{project}/suites/{{suite}}"
            found.append(FieldViolation(f"suites[{index}]", text))
    return found


def _candidate_violations(
    candidates: Sequence[Candidate], project: str, allowed_urls: Collection[str]
) -> list[FieldViolation]:
    found = []
    if not 1 <= len(candidates) <= MOST_CANDIDATES:
        text = f"must name 1 to {MOST_CANDIDATES} models with their prompts"
        found.append(FieldViolation("candidates", text))
    if len({candidate.id for candidate in candidates}) != len(candidates):
        found.append(FieldViolation("candidates", "have an id twice; give each its own"))
    for index, candidate in enumerate(candidates):
        path = f"candidates[{index}]"
        if not candidate.id:
            found.append(FieldViolation(f"{path}.id", "is empty; give it a short name for the report"))
        found += _who_violations(path, candidate, project)
        if candidate.service is not None:
            found += _service_violations(f"{path}.service", candidate.service, allowed_urls)
        if not SEARCH <= candidate.shots <= MOST_SHOTS:
            text = f"must be 0 to {MOST_SHOTS}, or {SEARCH} to search the best prompt"
            found.append(FieldViolation(f"{path}.shots", text))
        elif candidate.shots and not candidate.model:
            text = "examples are put before the questions of a base model or model version only"
            found.append(FieldViolation(f"{path}.shots", text))
    return found


def _who_violations(path: str, candidate: Candidate, project: str) -> list[FieldViolation]:
    if len(candidate.kinds) != 1:
        text = "must name one of base_model, model_version, endpoint, service, answers and answers_object"
        return [FieldViolation(f"{path}.model", text)]
    if len(candidate.answers) > MOST_INLINE_ANSWERS:
        text = f"are {len(candidate.answers)}; give at most {MOST_INLINE_ANSWERS}, or an answers_object"
        return [FieldViolation(f"{path}.answers", text)]
    name = candidate.model or candidate.endpoint
    if not name:
        return []
    forms = (ENDPOINT,) if candidate.endpoint else (BASE_MODEL, MODEL_VERSION)
    if not any(form.matches(name) for form in forms):
        form = " or ".join(form.template for form in forms)
        return [FieldViolation(f"{path}.model", f"is {name!r}; must have the form {form}")]
    if project_of(name) != project:
        return [FieldViolation(f"{path}.model", f"must be a model of projects/{project}")]
    return []


def _service_violations(path: str, service: ModelService, allowed: Collection[str]) -> list[FieldViolation]:
    found = []
    if not url_allowed(service.url, allowed):
        known = f"allowed are {', '.join(sorted(allowed))}" if allowed else "none is allowed"
        text = (
            f"{service.url!r} may not be asked; {known}. SARTOR_ENDPOINT_URLS of evaluation says which may be"
        )
        found.append(FieldViolation(f"{path}.url", text))
    if not service.model:
        found.append(FieldViolation(f"{path}.model", "is empty; name the model as the service calls it"))
    if not 0 <= service.timeout_seconds <= 600:
        found.append(FieldViolation(f"{path}.timeout_seconds", "must be 0 (the default) to 600"))
    if not 0 <= service.retries <= 10:
        found.append(FieldViolation(f"{path}.retries", "must be 0 (the default) to 10"))
    if not 0 <= service.concurrency <= 64:
        found.append(FieldViolation(f"{path}.concurrency", "must be 0 (the default) to 64"))
    return found


def _item_violations(source: ItemSource, project: str, *, needs_reference: bool) -> list[FieldViolation]:
    if source.curation:
        if not CURATION.matches(source.curation) or project_of(source.curation) != project:
            text = f"must have the form projects/{project}/curations/{{curation}}"
            return [FieldViolation("curation", text)]
        return []
    if source.object is not None:
        return []
    if not source.inline:
        text = "the suite is empty: name a curation, or give inline_items or an items_object"
        return [FieldViolation("items", text)]
    found = []
    if len(source.inline) > MOST_INLINE_ITEMS:
        text = f"holds {len(source.inline)} items; give at most {MOST_INLINE_ITEMS}, or an items_object"
        found.append(FieldViolation("inline_items", text))
    for index, item in enumerate(source.inline[:MOST_INLINE_ITEMS]):
        path = f"inline_items.items[{index}]"
        if not item["prompt"]:
            found.append(FieldViolation(f"{path}.prompt", "is empty"))
        expected = any(item.get(name) for name in ("reference", "label", *_NEEDS_NO_REFERENCE))
        if needs_reference and not expected:
            text = "is empty, and so are label, pattern and schema: set one of them"
            found.append(FieldViolation(f"{path}.reference", text))
        for fault in _expectation_violations(item.get("pattern", ""), item.get("schema", "")):
            found.append(FieldViolation(f"{path}.{fault.field}", fault.description))
    given = [item["id"] for item in source.inline if item["id"]]
    if len(set(given)) != len(given):
        found.append(FieldViolation("inline_items", "have an id twice; give each its own, or none"))
    return found


def _expectation_violations(pattern: str, schema: str) -> list[FieldViolation]:
    found = []
    if pattern:
        try:
            re.compile(pattern)
        except re.error as error:
            found.append(FieldViolation("pattern", f"is no regular expression: {error}"))
    if schema:
        try:
            if not isinstance(json.loads(schema), dict | bool):
                found.append(FieldViolation("schema", "is no JSON Schema: it must be an object"))
        except ValueError as error:
            found.append(FieldViolation("schema", f"is not JSON: {error}"))
    return found


def _raise(found: Sequence[FieldViolation], what: str, reason: str) -> None:
    if found:
        lines = "; ".join(f"{violation.field} {violation.description}" for violation in found)
        raise InvalidArgument(f"{what}: {lines}", reason=reason, violations=list(found))
