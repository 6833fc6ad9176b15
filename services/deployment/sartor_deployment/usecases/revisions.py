"""The life of a revision: made, built, checked, promoted or rejected. Each move is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import log, orders, principal
from sartor_platform.errors import FailedPrecondition, InvalidArgument, NotFound
from sartor_platform.names import new_run_id
from sartor_platform.transaction import Transaction

from sartor_deployment import announcements, store
from sartor_deployment.resources import ENDPOINT, MODEL_VERSION, MOVES, EndpointSpec, Parity, Revision, State
from sartor_deployment.rollout import DecisionKind
from sartor_deployment.usecases import adaptations, decisions

BUILD = "build"
PARITY = "parity"
AGENTS = "agents"
"""What agents and gateways listen to: something changed in what should run, or where it answers."""


def deploy_approved(
    tx: Transaction, version: str, model: str, references: ObjectReference, run: str, generation: int
) -> list[str]:
    """On ModelVersionApproved: each endpoint of the model gets one revision. Returns their names."""
    store.put_approval(tx, version, model, references, run, generation)
    made = [
        deploy(tx, name, version, references, run, generation)
        for name in store.endpoints_of(tx.connection, model)
    ]
    adaptations.approved(tx, run, version)
    return [name for name in made if name]


def deploy(
    tx: Transaction, endpoint: str, version: str, references: ObjectReference, run: str, generation: int
) -> str:
    """A standing order's revision of this version; "" where it has one already, or is paused."""
    order = orders.get(tx.connection, endpoint)
    if order.paused:
        log.get().info("deployment.endpoint_paused", endpoint=endpoint, model_version=version)
        return ""
    return _make(tx, order, version, references, run, generation, by_hand=False)


def create_revision(tx: Transaction, endpoint: str, version: str) -> str:
    """Deploy a model version by hand, with the same checks. Returns the revision's name.

    Raises:
        NotFound: ENDPOINT_NOT_FOUND, MODEL_VERSION_NOT_FOUND.
        InvalidArgument: MODEL_MISMATCH: the version is of another project.
        FailedPrecondition: NOT_EVALUATED: there are no reference outputs to check it against.
    """
    project = ENDPOINT.parse(endpoint, field="parent")["project"]
    if MODEL_VERSION.parse(version, field="model_version")["project"] != project:
        raise InvalidArgument(f"{version} is not of project {project}", reason="MODEL_MISMATCH")
    store.endpoint(tx.connection, endpoint)
    known = store.model_version(tx.connection, version)
    if known is None:
        raise NotFound(
            f"deployment knows no {version}; see `sartor get models` for the versions there are",
            reason="MODEL_VERSION_NOT_FOUND",
            metadata={"name": version},
        )
    if known.references is None:
        raise FailedPrecondition(
            f"{version} has no reference outputs of an approving evaluation, so a served copy cannot be"
            " checked against it; let its gate evaluate it first",
            reason="NOT_EVALUATED",
            metadata={"name": version},
        )
    order = orders.get(tx.connection, endpoint)
    return _make(tx, order, version, known.references, new_run_id(), order.generation, by_hand=True)


def built(
    tx: Transaction,
    name: str,
    weights: ObjectReference,
    variants: Sequence[Mapping[str, Any]] = (),
    base: ObjectReference | None = None,
    verdict: Mapping[str, Any] | None = None,
) -> None:
    """On the build's result: agents start engines.

    Args:
        variants: were measured to choose the weights.
        base: the base's file, where the weights are an adapter that is added to it.
        verdict: whether it shares its base, where that was left to the figures: message and figures.
    """
    revision = store.revision(tx.connection, name, lock=True)
    if revision.state is State.REJECTED:
        return  # by hand, while it was built
    revision.check_move(State.STARTING)
    store.update_revision(
        tx,
        name,
        state=State.STARTING,
        weights=asdict(weights),
        variants=[dict(each) for each in variants],
        base_weights=asdict(base) if base else None,
    )
    if verdict:
        kind, figures = DecisionKind.WEIGHTS_FORM_CHOSEN, verdict["figures"]
        decisions.decide(tx, revision, kind, verdict["message"], figures=figures)
    _wake_agents(tx)


def check(tx: Transaction, revision: Revision) -> None:
    """Its engine answers: compare it with the evaluated model."""
    revision.check_move(State.CHECKING)
    store.update_revision(tx, revision.name, state=State.CHECKING)
    _enqueue(tx, PARITY, revision)


def checked(tx: Transaction, name: str, measured: Parity, smoke: Sequence[Mapping[str, str]] = ()) -> None:
    """On the check's result: onwards inside the bounds, rejected outside, with the numbers.

    Args:
        smoke: the answers to the smoke prompts: prompt, answer and fault ("" where it is as expected).
    """
    revision = store.revision(tx.connection, name, lock=True)
    if revision.state is not State.CHECKING:
        return  # it was rejected meanwhile, because its engine kept failing
    store.update_revision(tx, name, parity=measured.to_json())
    revision = replace(revision, parity=measured)
    bounds = revision.spec.parity
    figures = decisions.parity_figures(measured)
    if measured.passed:
        decisions.decide(
            tx,
            revision,
            DecisionKind.PARITY_PASSED,
            f"the served engine is the evaluated model: top-1 agreement {measured.top1_agreement:.4f} on"
            f" {measured.tokens} tokens",
            figures=figures,
        )
        _after_parity(tx, revision, smoke)
        return
    difference = abs(measured.served_loss - measured.reference_loss)
    reason = "PARITY_LOSS" if difference > bounds.loss_margin else "PARITY_TOP1"
    reject(
        tx,
        revision,
        reason,
        f"the served engine is not the evaluated model: loss {measured.served_loss:.4f} against"
        f" {measured.reference_loss:.4f} (difference {difference:.4f}, allowed {bounds.loss_margin:g}),"
        f" top-1 agreement {measured.top1_agreement:.4f} (at least {bounds.top1_agreement:g})"
        f" on {measured.tokens} tokens of {measured.items} items",
        figures=figures,
    )


