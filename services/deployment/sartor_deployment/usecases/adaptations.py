"""The stages of an adaptation, each moved on by the event that ends it. Whoever was down goes on later.

An adaptation's run is its thread: every event that follows from it carries the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sartor_platform.transaction import Transaction

from sartor_deployment import announcements, store
from sartor_deployment.loop import NOTHING_NEW, Adaptation, AdaptationState, LoopSpec
from sartor_deployment.resources import Revision, State
from sartor_deployment.rollout import DecisionKind
from sartor_deployment.store import Correction, Curation
from sartor_deployment.usecases.decisions import decide_about


def begin(tx: Transaction, made: Adaptation, spec: LoopSpec) -> Adaptation:
    """Send what users corrected to ingestion, and have a snapshot sealed."""
    store.insert_adaptation(tx, made)
    corrections = store.take_corrections(tx, made.endpoint, made.name)
    _decide(
        tx,
        made,
        DecisionKind.ADAPTATION_BEGUN,
        f"{made.cause}; {len(corrections)} corrected answers become records",
        reason=made.trigger.value,
        figures={"corrections": float(len(corrections))},
    )
    announcements.corrections_published(tx, made, spec.source, [record_row(each) for each in corrections])
    announcements.snapshot_requested(tx, made, spec.dataset)
    store.update_adaptation(tx, made, corrections=len(corrections))
    return store.adaptation(tx.connection, made.name)


def record_row(correction: Correction) -> dict[str, Any]:
    """A corrected answer as a row of the loop's source: a chat that ends with what was right, or a label."""
    key = f"correction-{correction.id}"
    if correction.question and correction.question[0].get("kind") == "classification":
        text = _text(correction.question[0].get("content", ""))
        return {"id": key, "text": text, "label": correction.correction}
    question = [
        {"role": str(each.get("role", "user")), "content": _text(each.get("content", ""))}
        for each in correction.question
    ]
    answer = {"role": "assistant", "content": correction.correction}
    return {"id": key, "messages": [*question, answer]}


def curated(tx: Transaction, adaptation: Adaptation, curation: Curation, spec: LoopSpec) -> None:
    """The data are there: ask for training, unless it is what the live model was trained on."""
    endpoint = store.endpoint(tx.connection, adaptation.endpoint)
    live = ""
    if endpoint.live_revision:
        live = store.revision(tx.connection, endpoint.live_revision).model_version
    known = store.model_version(tx.connection, live) if live else None
    if known is not None and known.curation == curation.name:
        text = "no new data came since what is live was trained; send records or correct answers"
        fail(tx, adaptation, NOTHING_NEW, text)
        return
    values = {"curation": curation.name, "live_version": live, "training_time": tx.now}
    text = f"training on {curation.name.rpartition('/')[2]}, {curation.training_records} records"
    figures = {"training_records": float(curation.training_records)}
    _move(tx, adaptation, AdaptationState.TRAINING, text, figures, **values)
    announcements.retraining_requested(
        tx, store.adaptation(tx.connection, adaptation.name), spec.training_plan
    )


def version_created(tx: Transaction, run: str, version: str) -> None:
    """On ModelVersionCreated: the gate looks at it."""
    found = store.adaptation_of_run(tx.connection, run)
    if found is None or found.state is not AdaptationState.TRAINING:
        return
    seconds = _training_seconds(tx, found)
    text = f"{_short(version)} was trained in {seconds:.0f} s; the gate compares it with what is live"
    _move(
        tx, found, AdaptationState.EVALUATING, text, {"training_seconds": seconds},
        model_version=version, training_seconds=seconds,
    )  # fmt: skip


def approved(tx: Transaction, run: str, version: str) -> None:
    """On ModelVersionApproved, after its revisions were made."""
    found = store.adaptation_of_run(tx.connection, run)
    if found is None or found.state not in (AdaptationState.TRAINING, AdaptationState.EVALUATING):
        return
    revision = store.revision_of_version(tx.connection, found.endpoint, version)
    if not revision:
        text = f"{_short(version)} passed its gate, but {found.endpoint} is paused and takes no revision"
        fail(tx, found, "ENDPOINT_PAUSED", text)
        return
    text = f"{_short(version)} passed its gate and is deployed as {revision.rpartition('/')[2]}"
    values: dict[str, Any] = {"model_version": version, "revision": revision}
    if found.state is AdaptationState.TRAINING:  # the word of training comes by another topic, and later
        values["training_seconds"] = _training_seconds(tx, found)
    _move(tx, found, AdaptationState.DEPLOYING, text, {}, **values)


