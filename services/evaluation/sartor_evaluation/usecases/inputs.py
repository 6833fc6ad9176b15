"""What a specification names, found and pinned: models, curations, suites, prompts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sartor_platform import log
from sartor_platform.errors import FieldViolation, InvalidArgument, NotFound
from sartor_platform.orders import Order
from sqlalchemy import Connection

from sartor_evaluation import standing, store
from sartor_evaluation.checks import check_evaluation
from sartor_evaluation.names import BASE_MODEL, not_found, project_of
from sartor_evaluation.resources import BaseModel, Curation, Inputs, ModelVersion, PinnedModel, PinnedSuite
from sartor_evaluation.specs import EvaluationSpec, PromptSpec, SuiteSpec


def inputs_of(
    connection: Connection, parent: str, spec: EvaluationSpec, allowed_urls: Collection[str] = ()
) -> Inputs:
    """Check the specification and find what it names. Raises: as create_evaluation."""
    check_evaluation(parent, spec, allowed_urls)
    models: dict[str, PinnedModel] = {}
    curation, curated = spec.items.curation, None
    if curation:
        curated = known_curation(connection, curation).manifest
    for candidate in spec.candidates:
        if not candidate.model:
            continue
        if BASE_MODEL.matches(candidate.model):
            models[candidate.model] = PinnedModel(_base_model(connection, candidate.model).manifest)
            continue
        version = known_model_version(connection, candidate.model)
        models[candidate.model] = PinnedModel(version.base_model_manifest, version.manifest)
        if not curation:
            curation, curated = version.curation, version.curated_manifest
    if not curation and any(candidate.shots for candidate in spec.candidates):
        text = "take examples from a training split: name a curation, or add a model version trained on one"
        violation = FieldViolation("candidates", text)
        raise InvalidArgument(f"shots {text}", reason="BAD_EVALUATION", violations=[violation])
    prompts = _pinned_prompts(connection, spec)
    _check_examples(spec, prompts, curation)
    suites = tuple(_pinned_suite(connection, name) for name in spec.suites)
    revisions = {order.name: order.revision for order in prompts}
    return Inputs(models, curation, curated, suites, revisions)


def _check_examples(spec: EvaluationSpec, prompts: Sequence[Order], curation: str) -> None:
    """Raises InvalidArgument: BAD_EVALUATION, a prompt shows examples that nobody has, or to a service."""
    shown = {order.name for order in prompts if PromptSpec.from_json(order.spec).shots}
    for index, candidate in enumerate(spec.candidates):
        if candidate.service is not None and candidate.prompt in shown:
            text = (
                "shows examples of a training split, which are not sent to services; give it examples instead"
            )
            violation = FieldViolation(f"candidates[{index}].prompt", text)
            raise InvalidArgument(f"the prompt {text}", reason="BAD_EVALUATION", violations=[violation])
    if not curation and any(PromptSpec.from_json(order.spec).shots for order in prompts):
        text = "shows examples of a training split: name a curation, or add a model version trained on one"
        violation = FieldViolation("prompts", text)
        raise InvalidArgument(f"a prompt {text}", reason="BAD_EVALUATION", violations=[violation])


def _pinned_prompts(connection: Connection, spec: EvaluationSpec) -> list[Order]:
    """Raises NotFound: PROMPT_NOT_FOUND."""
    named = dict.fromkeys([*spec.prompts, *(one.prompt for one in spec.candidates if one.prompt)])
    return [standing.get_prompt(connection, name) for name in named]


def _pinned_suite(connection: Connection, name: str) -> PinnedSuite:
    """Raises NotFound: SUITE_NOT_FOUND, CURATION_NOT_FOUND."""
    order = standing.get_suite(connection, name)
    curation = SuiteSpec.from_json(order.spec).items.curation
    curated = known_curation(connection, curation).manifest if curation else None
    return PinnedSuite(name, order.revision, curated)


def known_suites(connection: Connection, names: Sequence[str]) -> tuple[PinnedSuite, ...]:
    """A gate's suites; one that is not there leaves its rules unmeasured, and so blocks."""
    found = []
    for name in names:
        try:
            found.append(_pinned_suite(connection, name))
        except NotFound as error:
            log.get().warning("gate.suite_missing", suite=name, error=error.message)
    return tuple(found)


def _base_model(connection: Connection, name: str) -> BaseModel:
    found = store.find_base_model(connection, name)
    if found is None:
        raise not_found("base model", name, store.known(connection, "base_models", project_of(name)))
    return found


def known_model_version(connection: Connection, name: str) -> ModelVersion:
    found = store.find_model_version(connection, name)
    if found is None:
        raise not_found("model version", name, store.known(connection, "model_versions", project_of(name)))
    return found


def known_curation(connection: Connection, name: str) -> Curation:
    found = store.find_curation(connection, name)
    if found is None:
        raise not_found("curation", name, store.known(connection, "curations", project_of(name)))
    return found
