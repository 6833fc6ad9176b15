"""Facts about the whole pipeline: planted faults of every kind are found, sound records stay."""

import json
from collections import Counter

import pytest
from sartor_curation.pipeline import curate
from sartor_datasets.records import Message, Record

from tests.unit.curation.desk import chat, count_words, desk, policy, reasons, record, splits, ticket

A = ("How do I reset the password of my account?", "Open the sign-in page and choose “Forgot password”.")
LONG_ANSWER = "Please read all of this. " * 60

FAULTS: dict[str, tuple[list[Record], dict[str, str]]] = {
    "an empty answer": ([chat("f", "What are your opening hours?", " ")], {"f": "MISSING_FIELD"}),
    "an empty question": ([chat("f", "<p>&nbsp;</p>", "We open at nine.")], {"f": "MISSING_FIELD"}),
    "no answer at all": (
        [record("f", "chat", messages=(Message("user", "Hello, who is there?"),))],
        {"f": "MISSING_FIELD"},
    ),
    "an empty label": ([ticket("f", "Please call me back today", "")], {"f": "MISSING_FIELD"}),
    "an exact duplicate": ([chat("f", *A)], {"f": "EXACT_DUPLICATE"}),
    "a duplicate but for markup": (
        [chat("f", f"<p>{A[0]}</p>", f"{A[1]}<br/>\r\n")],
        {"f": "EXACT_DUPLICATE"},
    ),
    "a near duplicate": (
        [
            chat(
                "f",
                "How do I reset the password of my account",
                "Open the sign-in page and choose Forgot password!",
            )
        ],
        {"f": "NEAR_DUPLICATE"},
    ),
    "a near duplicate ticket": (
        [ticket("f", "The customer was charged twice for one order and wants the money back.", "billing")],
        {"f": "NEAR_DUPLICATE"},
    ),
    "a wrong language": (
        [
            chat(
                "f",
                "Où est ma commande ? Je l'attends depuis deux semaines.",
                "Elle arrivera demain matin chez vous.",
            )
        ],
        {"f": "WRONG_LANGUAGE"},
    ),
    "an over-long record": ([chat("f", "Can you tell me everything?", LONG_ANSWER)], {"f": "TOO_LONG"}),
    "a record that says nothing": ([chat("f", "Hi?", "Yes")], {"f": "TOO_SHORT"}),
    "a contradictory answer without majority": (
        [
            chat("f1", "How long is the warranty on watches?", "The warranty on watches is two years."),
            chat("f2", "How long is the warranty on watches?", "The warranty on watches is five years."),
        ],
        {"f1": "CONTRADICTION", "f2": "CONTRADICTION"},
    ),
    "a contradictory answer against a majority": (
        [
            chat("f1", "How long is the warranty on watches?", "The warranty on watches is two years."),
            chat(
                "f2", "How long is the warranty on watches please?", "For watches the warranty is two years."
            ),
            chat("f3", "How long is the warranty on watches?", "The warranty on watches is five years."),
        ],
        {"f3": "CONTRADICTION"},
    ),
    "contradictory labels": (
        [
            ticket("f1", "Voucher code is refused at the till", "billing"),
            ticket("f2", "Voucher code is refused at the till", "technical"),
        ],
        {"f1": "CONTRADICTION", "f2": "CONTRADICTION"},
    ),
    "a training record that leaks into the golden test": (
        [
            chat(
                "golden",
                "Could somebody install the washing machine for me?",
                "Yes, for 40 euros.",
                split="test",
            ),
            chat(
                "f",
                "Could somebody install the washing machine for me",
                "Our fitters do that.",
                split="train",
            ),
        ],
        {"f": "LEAKS_INTO_TEST"},
    ),
    "an undeclared record that leaks into the golden test": (
        [
            chat("f", "Could somebody install the washing machine for me, please?", "Yes, for 40 euros."),
            chat(
                "golden",
                "Could somebody install the washing machine for me?",
                "Yes, for 40 euros.",
                split="test",
            ),
        ],
        {"f": "LEAKS_INTO_TEST"},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_dropped_for_exactly_its_reason(fault: str) -> None:
    records, expected = FAULTS[fault]
    curated = curate([*desk(), *records], policy(), count_words)
    assert reasons(curated) == expected
    assert len(curated.records) + len(curated.dropped) == len(desk()) + len(records)


def test_sound_records_stay_and_stay_as_they_are() -> None:
    curated = curate(desk(), policy(), count_words)
    assert reasons(curated) == {}
    assert curated.report.changed == 0
    before = {one.record_key: one for one in desk()}
    for one in curated.records:
        original = before[one.record.record_key]
        if original.kind == "chat":
            assert one.record == original
        else:
            assert (one.record.text, one.record.label) == (original.text, original.label)
        assert one.tokens > 0
        assert one.language in ("en", "de")


def test_labelled_records_become_chats() -> None:
    curated = curate(desk(), policy(), count_words)
    one = next(one.record for one in curated.records if one.record.record_key == "ticket-0")
    asked = f"Which team of billing, shipping, technical?\n{one.text}"
    assert one.messages == (Message("user", asked), Message("assistant", "billing"))


def test_personal_data_is_masked_in_question_and_answer_alike() -> None:
    question = "Bitte ändern Sie meine Adresse auf eva.kern@example.de, Telefon 0151 23456789."
    answer = (
        "Erledigt: wir schreiben künftig an eva.kern@example.de und zahlen auf DE89 3704 0044 0532 0130 00."
    )
    curated = curate([*desk(), chat("p", question, answer)], policy(), count_words)
    masked = next(one.record for one in curated.records if one.record.record_key == "p")
    assert masked.messages[0].content == "Bitte ändern Sie meine Adresse auf [EMAIL_1], Telefon [PHONE_1]."
    assert (
        masked.messages[1].content == "Erledigt: wir schreiben künftig an [EMAIL_1] und zahlen auf [IBAN_1]."
    )
    assert curated.report.changed_by_kind == {"EMAIL": 1, "PHONE": 1, "IBAN": 1}
    step = next(step for step in curated.report.steps if step.name == "personal_data")
    assert step.figures["found"] == {"EMAIL": 2, "PHONE": 1, "IBAN": 1}
    assert "eva.kern" not in curated.report.to_json().decode()


@pytest.mark.parametrize(("action", "text"), [("REPORT", "a@b.example"), ("DROP", "")])
def test_personal_data_may_be_reported_or_dropped_instead(action: str, text: str) -> None:
    records = [*desk(), chat("p", "Who answers a@b.example these days?", "The team for partners does.")]
    curated = curate(records, policy(pii_action=action), count_words)
    kept = [one.record for one in curated.records if one.record.record_key == "p"]
    assert [text in one.messages[0].content for one in kept] == ([True] if text else [])
    assert reasons(curated) == ({} if text else {"p": "PERSONAL_DATA"})


def test_mojibake_and_markup_are_mended_and_counted() -> None:
    records = [
        *desk(),
        chat(
            "m",
            "FÃ¼r welche LÃ¤nder gilt die Garantie?",
            "<b>Für alle</b> L&auml;nder der EU.<br>Auch Norwegen.",
        ),
    ]
    curated = curate(records, policy(), count_words)
    mended = next(one.record for one in curated.records if one.record.record_key == "m")
    assert mended.messages[0].content == "Für welche Länder gilt die Garantie?"
    assert mended.messages[1].content == "Für alle Länder der EU.\nAuch Norwegen."
    assert curated.report.changed_by_kind == {"mojibake": 1, "markup": 1}
    assert curated.report.changed == 1
    samples = {sample.kind: sample for step in curated.report.steps for sample in step.samples}
    assert samples["mojibake"].before.startswith("FÃ¼r")
    assert samples["mojibake"].after.startswith("Für")


def test_templates_with_other_values_and_other_answers_stay() -> None:
    """A question that differs by an order number only is no duplicate while its answer differs."""
    records = [
        chat(
            f"o{n}",
            f"Where is my order {n}, which I placed on the web site some days ago?",
            f"It is in {city} now.",
        )
        for n, city in ((48213, "Bremen"), (99120, "Leipzig"), (31450, "Graz"))
    ]
    assert reasons(curate([*desk(), *records], policy(), count_words)) == {}


def test_templates_with_equal_answers_go_where_the_question_hardly_differs() -> None:
    question = (
        "Where is my order {}, which I placed on your web site some days ago and have not heard of since?"
    )
    records = [chat(f"o{n}", question.format(n), "Open the tracking link.") for n in (48213, 48214)]
    assert reasons(curate([*desk(), *records], policy(), count_words)) == {"o48214": "NEAR_DUPLICATE"}
    assert reasons(curate([*desk(), *records], policy(near_duplicate_threshold=1.0), count_words)) == {}


def test_chains_of_similar_records_do_not_swallow_each_other() -> None:
    words = [f"word{chr(97 + i)}{chr(98 + i)}x" for i in range(24)]
    chain = [
        chat(f"c{n}", " ".join(words[n * 2 : n * 2 + 16]) + "?", "The same answer for all of them.")
        for n in range(5)
    ]
    curated = curate(chain, policy(languages=(), near_duplicate_threshold=0.7), count_words)
    gone = {one.record_key: one.other_key for one in curated.dropped}
    assert all(other not in gone for other in gone.values())
    assert gone == {"c1": "c0", "c3": "c2"}


def test_open_questions_are_no_contradictions() -> None:
    nouns = ["rain", "stone", "river", "night", "bread", "glass", "wind", "tree", "road", "clock"]
    pairs = [(a, b) for a in nouns for b in nouns[:3] if a != b]
    poems = [chat(f"poem-{a}-{b}", "Write a short poem for me.", f"{a} {b}") for a, b in pairs]
    curated = curate(poems, policy(near_duplicate_threshold=1.0, test_share=0.0), count_words)
    assert reasons(curated) == {}
    figures = next(step.figures for step in curated.report.steps if step.name == "contradictions")
    assert (figures["count"], figures["open_questions"]) == (0, 1)


@pytest.mark.parametrize(("action", "gone"), [("DROP_ALL", {"a", "b", "c"}), ("REPORT", set())])
def test_contradictions_follow_the_policy(action: str, gone: set[str]) -> None:
    question = "Is the museum open on Mondays?"
    records = [
        chat("a", question, "Yes, from ten."),
        chat("b", question, "Yes, from ten."),
        chat("c", question, "No."),
    ]
    curated = curate(records, policy(contradiction_action=action, near_duplicate_threshold=1.0), count_words)
    assert {key for key, reason in reasons(curated).items() if reason == "CONTRADICTION"} == gone
    figures = next(step.figures for step in curated.report.steps if step.name == "contradictions")
    assert [side["record_keys"] for side in figures["contradictions"][0]["sides"]] == [["a", "b"], ["c"]]


def test_the_report_adds_up_and_is_json() -> None:
    records = [*desk(), *(record for records, _ in FAULTS.values() for record in records)]
    records = list({one.record_key + str(i): one for i, one in enumerate(records)}.values())
    curated = curate(records, policy(), count_words)
    report = json.loads(curated.report.to_json())
    assert report["read"] == len(records) == report["kept"] + report["dropped"]
    assert report["dropped_by_reason"] == dict(Counter(one.reason for one in curated.dropped))
    assert sum(split["records"] for split in report["splits"]) == report["kept"]
    assert sum(split["tokens"] for split in report["splits"]) == report["tokens"]["after"]["total"]
    for step, after in zip(report["steps"], report["steps"][1:], strict=False):
        assert step["read"] - sum(step["dropped_by_reason"].values()) == step["kept"] == after["read"]
    assert sum(report["characters"]["before"]["counts"]) == report["read"]
    assert {one.step for one in curated.dropped} <= {step["name"] for step in report["steps"]}
    assert {sample["reason"] for sample in report["drop_samples"]} == set(report["dropped_by_reason"])


def test_curating_the_same_twice_gives_the_same() -> None:
    first = curate(desk(), policy(), count_words)
    second = curate(desk(), policy(), count_words)
    assert first.records == second.records
    assert splits(first) == splits(second)


def test_nothing_in_gives_nothing_out() -> None:
    curated = curate([], policy(), count_words)
    assert curated.records == []
    assert {sign.code for sign in curated.report.warnings} >= {"FEW_TRAINING_RECORDS"}
    assert json.loads(curated.report.to_json())["read"] == 0
