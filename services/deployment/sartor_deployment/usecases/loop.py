"""The loop of an endpoint: a thin policy that begins adaptations, and the brake a person can pull.

Looked at every few seconds by one server. All it knows is in rows, so whoever looks next goes on.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sartor_platform import log, orders, principal
from sartor_platform.errors import FailedPrecondition, SartorError
from sartor_platform.names import new_id, new_run_id
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection

from sartor_deployment import store
from sartor_deployment.drift.findings import Finding
from sartor_deployment.loop import (
    ADAPTATION,
    NOTHING_NEW,
    Adaptation,
    AdaptationState,
    Facts,
    LoopSpec,
    Trigger,
    cause,
    given_back,
    held,
)
from sartor_deployment.resources import ENDPOINT, EndpointSpec
from sartor_deployment.rollout import DecisionKind
from sartor_deployment.usecases import adaptations
from sartor_deployment.usecases.decisions import decide_about

_OWN_SNAPSHOT_SECONDS = 900.0
"""So long an adaptation waits for the curation of its own snapshot before it takes another new one."""
_NOTHING_CAME_SECONDS = 60.0
"""Where it sent no records itself, it waits so long for a snapshot before it takes the newest curation.

Where that is the one that what is live was trained on, it waits for its own as long as above: ingestion or
curation may be away, or have much to do.
"""


def tick(runtime: Runtime) -> None:
    """Look at every endpoint that has a loop, each in a transaction of its own."""
    with runtime.database.read() as connection:
        names = list(store.live_revisions(connection))
    for name in names:
        try:
            with runtime.database.transaction() as tx:
                look(tx, name)
        except SartorError as error:
            log.get().error("loop.did_not_look", endpoint=name, reason=error.reason, error=error.message)


def look(tx: Transaction, endpoint: str) -> None:
    """Go on with the adaptation that is under way, or begin one where something asks for it."""
    order = orders.get(tx.connection, endpoint)
    spec = EndpointSpec.from_json(order.spec).loop
    if not spec.configured:
        return
    row = store.loop(tx.connection, endpoint, lock=True)
    current = store.current_adaptation(tx.connection, endpoint, lock=True)
    if current is not None:
        _go_on(tx, current, spec, paused=bool(row.paused_by))
        return
    if not store.endpoint(tx.connection, endpoint).live_revision:
        return  # the first version comes by the standing orders alone
    known = facts(tx.connection, endpoint, spec, tx.now)
    wanted = cause(spec, known, tx.now)
    if wanted is None:
        _hold(tx, row, "", "")
        return
    reason, text = ("PAUSED", f"{row.paused_by} paused the loop") if row.paused_by else ("", "")
    if not reason:
        reason, text = held(spec, known, tx.now)
    if not reason:
        reason, text = _rollout_under_way(tx.connection, endpoint)
    if reason:
        _hold(tx, row, reason, f"{wanted[1]}, but {text}")
        return
    _hold(tx, row, "", "")
    adaptations.begin(tx, _new(tx, endpoint, order, *wanted), spec)


def start_by_hand(tx: Transaction, endpoint: str) -> Adaptation:
    """Begin one because a person asked.

    Raises:
        NotFound: ENDPOINT_NOT_FOUND.
        FailedPrecondition: NO_LOOP, LOOP_PAUSED, ADAPTATION_UNDER_WAY, NOTHING_LIVE, BUDGET_….
    """
    ENDPOINT.parse(endpoint)
    live = store.endpoint(tx.connection, endpoint).live_revision
    order = orders.get(tx.connection, endpoint)
    spec = _configured(endpoint, order)
    row = store.loop(tx.connection, endpoint, lock=True)
    current = store.current_adaptation(tx.connection, endpoint)
    known = facts(tx.connection, endpoint, spec, tx.now)
    reason, text = held(spec, known, tx.now)
    if row.paused_by:
        raise _not_now("LOOP_PAUSED", f"{row.paused_by} paused the loop of {endpoint}; resume it first")
    if current is not None:
        raise _not_now("ADAPTATION_UNDER_WAY", f"{current.name} is {current.state}; wait for its end")
    if not live:
        raise _not_now("NOTHING_LIVE", f"{endpoint} has no live revision that could be adapted")
    if reason.startswith("BUDGET"):
        raise _not_now(reason, f"{text}; raise the budget in the project file, or wait")
    person = principal.current()
    made = _new(tx, endpoint, order, Trigger.HAND, f"{person} asked for it")
    return adaptations.begin(tx, made, spec)


def pause(tx: Transaction, endpoint: str, message: str) -> None:
    """Pull the brake.

    Raises:
        NotFound: ENDPOINT_NOT_FOUND.
        FailedPrecondition: NO_LOOP.
    """
    ENDPOINT.parse(endpoint)
    store.endpoint(tx.connection, endpoint)
    _configured(endpoint, orders.get(tx.connection, endpoint))
    person = principal.current()
    row = store.loop(tx.connection, endpoint, lock=True)
    if row.paused_by:
        return
    store.update_loop(tx, endpoint, paused_by=person, pause_message=message, pause_time=tx.now)
    text = f"{person} paused the loop" + (f": {message}" if message else "")
    decide_about(tx, endpoint, DecisionKind.LOOP_PAUSED, text, by=person)


def resume(tx: Transaction, endpoint: str) -> None:
    """Let it go on. Raises: as pause."""
    ENDPOINT.parse(endpoint)
    store.endpoint(tx.connection, endpoint)
    _configured(endpoint, orders.get(tx.connection, endpoint))
    person = principal.current()
    if store.loop(tx.connection, endpoint, lock=True).paused_by:
        store.update_loop(tx, endpoint, paused_by="", pause_message="", pause_time=None)
        decide_about(tx, endpoint, DecisionKind.LOOP_RESUMED, f"{person} let the loop go on", by=person)


def braked(connection: Connection, endpoint: str, run: str) -> str:
    """Who paused the loop, where this run is an adaptation's: it reaches no user without a person."""
    row = store.loop(connection, endpoint)
    return row.paused_by if row.paused_by and store.made_by_loop(connection, run) else ""


