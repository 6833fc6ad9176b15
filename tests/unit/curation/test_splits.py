"""Facts about splits: they are for life, and nothing held out is asked in training."""

import pytest
from sartor_curation.pipeline import Curated, curate
from sartor_curation.steps.splits import Remembered
from sartor_datasets.records import Record

from tests.unit.curation.desk import chat, count_words, desk, policy, reasons, splits

THINGS = ("kettle", "lamp", "tent", "violin", "ladder", "mirror", "carpet", "globe", "drill", "wallet")
ASKS = (
    "What is the best way to clean a {}?",
    "Who would repair my broken {} here?",
    "Where was this {} made, do you know?",
    "Tell me how heavy the {} is with its box",
    "Ist {} noch auf Lager oder schon vergriffen?",
    "Passt {} als Geschenk für Kinder ab sechs?",
)


def many() -> list[Record]:
    """Sixty questions of which none resembles another much."""
    return [
        chat(f"q{i}-{k}", ask.format(thing), f"About the {thing} we say number {i} and {k}.")
        for i, thing in enumerate(THINGS) for k, ask in enumerate(ASKS)
    ]  # fmt: skip


def memory_of(curated: Curated) -> dict[str, Remembered]:
    return {one.record.record_key: Remembered(one.cluster, one.split) for one in curated.records}


def run(records: list[Record], memory: dict[str, Remembered] | None = None, **changes: object) -> Curated:
    return curate(records, policy(**{"languages": (), **changes}), count_words, memory)


def test_shares_are_kept_roughly_and_by_cluster() -> None:
    curated = run(many(), near_duplicate_threshold=0.9)
    found = splits(curated)
    assert 4 <= list(found.values()).count("test") <= 22
    assert 4 <= list(found.values()).count("validation") <= 22
    by_cluster: dict[str, set[str]] = {}
    for one in curated.records:
        by_cluster.setdefault(one.cluster, set()).add(one.split)
    assert all(len(split) == 1 for split in by_cluster.values())


def test_a_later_snapshot_keeps_every_split_whatever_is_added_or_asked_for() -> None:
    first = run(many()[:30])
    later = run([*many(), *desk()], memory_of(first), validation_share=0.4, test_share=0.4)
    before, after = splits(first), splits(later)
    assert {key: after[key] for key in before if key in after} == {
        key: before[key] for key in before if key in after
    }
    assert not reasons(later)


def test_without_memory_the_hash_alone_gives_the_same_splits() -> None:
    assert splits(run(many())) == splits(run(list(reversed(many()))))


def test_the_source_may_say_the_split() -> None:
    records = [
        *desk(),
        chat("g1", "Do you ship to the island of Heligoland?", "Yes, by boat.", split="test"),
        chat("g2", "Welche Größe hat der Karton vom Fahrrad?", "Etwa 1,5 Meter.", split="validation"),
        chat("g3", "Are gift cards sold in your stores as well?", "At every till.", split="train"),
        chat("g4", "Is parking free for customers on Sundays?", "Two hours are.", split="nonsense"),
    ]
    found = splits(run(records))
    assert (found["g1"], found["g2"], found["g3"]) == ("test", "validation", "train")
    assert found["g4"] in ("train", "validation", "test")


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_what_was_held_out_is_never_trained_on(held_out: str) -> None:
    records = [
        *desk(),
        chat("x", "Is parking free for customers on Sundays?", "Two hours are.", split="train"),
    ]
    assert splits(run(records, {"x": Remembered("c", held_out)}))["x"] == held_out


def test_a_test_record_that_was_trained_on_is_warned_of() -> None:
    records = [
        *desk(),
        chat("x", "Is parking free for customers on Sundays?", "Two hours are.", split="test"),
    ]
    curated = run(records, {"x": Remembered("c", "train")})
    assert splits(curated)["x"] == "test"
    assert "TESTED_AFTER_TRAINING" in {sign.code for sign in curated.report.warnings}


