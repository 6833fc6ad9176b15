"""Facts about policies as values."""

import pytest
from sartor_curation.policy import ContradictionAction, PiiAction, Policy
from sartor_curation.resources import check_policy
from sartor_platform.errors import InvalidArgument

from tests.unit.curation.desk import policy

NAME = "projects/desk/curationPolicies/p"


def test_a_policy_comes_back_from_its_specification() -> None:
    wanted = policy(pii_action="DROP", contradiction_action="REPORT")
    assert wanted.pii_action is PiiAction.DROP
    assert Policy.from_spec(wanted.to_spec()) == wanted


def test_a_specification_of_another_release_is_read_as_far_as_it_goes() -> None:
    read = Policy.from_spec({"dataset": "d", "base_model": "b", "of_the_future": 1})
    assert read.contradiction_action is ContradictionAction.DROP_MINORITY


def test_a_sound_policy_passes() -> None:
    check_policy(NAME, policy())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dataset": "support"}, "dataset"),
        ({"dataset": "projects/other/datasets/d"}, "dataset"),
        ({"base_model": ""}, "base_model"),
        ({"languages": ("deutsch",)}, "languages[0]"),
        ({"max_tokens": -5}, "length.max_tokens"),
        ({"near_duplicate_threshold": 0.0}, "near_duplicate_threshold"),
        ({"validation_share": 0.6}, "split.validation"),
        ({"label_instruction": "Which team?"}, "label_instruction"),
        ({"label_instruction": "{text}" + "x" * 10_000}, "label_instruction"),
    ],
)
def test_a_fault_is_named_by_its_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_policy(NAME, policy(**changes))
    assert [fault.field for fault in caught.value.violations] == [f"curation_policy.{field}"]
    assert caught.value.reason == "BAD_CURATION_POLICY"
