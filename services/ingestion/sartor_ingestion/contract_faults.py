"""What is wrong with a data contract as it was written."""

from __future__ import annotations

from collections.abc import Iterator

from sartor_platform.errors import FieldViolation

from sartor_ingestion.contract import ACTIONS, TYPES, Contract, FieldRule

MAX_RULES = 200
_PATH = "source.contract"


def contract_faults(contract: Contract) -> Iterator[FieldViolation]:
    """Every fault of a contract."""
    if contract.on_breach not in ACTIONS:
        yield FieldViolation(f"{_PATH}.on_breach", f"must be one of {', '.join(ACTIONS)}")
    if not 0 <= contract.max_breach_share < 1:
        yield FieldViolation(f"{_PATH}.max_breach_share", "must be at least 0 and less than 1")
    if len(contract.fields) > MAX_RULES:
        yield FieldViolation(f"{_PATH}.fields", f"must have at most {MAX_RULES} rules")
    for index, rule in enumerate(contract.fields):
        yield from _rule_faults(rule, f"{_PATH}.fields[{index}]")


def _rule_faults(rule: FieldRule, path: str) -> Iterator[FieldViolation]:
    if not rule.field:
        yield FieldViolation(f"{path}.field", "must name a field")
    if rule.type and rule.type not in TYPES:
        yield FieldViolation(f"{path}.type", f"must be one of {', '.join(TYPES)}")
    low, high = rule.at_least, rule.at_most
    if low is not None and high is not None and not low <= high:
        yield FieldViolation(f"{path}.at_most", "must not be less than at_least")
    if min(rule.min_characters, rule.max_characters) < 0:
        yield FieldViolation(f"{path}.max_characters", "must not be negative; 0 means no limit")
    elif 0 < rule.max_characters < rule.min_characters:
        yield FieldViolation(f"{path}.max_characters", "must not be less than min_characters")
