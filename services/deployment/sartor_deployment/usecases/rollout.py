"""The way of a checked revision to all users: shadow, approval, canary, promotion, and back by itself.

All state is in the revision's row, so whoever looks next goes on where the last one stopped. Each step is one
transaction under the revision's lock.
"""

from __future__ import annotations

from datetime import timedelta

from sartor_platform import principal
from sartor_platform.errors import FailedPrecondition
from sartor_platform.transaction import Transaction

from sartor_deployment import store
from sartor_deployment.resources import REVISION, Revision, State
from sartor_deployment.rollout import Approval, DecisionKind, Verdict, judge, judge_shadow, lacks_feedback
from sartor_deployment.store import Traffic
from sartor_deployment.usecases import endpoints, loop, revisions
from sartor_deployment.usecases.decisions import decide


def begin(tx: Transaction, revision: Revision) -> None:
    """Its checks passed: let it answer in the shadow, or go on to users."""
    endpoint = store.endpoint(tx.connection, revision.endpoint, lock=True)
    if endpoint.live_revision:
        live = store.revision(tx.connection, endpoint.live_revision)
        if live.number > revision.number:
            revisions.reject(tx, revision, "OVERTAKEN", f"{live.name}, which is newer, went live first")
            return
    other = store.canary_of(tx.connection, revision.endpoint)
    if other is not None and other.name != revision.name:
        older, newer = sorted((other, revision), key=lambda each: each.number)
        revisions.reject(tx, older, "OVERTAKEN", f"{newer.name} is newer and passed its checks")
        if older.name == revision.name:
            return
    if revision.spec.rollout.shadow.share and endpoint.live_revision:
        _start_shadow(tx, revision)
    else:
        _to_users(tx, revision, endpoint.live_revision)


def _to_users(tx: Transaction, revision: Revision, live: str) -> None:
    """Ask a person, start the canary, or promote."""
    rollout = revision.spec.rollout
    if _asked_because_paused(tx, revision):
        return
    if rollout.approval is Approval.BEFORE_CANARY and not revision.approved_by:
        _ask(tx, revision, "the project file asks for a person's approval before users are served", "ORDERED")
    elif rollout.canary.steps and live:
        _start_canary(tx, revision)
    else:
        finish(tx, revision)


def approve(tx: Transaction, name: str) -> None:
    """A person agrees.

    Raises:
        FailedPrecondition: NOT_AWAITING_APPROVAL.
    """
    REVISION.parse(name)
    revision = store.revision(tx.connection, name, lock=True)
    if revision.state is not State.AWAITING_APPROVAL:
        raise FailedPrecondition(
            f"{name} is {revision.state}: it does not wait for an approval",
            reason="NOT_AWAITING_APPROVAL",
            metadata={"name": name, "state": revision.state},
        )
    person = principal.current()
    decide(tx, revision, DecisionKind.APPROVED, f"{person} agreed", by=person)
    store.update_revision(tx, name, approved_by=person)
    revision = store.revision(tx.connection, name, lock=True)
    live = store.endpoint(tx.connection, revision.endpoint).live_revision
    if revision.canary_step == 0 and revision.spec.rollout.canary.steps and live:
        _start_canary(tx, revision)
    else:
        revisions.promote(tx, revision)


def reject_by_hand(tx: Transaction, name: str, message: str) -> None:
    """A person stops a revision that is not live yet.

    Raises:
        IllegalTransition: it is live already, or has ended.
    """
    REVISION.parse(name)
    revision = store.revision(tx.connection, name, lock=True)
    person = principal.current()
    tx.cancel_job(name)
    text = f"{person} rejected it" + (f": {message}" if message else "")
    revisions.reject(tx, revision, "REJECTED_BY_HAND", text, by=person)


def tick(tx: Transaction) -> None:
    """Look at everything in the shadow, at every canary, and at every revision that was just promoted."""
    for name in store.on_their_way(tx.connection):
        revision = store.revision(tx.connection, name, lock=True)
        if revision.state is State.SHADOW:
            _look_at_shadow(tx, revision)
        elif revision.state is State.CANARY:
            _look_at_canary(tx, revision)
        elif revision.state is State.LIVE:
            _look_at_live(tx, revision)


def finish(tx: Transaction, revision: Revision) -> None:
    """Nothing but a person may stand between it and all users."""
    if _asked_because_paused(tx, revision):
        return
    if revision.spec.rollout.approval is Approval.BEFORE_PROMOTION and not revision.approved_by:
        _ask(
            tx,
            revision,
            "the project file asks for a person's approval before all users are served",
            "ORDERED",
        )
    else:
        revisions.promote(tx, revision)


def _asked_because_paused(tx: Transaction, revision: Revision) -> bool:
    """While the brake is pulled, nothing that the loop made goes on without a person."""
    by = "" if revision.approved_by else loop.braked(tx.connection, revision.endpoint, revision.run)
    if by:
        _ask(tx, revision, f"{by} paused the loop that made it", "LOOP_PAUSED")
    return bool(by)


def _ask(tx: Transaction, revision: Revision, message: str, reason: str) -> None:
    revision.check_move(State.AWAITING_APPROVAL)
    store.update_revision(tx, revision.name, state=State.AWAITING_APPROVAL, canary_weight=0)
    decide(tx, revision, DecisionKind.APPROVAL_ASKED, message, reason=reason)
    tx.notify(revisions.AGENTS)


