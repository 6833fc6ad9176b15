"""Proto ↔ domain of data contracts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sartor.ingestion.v1 import source_pb2

from sartor_ingestion.contract import BreachCount, Contract, FieldRule

_ACTION = "BREACH_ACTION_"
_TYPE = "FIELD_TYPE_"


def contract(message: source_pb2.Contract) -> Contract:
    """The Contract of a message."""
    action = _word(source_pb2.BreachAction.items(), message.on_breach, _ACTION)
    return Contract(
        fields=tuple(_rule(rule) for rule in message.fields),
        labels=tuple(message.labels),
        on_breach=action or "reject",
        max_breach_share=message.max_breach_share,
    )


def contract_message(contract: Contract) -> source_pb2.Contract | None:
    """The message of a Contract; none where it says nothing."""
    if contract == Contract():
        return None
    return source_pb2.Contract(
        fields=[_rule_message(rule) for rule in contract.fields],
        labels=contract.labels,
        on_breach=source_pb2.BreachAction.Value(_ACTION + contract.on_breach.upper()),
        max_breach_share=contract.max_breach_share,
    )


def breach_messages(breaches: Mapping[str, BreachCount]) -> list[source_pb2.ContractBreach]:
    """How often each rule was broken."""
    return [
        source_pb2.ContractBreach(rule=rule, count=each.count, message=each.message, position=each.position)
        for rule, each in breaches.items()
    ]


def _rule(message: source_pb2.FieldRule) -> FieldRule:
    return FieldRule(
        field=message.field,
        required=message.required,
        type=_word(source_pb2.FieldType.items(), message.type, _TYPE),
        at_least=message.at_least if message.HasField("at_least") else None,
        at_most=message.at_most if message.HasField("at_most") else None,
        min_characters=message.min_characters,
        max_characters=message.max_characters,
        allowed=tuple(message.allowed),
    )


def _rule_message(rule: FieldRule) -> source_pb2.FieldRule:
    return source_pb2.FieldRule(
        field=rule.field,
        required=rule.required,
        type=source_pb2.FieldType.Value(_TYPE + (rule.type or "unspecified").upper()),
        at_least=rule.at_least,
        at_most=rule.at_most,
        min_characters=rule.min_characters,
        max_characters=rule.max_characters,
        allowed=rule.allowed,
    )


def _word(items: Iterable[tuple[str, int]], value: int, prefix: str) -> str:
    """The enum's word; empty for unspecified; a number that we do not know as itself."""
    name = next((name for name, number in items if number == value), f"{prefix}{value}")
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word
