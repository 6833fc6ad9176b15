"""One function for each request, event or job result: validate, change state, write the outbox, in one
transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import log, orders, principal
from sartor_platform.errors import (
    FieldViolation,
    IllegalTransition,
    InvalidArgument,
    NotFound,
    NotReady,
)
from sartor_platform.jobs import Job, job_of
from sartor_platform.names import new_id, new_run_id
from sartor_platform.orders import Order
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection

from sartor_evaluation import announcements, standing, store
from sartor_evaluation.checks import check_evaluation
from sartor_evaluation.gates import Baseline
from sartor_evaluation.names import (
    BASE_MODEL,
    EVALUATION,
    JOB,
    SEARCH,
    not_found,
    project_of,
)
from sartor_evaluation.resources import (
    BaseModel,
    Curation,
    Evaluation,
    Inputs,
    ModelVersion,
    PinnedModel,
    PinnedSuite,
)
from sartor_evaluation.specs import (
    Candidate,
    EvaluationSpec,
    GateSpec,
    ItemSource,
    PromptSpec,
    SuiteSpec,
)

_WATCHED = timedelta(days=1)
_FACTS_COME_SECONDS = 2.0


def remember_base_model(tx: Transaction, model: BaseModel) -> None:
    """BaseModelReady: it may be evaluated."""
    store.put_base_model(tx.connection, model, tx.now)


def remember_curation(tx: Transaction, curation: Curation) -> None:
    """CurationSucceeded: its test split may be asked."""
    store.put_curation(tx.connection, curation, tx.now)


def model_version_created(
    tx: Transaction, version: ModelVersion, *, standing_order: str, run: str, generation: int
) -> None:
    """ModelVersionCreated: it may be evaluated; if a standing order made it, each gate of its model evaluates
    it now.
    """
    store.put_model_version(tx.connection, version, tx.now)
    if not standing_order:
        return
    for gate, spec in _gates(tx.connection, version):
        _evaluate_for_gate(tx, gate, spec, version, run, generation)


def remember_live_version(tx: Transaction, endpoint: str, model_version: str) -> None:
    """RevisionPromoted, EndpointRolledBack: gates compare with it."""
    store.put_live_version(tx.connection, endpoint, model_version, tx.now)


def reevaluation_requested(
    tx: Transaction, endpoint: str, version: str, curation: str, *, run: str, generation: int
) -> None:
    """ReevaluationRequested: the gates of its model judge a live version on a newer curation's items.

    Raises:
        NotReady: the version's or the curation's own event has not come yet.
    """
    try:
        known, newer = _model_version(tx.connection, version), _curation(tx.connection, curation)
    except NotFound as error:
        raise NotReady(_FACTS_COME_SECONDS, error.message) from error
    asked = replace(known, curation=newer.name, curated_manifest=newer.manifest)
    for gate, spec in _gates(tx.connection, known):
        _evaluate_for_gate(tx, gate, spec, asked, run, generation, live_at=endpoint)


def _gates(connection: Connection, version: ModelVersion) -> Iterator[tuple[Order, GateSpec]]:
    """The gates that judge versions of this model now."""
    for gate in orders.all_orders(connection, f"projects/{project_of(version.name)}/gates/"):
        spec = GateSpec.from_json(gate.spec)
        if spec.model == version.model and not gate.paused:
            yield gate, spec


def _evaluate_for_gate(
    tx: Transaction,
    gate: Order,
    spec: GateSpec,
    version: ModelVersion,
    run: str,
    generation: int,
    *,
    live_at: str = "",
) -> None:
    """The tuned model against the very base it was made from, without and with examples, and against what is
    live where a rule says so; what is live itself is not compared with itself.
    """
    live = None
    if not live_at and any(rule.compared_to is Baseline.LIVE for rule in spec.rules):
        live = store.find_live_version(tx.connection, version.model)
    wanted = EvaluationSpec(
        candidates=(
            Candidate("base", version.base_model, 0),
            Candidate("prompted", version.base_model, SEARCH),
            *([Candidate("live", live.name, 0)] if live else []),
            Candidate("tuned", version.name, 0),
        ),
        live_at=live_at,
        items=ItemSource(curation=version.curation),
        general_suite=spec.general_suite or "builtin",
        max_items=spec.max_items,
        few_shot=spec.few_shot,
        suites=spec.suites,
    )
    models = {
        version.base_model: PinnedModel(version.base_model_manifest),
        version.name: PinnedModel(version.base_model_manifest, version.manifest),
    }
    if live:
        models[live.name] = PinnedModel(live.base_model_manifest, live.manifest)
    _add(
        tx,
        Evaluation(
            name=EVALUATION.format(project=project_of(version.name), evaluation=new_id()),
            project=project_of(version.name),
            gate=gate.name,
            gate_revision=gate.revision,
            model_version=version.name,
            spec=wanted,
            inputs=Inputs(
                models, version.curation, version.curated_manifest, _known_suites(tx.connection, spec.suites)
            ),
            run=run,
            generation=generation,
            create_time=tx.now,
            created_by=gate.name,
        ),
    )


def create_evaluation(
    tx: Transaction,
    parent: str,
    spec: EvaluationSpec,
    *,
    allowed_urls: Collection[str] = (),
    priority: int = 0,
    deadline: datetime | None = None,
) -> str:
    """Evaluate because a client asked; returns the evaluation's name. Nothing follows from it.

    Raises:
        InvalidArgument: BAD_EVALUATION, with every fault.
        NotFound: a model or a curation that is not known, and which are.
    """
    inputs = inputs_of(tx.connection, parent, spec, allowed_urls)
    project = project_of(parent)
    evaluation = Evaluation(
        name=EVALUATION.format(project=project, evaluation=new_id()),
        project=project,
        gate="",
        gate_revision=0,
        model_version="",
        spec=spec,
        inputs=inputs,
        run=new_run_id(),
        generation=0,
        create_time=tx.now,
        created_by=principal.current(),
    )
    _add(tx, evaluation, priority, deadline)
    return evaluation.name


def inputs_of(
    connection: Connection, parent: str, spec: EvaluationSpec, allowed_urls: Collection[str] = ()
) -> Inputs:
    """Check the specification and find what it names. Raises: as create_evaluation."""
    check_evaluation(parent, spec, allowed_urls)
    models: dict[str, PinnedModel] = {}
    curation, curated = spec.items.curation, None
    if curation:
        curated = _curation(connection, curation).manifest
    for candidate in spec.candidates:
        if not candidate.model:
            continue
        if BASE_MODEL.matches(candidate.model):
            models[candidate.model] = PinnedModel(_base_model(connection, candidate.model).manifest)
            continue
        version = _model_version(connection, candidate.model)
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
    curated = _curation(connection, curation).manifest if curation else None
    return PinnedSuite(name, order.revision, curated)


def _known_suites(connection: Connection, names: Sequence[str]) -> tuple[PinnedSuite, ...]:
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


def _model_version(connection: Connection, name: str) -> ModelVersion:
    found = store.find_model_version(connection, name)
    if found is None:
        raise not_found("model version", name, store.known(connection, "model_versions", project_of(name)))
    return found


def _curation(connection: Connection, name: str) -> Curation:
    found = store.find_curation(connection, name)
    if found is None:
        raise not_found("curation", name, store.known(connection, "curations", project_of(name)))
    return found


def _add(
    tx: Transaction, evaluation: Evaluation, priority: int = 0, deadline: datetime | None = None
) -> None:
    store.add_evaluation(tx.connection, evaluation)
    store.forget_finished(tx.connection, tx.now - _WATCHED)
    tx.enqueue(
        JOB,
        resource=evaluation.name,
        project=evaluation.project,
        run=evaluation.run,
        generation=evaluation.generation,
        revision=evaluation.gate_revision,
        priority=1 if evaluation.gate else priority,
        parent=evaluation.gate,
        deadline=deadline,
    )


def cancel_evaluation(tx: Transaction, name: str) -> None:
    """Ask an evaluation to stop.

    Raises:
        NotFound: EVALUATION_NOT_FOUND.
        IllegalTransition: it has ended already.
    """
    get_evaluation(tx.connection, name)
    if not tx.cancel_job(name):
        job = job_of(tx.connection, name)
        state = job.state if job else "unknown"
        if state != "CANCELLING":
            raise IllegalTransition(
                f"{name} is {state} and cannot be cancelled", metadata={"name": name, "state": state}
            )


def get_evaluation(connection: Connection, name: str) -> Evaluation:
    """Raises NotFound: EVALUATION_NOT_FOUND."""
    EVALUATION.parse(name)
    evaluation = store.find_evaluation(connection, name)
    if evaluation is None:
        raise NotFound(
            f"there is no evaluation {name}; ListEvaluations names those there are",
            reason="EVALUATION_NOT_FOUND",
            metadata={"name": name},
        )
    return evaluation


def evaluation_succeeded(
    tx: Transaction,
    name: str,
    findings: Mapping[str, Any],
    objects: Mapping[str, ObjectReference],
    item_results: Iterable[tuple[str, str, str, str]],
) -> None:
    """The job's result: keep it, tell of it, and where a gate asked, what it says of the version."""
    evaluation = get_evaluation(tx.connection, name)
    store.finish_evaluation(tx.connection, name, findings, objects, item_results)
    tx.notify(name)
    causes = {"run": evaluation.run, "generation": evaluation.generation}
    succeeded = announcements.evaluation_succeeded(evaluation, objects["report"])
    tx.publish(succeeded, subject=name, **causes)  # type: ignore[arg-type]
    if evaluation.gate and evaluation.spec.live_at:
        again = announcements.judged_again(evaluation, findings["verdict"])
        tx.publish(again, subject=evaluation.model_version, **causes)  # type: ignore[arg-type]
    elif evaluation.gate:
        outcome = announcements.gate_outcome(evaluation, findings["verdict"], objects["reference_outputs"])
        tx.publish(outcome, subject=evaluation.model_version, **causes)  # type: ignore[arg-type]


def evaluation_failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """The job failed for good or was cancelled. A failed one is told of; a version nobody judged is neither
    approved nor rejected."""
    tx.notify(job.resource)
    if reason != "CANCELLED":
        failed = announcements.evaluation_failed(job.resource, reason, message)
        tx.publish(failed, subject=job.resource, run=job.run, generation=job.generation)
