"""Proto ↔ domain for the gRPC service."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from sartor.curation.v1 import curation_pb2, curation_policy_pb2
from sartor_platform.jobs import Job, job_status
from sartor_platform.orders import Order, order_revision

from sartor_curation.announcements import reference_message
from sartor_curation.policy import (
    DEFAULT_INSTRUCTION,
    DEFAULT_LEAST_SHARE,
    DEFAULT_THRESHOLD,
    ContradictionAction,
    MislabelledAction,
    PiiAction,
    Policy,
    Preset,
    Runtime,
)
from sartor_curation.resources import Curation, DroppedRecord

_Enum = TypeVar("_Enum", bound=StrEnum)

_PII = "PII_ACTION_"
_CONTRADICTION = "CONTRADICTION_ACTION_"


def policy_of(message: curation_policy_pb2.CurationPolicy) -> Policy:
    """The policy in a message; what is left empty takes its default."""
    pii = curation_policy_pb2.PiiAction.Name(message.pii_action).removeprefix(_PII)
    contradiction = curation_policy_pb2.ContradictionAction.Name(message.contradiction_action)
    contradiction = contradiction.removeprefix(_CONTRADICTION)
    return Policy(
        dataset=message.dataset,
        base_model=message.base_model,
        languages=tuple(message.languages),
        min_characters=message.length.min_characters,
        max_tokens=message.length.max_tokens,
        near_duplicate_threshold=message.near_duplicate_threshold or DEFAULT_THRESHOLD,
        pii_action=PiiAction.MASK if pii == "UNSPECIFIED" else PiiAction(pii),
        contradiction_action=(
            ContradictionAction.DROP_MINORITY
            if contradiction == "UNSPECIFIED"
            else ContradictionAction(contradiction)
        ),
        validation_share=message.split.validation,
        test_share=message.split.test,
        label_instruction=message.label_instruction or DEFAULT_INSTRUCTION,
        preset=_chosen(curation_policy_pb2.Preset, "PRESET_", message.preset, Preset, Preset.INSTRUCTIONS),
        represented=tuple(message.represented_attributes),
        least_share=message.least_share or DEFAULT_LEAST_SHARE,
        mislabelled_action=_chosen(
            curation_policy_pb2.MislabelledAction,
            "MISLABELLED_ACTION_",
            message.mislabelled_action,
            MislabelledAction,
            MislabelledAction.REPORT,
        ),
        evaluation_texts=tuple(message.evaluation_texts),
        real_questions=tuple(message.real_questions),
        skipped_steps=tuple(message.skipped_steps),
        whole_sentences_only=message.whole_sentences_only,
        runtime=_chosen(curation_policy_pb2.Runtime, "RUNTIME_", message.runtime, Runtime, Runtime.LOCAL),
    )


def _chosen(names: Any, prefix: str, number: int, kind: type[_Enum], default: _Enum) -> _Enum:
    """The member that a number of the API stands for; unspecified is the default."""
    name = names.Name(number).removeprefix(prefix)
    return default if name == "UNSPECIFIED" else kind(name)


def policy_message(name: str, policy: Policy) -> curation_policy_pb2.CurationPolicy:
    """The policy as the public API shows it, with its defaults filled in."""
    return curation_policy_pb2.CurationPolicy(
        name=name,
        dataset=policy.dataset,
        base_model=policy.base_model,
        languages=policy.languages,
        length=curation_policy_pb2.LengthBounds(
            min_characters=policy.min_characters, max_tokens=policy.max_tokens
        ),
        near_duplicate_threshold=policy.near_duplicate_threshold,
        pii_action=curation_policy_pb2.PiiAction.Value(_PII + policy.pii_action),
        contradiction_action=curation_policy_pb2.ContradictionAction.Value(
            _CONTRADICTION + policy.contradiction_action
        ),
        split=curation_policy_pb2.SplitShares(validation=policy.validation_share, test=policy.test_share),
        label_instruction=policy.label_instruction,
        preset=curation_policy_pb2.Preset.Value("PRESET_" + policy.preset),
        represented_attributes=policy.represented,
        least_share=policy.least_share,
        mislabelled_action=curation_policy_pb2.MislabelledAction.Value(
            "MISLABELLED_ACTION_" + policy.mislabelled_action
        ),
        evaluation_texts=policy.evaluation_texts,
        real_questions=policy.real_questions,
        skipped_steps=policy.skipped_steps,
        whole_sentences_only=policy.whole_sentences_only,
        runtime=curation_policy_pb2.Runtime.Value("RUNTIME_" + policy.runtime),
    )


def policy_of_order(order: Order) -> curation_policy_pb2.CurationPolicy:
    """The policy of its standing order."""
    message = policy_message(order.name, Policy.from_spec(order.spec))
    message.order.CopyFrom(order_revision(order))
    return message


def curation_message(curation: Curation, job: Job | None) -> curation_pb2.Curation:
    """The curation with the state of its job."""
    message = curation_pb2.Curation(
        name=curation.name,
        policy=curation.policy,
        policy_revision=curation.policy_revision,
        snapshot=curation.snapshot,
        job=job_status(job),
        run=curation.run,
        generation=curation.generation,
        created_by=curation.created_by,
    )
    message.create_time.FromDatetime(curation.create_time)
    result = curation.result
    if result is not None:
        for field in ("manifest", "report", "report_page", "dropped"):
            getattr(message, field).CopyFrom(reference_message(getattr(result, field)))
        if result.card is not None:
            message.card.CopyFrom(reference_message(result.card))
        message.input_count = result.input_count
        message.kept_count = result.kept_count
        message.dropped_count = result.dropped_count
        message.dropped_by_reason.update(result.dropped_by_reason)
        message.kept_by_split.update(result.kept_by_split)
        message.training_tokens = result.training_tokens
    return message


def dropped_message(dropped: DroppedRecord) -> curation_pb2.DroppedRecord:
    """A dropped record as it is listed."""
    return curation_pb2.DroppedRecord(
        record_id=dropped.record_id,
        record_key=dropped.record_key,
        position=dropped.position,
        step=dropped.step,
        reason=dropped.reason,
        detail=dropped.detail,
        excerpt=dropped.excerpt,
    )