def test_a_newcomer_takes_the_split_of_its_cluster() -> None:
    old = chat("old", "Is parking free for customers on Sundays?", "Two hours are free of charge.")
    new = chat("new", "Is parking free for customers on Sundays, please?", "Ask at the information desk.")
    for split in ("train", "validation", "test"):
        curated = run([*desk(), old, new], {"old": Remembered("c7", split)}, contradiction_action="REPORT")
        assert splits(curated)["new"] == split
        assert {one.cluster for one in curated.records if one.record.record_key in ("old", "new")} == {"c7"}


def test_a_newcomer_between_train_and_test_is_dropped_as_a_leak() -> None:
    left = "please tell me whether parking at the store is free for customers on sundays"
    middle = "please tell me whether parking at the store is free for customers on holidays"
    right = "please tell me whether parking at the store is free for members on holidays"
    records = [
        chat("l", left, "Yes, two hours."),
        chat("r", right, "It costs one euro."),
        chat("m", middle, "No idea."),
    ]
    memory = {"l": Remembered("a", "train"), "r": Remembered("b", "test")}
    curated = run(records, memory, near_duplicate_threshold=0.7)
    assert reasons(curated) == {"m": "LEAKS_INTO_TEST"}
    assert splits(curated) == {"l": "train", "r": "test"}


def test_a_group_shares_one_split() -> None:
    records = [chat(one.record_key, one.messages[0].content, one.messages[1].content, group=f"g{i // 6}")
               for i, one in enumerate(many())]  # fmt: skip
    found = splits(run(records))
    for group in range(10):
        assert len({found[f"q{group}-{k}"] for k in range(6)}) == 1


def test_a_group_follows_the_split_that_the_source_says_for_one_of_it() -> None:
    records = [
        *desk(),
        chat("a", "Do you ship to the island of Heligoland?", "Yes, by boat.", group="north", split="test"),
        chat("b", "Wann öffnet die Filiale am Hafen wieder?", "Im März.", group="north"),
    ]
    assert splits(run(records))["b"] == "test"


def test_a_group_with_two_splits_keeps_the_stricter_one() -> None:
    records = [
        *desk(),
        chat("a", "Do you ship to the island of Heligoland?", "Yes, by boat.", group="north", split="test"),
        chat("b", "Wann öffnet die Filiale am Hafen wieder?", "Im März.", group="north", split="train"),
    ]
    curated = run(records)
    assert reasons(curated) == {"b": "LEAKS_INTO_TEST"}


def test_order_numbers_do_not_hide_a_leak() -> None:
    records = [
        *desk(),
        chat("golden", "Where is my order 48213?", "It is in Bremen.", split="test"),
        chat("leak", "Where is my order 99120?", "It is in Leipzig.", split="train"),
    ]
    assert reasons(run(records)) == {"leak": "LEAKS_INTO_TEST"}


def test_training_questions_of_a_declared_validation_set_are_dropped() -> None:
    records = [
        *desk(),
        chat("v", "Do you ship to the island of Heligoland?", "Yes, by boat.", split="validation"),
        chat("t", "Do you ship to the island of Heligoland", "On Tuesdays.", split="train"),
    ]
    assert reasons(run(records)) == {"t": "LEAKS_INTO_VALIDATION"}


def test_a_duplicate_never_pushes_out_what_was_held_out() -> None:
    newer_first = [chat("new", *pair) for pair in [("Is there a cloakroom?", "On the left.")]]
    records = [*newer_first, *desk(), chat("old", "Is there a cloakroom?", "On the left.")]
    curated = run(records, {"old": Remembered("c", "test")})
    assert reasons(curated) == {"new": "EXACT_DUPLICATE"}
    assert splits(curated)["old"] == "test"


def test_a_wanted_split_is_not_left_empty_where_there_is_enough_to_choose_from() -> None:
    for start in range(0, 48, 6):
        found = splits(run(many()[start : start + 6], validation_share=0.05, test_share=0.05))
        assert set(found.values()) == {"train", "validation", "test"}