def gate_rejected(tx: Transaction, run: str, explanation: str, figures: Mapping[str, float]) -> None:
    """On ModelVersionRejected: what is live stays."""
    found = store.adaptation_of_run(tx.connection, run)
    if found is not None:
        _end(tx, found, AdaptationState.REJECTED, "GATE", explanation, figures)


def stage_failed(tx: Transaction, run: str, reason: str, message: str) -> None:
    """On CurationFailed, TrainingJobFailed, EvaluationFailed."""
    found = store.adaptation_of_run(tx.connection, run)
    if found is not None:
        fail(tx, found, reason, message)


def fail(tx: Transaction, adaptation: Adaptation, reason: str, message: str) -> None:
    """It ends without a version that was judged."""
    _end(tx, adaptation, AdaptationState.FAILED, reason, message, {})


def revision_settled(tx: Transaction, revision: Revision, to: State, reason: str, message: str) -> None:
    """Its revision went live, or was stopped by a check, the canary or a person."""
    found = store.adaptation_of_run(tx.connection, revision.run)
    if found is None or found.endpoint != revision.endpoint:
        return
    if to is not State.LIVE:
        _end(tx, found, AdaptationState.REJECTED, reason, message, {}, revision=revision.name)
        return
    store.update_adaptation(
        tx, found, state=AdaptationState.PROMOTED, revision=revision.name, end_time=tx.now, stage_time=tx.now
    )
    seconds = (tx.now - found.create_time).total_seconds()
    text = f"{_short(revision.model_version)} is live, {seconds:.0f} s after {found.cause}"
    _decide(
        tx,
        found,
        DecisionKind.ADAPTATION_PROMOTED,
        text,
        figures={"seconds": seconds},
        revision=revision.name,
    )


def _move(
    tx: Transaction,
    adaptation: Adaptation,
    to: AdaptationState,
    text: str,
    figures: Mapping[str, float],
    **values: Any,
) -> None:
    store.update_adaptation(tx, adaptation, state=to, stage_time=tx.now, **values)
    _decide(
        tx,
        adaptation,
        DecisionKind.ADAPTATION_ADVANCED,
        text,
        reason=to.value,
        figures=figures,
        revision=values.get("revision", ""),
    )


def _end(
    tx: Transaction,
    adaptation: Adaptation,
    to: AdaptationState,
    reason: str,
    message: str,
    figures: Mapping[str, float],
    **values: Any,
) -> None:
    if adaptation.state is AdaptationState.TRAINING:  # what was spent counts, whatever came of it
        values["training_seconds"] = _training_seconds(tx, adaptation)
    store.update_adaptation(
        tx, adaptation, state=to, reason=reason, message=message, end_time=tx.now, stage_time=tx.now, **values
    )
    stage = adaptation.state.value.lower()
    _decide(
        tx,
        adaptation,
        DecisionKind.ADAPTATION_ENDED,
        f"{message} (while {stage})",
        reason=reason,
        figures=figures,
        revision=values.get("revision", adaptation.revision),
    )


def _decide(
    tx: Transaction,
    adaptation: Adaptation,
    kind: DecisionKind,
    message: str,
    *,
    reason: str = "",
    figures: Mapping[str, float] | None = None,
    revision: str = "",
) -> None:
    decide_about(
        tx,
        adaptation.endpoint,
        kind,
        message,
        revision=revision,
        reason=reason,
        figures=figures,
        run=adaptation.run,
        generation=adaptation.generation,
    )


def _training_seconds(tx: Transaction, adaptation: Adaptation) -> float:
    since = adaptation.training_time
    return 0.0 if since is None else (tx.now - since).total_seconds()


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def _short(version: str) -> str:
    return "/".join(version.split("/")[3:])