def _start_shadow(tx: Transaction, revision: Revision) -> None:
    revision.check_move(State.SHADOW)
    share = revision.spec.rollout.shadow.share
    store.update_revision(tx, revision.name, state=State.SHADOW, step_time=tx.now)
    decide(
        tx,
        revision,
        DecisionKind.SHADOW_STARTED,
        f"{share:.0%} of what users ask the live revision it is asked too; nobody sees its answers",
        figures={"share": share},
    )
    tx.notify(revisions.AGENTS)


def _look_at_shadow(tx: Transaction, revision: Revision) -> None:
    shadow, since = revision.spec.rollout.shadow, revision.step_time or tx.now
    live, new, other = _both(tx, revision)
    verdict = judge_shadow(new, other, revision.spec.rollout.stop, shadow)
    if verdict.stop:
        reason = f"SHADOW_{verdict.stop}"
        revisions.reject(tx, revision, reason, verdict.message, figures=dict(verdict.figures))
    elif new.requests < shadow.min_requests:
        _ask_after(tx, revision, shadow.patience_seconds, new.requests, shadow.min_requests)
    elif (tx.now - since).total_seconds() >= shadow.seconds:
        message = f"{new.requests} answers in the shadow went well: {verdict.message}"
        decide(tx, revision, DecisionKind.SHADOW_PASSED, message, figures=dict(verdict.figures))
        _to_users(tx, revision, live)


def _both(tx: Transaction, revision: Revision) -> tuple[str, Traffic, Traffic]:
    """What is live, and what this revision and the live one did since its step began."""
    live = store.endpoint(tx.connection, revision.endpoint, lock=True).live_revision
    since = revision.step_time or tx.now
    found = store.traffic(tx.connection, since, tx.now + timedelta(days=1), endpoint=revision.endpoint)
    return live, found.get(revision.name, Traffic(revision.name)), found.get(live, Traffic(live))


def _ask_after(tx: Transaction, revision: Revision, patience: float, requests: int, needed: int) -> None:
    """Ask a person where too little came for too long."""
    seconds = (tx.now - (revision.step_time or tx.now)).total_seconds()
    if seconds > patience:
        message = f"only {requests} requests came in {seconds:.0f} s, {needed} are needed to judge it"
        _ask(tx, revision, message, "TOO_LITTLE_TRAFFIC")


def _start_canary(tx: Transaction, revision: Revision) -> None:
    revision.check_move(State.CANARY)
    weight = revision.spec.rollout.canary.steps[0]
    store.update_revision(
        tx, revision.name, state=State.CANARY, canary_step=1, canary_weight=weight, step_time=tx.now
    )
    decide(
        tx,
        revision,
        DecisionKind.CANARY_STARTED,
        f"{weight} % of the traffic goes to it",
        figures={"weight": float(weight)},
    )
    tx.notify(revisions.AGENTS)


def _look_at_canary(tx: Transaction, revision: Revision) -> None:
    rollout, since = revision.spec.rollout, revision.step_time or tx.now
    _live, new, other = _both(tx, revision)
    verdict = judge(new, other, rollout.stop, rollout.canary.min_requests)
    figures = {**verdict.figures, "weight": float(revision.canary_weight)}
    if verdict.stop:
        revisions.reject(tx, revision, f"CANARY_{verdict.stop}", verdict.message, figures=figures)
        return
    if new.requests < rollout.canary.min_requests:
        _ask_after(tx, revision, rollout.canary.patience_seconds, new.requests, rollout.canary.min_requests)
        return
    seconds = (tx.now - since).total_seconds()
    if lacks_feedback(new, other, rollout.stop) and seconds < rollout.canary.patience_seconds:
        return
    if seconds >= rollout.canary.step_seconds:
        _next_step(tx, revision, verdict, figures)


def _next_step(tx: Transaction, revision: Revision, verdict: Verdict, figures: dict[str, float]) -> None:
    steps = revision.spec.rollout.canary.steps
    if revision.canary_step >= len(steps):
        finish(tx, revision)
        return
    if not revision.approved_by and loop.braked(tx.connection, revision.endpoint, revision.run):
        return  # no further user meets it while the brake is pulled; the stop rules go on
    weight = steps[revision.canary_step]
    store.update_revision(
        tx,
        revision.name,
        canary_step=revision.canary_step + 1,
        canary_weight=weight,
        step_time=tx.now,
    )
    decide(
        tx,
        revision,
        DecisionKind.CANARY_STEP,
        f"{weight} % of the traffic goes to it, {revision.canary_weight} % went well: {verdict.message}",
        figures={**figures, "next_weight": float(weight)},
    )
    tx.notify(revisions.AGENTS)


def _look_at_live(tx: Transaction, revision: Revision) -> None:
    """Whether what was just promoted must go back, by what the one before did in as long a time."""
    endpoint = store.endpoint(tx.connection, revision.endpoint, lock=True)
    rollout = revision.spec.rollout
    promoted = revision.live_time or tx.now
    window = timedelta(seconds=rollout.watch_seconds)
    if endpoint.rollback_to or not endpoint.previous_revision or tx.now - promoted > window:
        return
    before = store.traffic(tx.connection, promoted - window, promoted, revision=endpoint.previous_revision)
    after = store.traffic(tx.connection, promoted, tx.now + timedelta(days=1), revision=revision.name)
    verdict = judge(
        after.get(revision.name, Traffic(revision.name)),
        before.get(endpoint.previous_revision, Traffic(endpoint.previous_revision)),
        rollout.stop,
        rollout.canary.min_requests,
    )
    if verdict.stop:
        endpoints.roll_back(
            tx, endpoint, reason=verdict.stop, message=verdict.message, figures=dict(verdict.figures)
        )