def curation_succeeded(
    tx: Transaction,
    name: str,
    policy: str,
    standing_order: str,
    training_records: int,
    run: str,
    snapshot: str,
) -> None:
    """On CurationSucceeded: remember it; the adaptation that asked for it goes on."""
    if not standing_order:
        return  # somebody looked at the data: no stage follows from that
    store.put_curation(tx, name, policy, training_records, run, snapshot)
    _go_on_with_run(tx, run)


def snapshot_unchanged(tx: Transaction, snapshot: str, run: str) -> None:
    """On SnapshotUnchanged: the adaptation that asked takes what there is, and need not wait for more."""
    found = store.adaptation_of_run(tx.connection, run)
    if found is None or found.state is not AdaptationState.COLLECTING:
        return
    if not snapshot:
        text = "the loop's dataset never had any records; send some, or correct answers"
        adaptations.fail(tx, found, NOTHING_NEW, text)
        return
    store.update_adaptation(tx, found, snapshot=snapshot)
    _go_on_with_run(tx, run)


def _go_on_with_run(tx: Transaction, run: str) -> None:
    found = store.adaptation_of_run(tx.connection, run)
    if found is not None:
        spec = EndpointSpec.from_json(orders.get(tx.connection, found.endpoint).spec).loop
        paused = bool(store.loop(tx.connection, found.endpoint, lock=True).paused_by)
        _go_on(tx, found, spec, paused=paused)


def facts(connection: Connection, endpoint: str, spec: LoopSpec, now: datetime) -> Facts:
    """What triggers and budget are judged by."""
    live = store.revision(connection, store.endpoint(connection, endpoint).live_revision)
    last = store.last_adaptation(connection, endpoint)
    recent = store.adaptations_since(
        connection, endpoint, now - timedelta(seconds=spec.budget.period_seconds)
    )
    return Facts(
        drift=_drift(connection, live.name, last.create_time if last else None),
        corrections=store.count_corrections(connection, endpoint)[0] + given_back(recent),
        new_records=new_records(connection, live.model_version, spec.curation_policy),
        last_begin=last.create_time if last else None,
        last_end=last.end_time if last else None,
        live_since=live.live_time or live.create_time,
        runs_used=sum(each.training_time is not None for each in recent),
        training_seconds_used=sum(each.training_seconds for each in recent),
    )


def _newer(connection: Connection, live_version: str, policy: str) -> store.Curation | None:
    """The policy's newest curation, if the live version was not trained on it."""
    known = store.model_version(connection, live_version)
    newest = store.curations_of_policy(connection, policy)
    return newest[0] if newest and (known is None or newest[0].name != known.curation) else None


def new_records(connection: Connection, live_version: str, policy: str) -> int:
    """Training records of the policy's newest curation beyond those the live version was trained on."""
    known = store.model_version(connection, live_version)
    before = store.curation(connection, known.curation) if known is not None else None
    newest = store.curations_of_policy(connection, policy)
    if before is None or not newest:
        return 0
    return max(newest[0].training_records - before.training_records, 0)