def _after_parity(tx: Transaction, revision: Revision, smoke: Sequence[Mapping[str, str]]) -> None:
    from sartor_deployment.usecases import rollout  # it builds on this module

    wrong = [each for each in smoke if each["fault"]]
    figures = {"smoke_prompts": float(len(smoke)), "smoke_failed": float(len(wrong))}
    if wrong:
        first = wrong[0]
        reject(
            tx,
            revision,
            "SMOKE_FAILED",
            f"{len(wrong)} of {len(smoke)} smoke prompts went wrong: to {first['prompt'][:80]!r} it said"
            f" {first['answer'][:120]!r}: {first['fault']}",
            figures=figures,
        )
        return
    if smoke:
        text = f"all {len(smoke)} smoke prompts were answered as expected"
        decisions.decide(tx, revision, DecisionKind.SMOKE_PASSED, text, figures=figures)
    rollout.begin(tx, revision)


def promote(tx: Transaction, revision: Revision) -> None:
    """Let it answer from this transaction on; what answered before is superseded and kept for a rollback."""
    endpoint = store.endpoint(tx.connection, revision.endpoint, lock=True)
    if endpoint.live_revision:
        live = store.revision(tx.connection, endpoint.live_revision, lock=True)
        if live.number > revision.number:
            reject(tx, revision, "OVERTAKEN", f"{live.name}, which is newer, went live first")
            return
        live.check_move(State.SUPERSEDED)
        warm = revision.spec.rollout.watch_seconds
        warm_until = tx.now + timedelta(seconds=warm) if warm else None
        store.update_revision(tx, live.name, state=State.SUPERSEDED, warm_until=warm_until)
    if endpoint.rollback_to:
        store.update_revision(tx, endpoint.rollback_to, state=State.SUPERSEDED)
    revision.check_move(State.LIVE)
    store.update_revision(tx, revision.name, state=State.LIVE, live_time=tx.now, canary_weight=0)
    store.update_endpoint(
        tx,
        endpoint.name,
        live_revision=revision.name,
        previous_revision=endpoint.live_revision,
        rollback_to="",
    )
    announcements.revision_promoted(tx, revision, endpoint.live_revision)
    decisions.decide(
        tx,
        revision,
        DecisionKind.PROMOTED,
        "all traffic goes to it"
        + (f" instead of {endpoint.live_revision}" if endpoint.live_revision else ""),
        figures=decisions.parity_figures(revision.parity),
    )
    adaptations.revision_settled(tx, revision, State.LIVE, "", "")
    _wake_agents(tx)
    log.get().info(
        "deployment.promoted", revision=revision.name, previous=endpoint.live_revision, run=revision.run
    )


def reject(
    tx: Transaction,
    revision: Revision,
    reason: str,
    message: str,
    *,
    figures: Mapping[str, float] | None = None,
    by: str = "",
) -> None:
    """It never goes live, and says why; its engine is stopped, what is live stays live."""
    revision.check_move(State.REJECTED)
    store.update_revision(
        tx, revision.name, state=State.REJECTED, error_reason=reason, error_message=message, canary_weight=0
    )
    decisions.decide(tx, revision, DecisionKind.REJECTED, message, reason=reason, figures=figures, by=by)
    announcements.revision_rejected(tx, replace(revision, error_reason=reason, error_message=message))
    adaptations.revision_settled(tx, revision, State.REJECTED, reason, message)
    _wake_agents(tx)
    log.get().warning(
        "deployment.rejected", revision=revision.name, reason=reason, message=message, run=revision.run
    )


def job_failed(tx: Transaction, name: str, reason: str, message: str) -> None:
    """On a build or a check that failed for good."""
    revision = store.revision(tx.connection, name, lock=True)
    if State.REJECTED in MOVES[revision.state]:
        reject(tx, revision, reason, message)


def _make(
    tx: Transaction,
    order: orders.Order,
    version: str,
    references: ObjectReference,
    run: str,
    generation: int,
    *,
    by_hand: bool,
) -> str:
    endpoint = store.endpoint(tx.connection, order.name, lock=True)
    revision = Revision(
        name=f"{endpoint.name}/revisions/r{endpoint.next_number}",
        endpoint=endpoint.name,
        project=ENDPOINT.parse(endpoint.name)["project"],
        number=endpoint.next_number,
        model_version=version,
        state=State.BUILDING,
        order_revision=order.revision,
        spec=EndpointSpec.from_json(order.spec),
        by_hand=by_hand,
        references=references,
        weights=None,
        parity=None,
        error_reason="",
        error_message="",
        run=run,
        generation=generation,
        created_by=principal.current() if by_hand else order.name,
        create_time=tx.now,
        live_time=None,
    )
    if not store.insert_revision(tx, revision):
        return ""
    store.update_endpoint(tx, endpoint.name, next_number=endpoint.next_number + 1)
    _enqueue(tx, BUILD, revision)
    return revision.name


def _enqueue(tx: Transaction, kind: str, revision: Revision) -> None:
    tx.enqueue(
        kind,
        resource=revision.name,
        project=revision.project,
        run=revision.run,
        generation=revision.generation,
        revision=revision.order_revision,
        parent=revision.endpoint,
    )


def _wake_agents(tx: Transaction) -> None:
    tx.notify(AGENTS)
