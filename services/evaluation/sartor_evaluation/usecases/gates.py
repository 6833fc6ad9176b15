"""What events lead to: what may be evaluated is remembered, and gates judge new and live versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sartor_platform import orders
from sartor_platform.errors import NotFound, NotReady
from sartor_platform.names import new_id
from sartor_platform.orders import Order
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection

from sartor_evaluation import store
from sartor_evaluation.gates import Baseline
from sartor_evaluation.names import EVALUATION, SEARCH, project_of
from sartor_evaluation.resources import BaseModel, Curation, Evaluation, Inputs, ModelVersion, PinnedModel
from sartor_evaluation.specs import Candidate, EvaluationSpec, GateSpec, ItemSource
from sartor_evaluation.usecases import evaluations, inputs

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
        known, newer = (
            inputs.known_model_version(tx.connection, version),
            inputs.known_curation(tx.connection, curation),
        )
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
    evaluations.add(
        tx,
        Evaluation(
            name=EVALUATION.format(project=project_of(version.name), evaluation=new_id()),
            project=project_of(version.name),
            gate=gate.name,
            gate_revision=gate.revision,
            model_version=version.name,
            spec=wanted,
            inputs=Inputs(
                models,
                version.curation,
                version.curated_manifest,
                inputs.known_suites(tx.connection, spec.suites),
            ),
            run=run,
            generation=generation,
            create_time=tx.now,
            created_by=gate.name,
        ),
    )