def _drift(connection: Connection, revision: str, since: datetime | None) -> str:
    window = store.drift_since(connection, revision, since)
    if window is None:
        worse = store.failed_since(connection, revision, since)
        return f"drift in quality: {worse.message}" if worse else ""
    found = [Finding.from_json(each) for each in window.findings if each["found"]]
    return f"drift in window {window.number}: {found[0].message}"


def _go_on(tx: Transaction, current: Adaptation, spec: LoopSpec, *, paused: bool) -> None:
    if current.state is AdaptationState.COLLECTING and not paused:
        curation = _curation_for(tx, current, spec)
        if curation is not None:
            adaptations.curated(tx, current, curation, spec)
            return
    waited = (tx.now - current.stage_time).total_seconds()
    # What the canary and a person take is theirs to bound.
    if waited > spec.stage_timeout_seconds and current.state is not AdaptationState.DEPLOYING and not paused:
        text = f"nothing came of {current.state.value.lower()} for {waited:.0f} s"
        adaptations.fail(tx, current, "STAGE_TIMEOUT", text)


def _curation_for(tx: Transaction, current: Adaptation, spec: LoopSpec) -> store.Curation | None:
    """The curation of the adaptation's own snapshot, or what stands in for it.

    A snapshot that was being sealed when ours was asked for has another run; the one after it holds ours.
    """
    since = store.curations_of_policy(tx.connection, spec.curation_policy, current.create_time)
    own = next((each for each in since if each.run == current.run), None)
    waited = (tx.now - current.create_time).total_seconds()
    if own is not None:
        return own
    if current.snapshot:
        newest = store.curations_of_policy(tx.connection, spec.curation_policy)
        if newest and _holds(newest[0].snapshot, current.snapshot):
            return newest[0]
    if len(since) > 1 or (since and waited > _OWN_SNAPSHOT_SECONDS):
        return since[0]
    if current.corrections or waited <= _NOTHING_CAME_SECONDS:
        return None
    live = store.revision(
        tx.connection, store.endpoint(tx.connection, current.endpoint).live_revision
    ).model_version
    newer = _newer(tx.connection, live, spec.curation_policy)
    if newer is not None or waited <= _OWN_SNAPSHOT_SECONDS:
        return newer
    newest = store.curations_of_policy(tx.connection, spec.curation_policy)
    return newest[0] if newest else None  # the one that is live: told as NOTHING_NEW


def _holds(curated: str, snapshot: str) -> bool:
    """Whether what was curated is that snapshot or a later one. One that is not known is taken for it."""
    of, _, number = curated.rpartition("/")
    dataset, _, wanted = snapshot.rpartition("/")
    if of != dataset or not (number.isdecimal() and wanted.isdecimal()):
        return curated in (snapshot, "")
    return int(number) >= int(wanted)


def _rollout_under_way(connection: Connection, endpoint: str) -> tuple[str, str]:
    names = store.candidates(connection, endpoint)
    if not names:
        return "", ""
    return "ROLLOUT_UNDER_WAY", f"{names[0].rpartition('/')[2]} is on its way to users"


def _hold(tx: Transaction, row: store.LoopRow, reason: str, text: str) -> None:
    """Keep why the next one waits; told once for each reason."""
    if row.held_reason == reason:
        return
    store.update_loop(tx, row.endpoint, held_reason=reason, held=text)
    if reason:
        decide_about(tx, row.endpoint, DecisionKind.ADAPTATION_HELD, text, reason=reason)


def _new(tx: Transaction, endpoint: str, order: orders.Order, trigger: Trigger, why: str) -> Adaptation:
    ids = ENDPOINT.parse(endpoint)
    return Adaptation(
        name=ADAPTATION.format(**ids, adaptation=new_id()),
        endpoint=endpoint,
        project=ids["project"],
        state=AdaptationState.COLLECTING,
        trigger=trigger,
        cause=why,
        run=new_run_id(),
        generation=order.generation,
        corrections=0,
        curation="",
        live_version="",
        model_version="",
        revision="",
        reason="",
        message="",
        training_time=None,
        training_seconds=0.0,
        stage_time=tx.now,
        create_time=tx.now,
        end_time=None,
    )


def _configured(endpoint: str, order: orders.Order) -> LoopSpec:
    spec = EndpointSpec.from_json(order.spec).loop
    if not spec.configured:
        text = f"{endpoint} has no loop; add `loop` to its deployment in the project file and apply it"
        raise _not_now("NO_LOOP", text)
    return spec


def _not_now(reason: str, message: str) -> FailedPrecondition:
    return FailedPrecondition(message, reason=reason)
