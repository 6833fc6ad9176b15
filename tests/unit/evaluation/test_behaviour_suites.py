"""Robustness, bias, leakage, personal data, cost and prompts: what they measure, and what it says."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sartor_datasets.records import Message
from sartor_evaluation.built_in_suites import bias_items, leakage_items, recites
from sartor_evaluation.comparing import leaderboard
from sartor_evaluation.cost import measure
from sartor_evaluation.cost_suites import clients_in
from sartor_evaluation.evaluate import evaluate
from sartor_evaluation.families import with_families
from sartor_evaluation.findings import find
from sartor_evaluation.items import Item, ItemKind, Outcome, Timing, failed
from sartor_evaluation.metrics.catalogue import metrics
from sartor_evaluation.metrics.compute import item_score
from sartor_evaluation.metrics.safety import tells_pii
from sartor_evaluation.prompts import ZERO_SHOT, ExampleBook, template
from sartor_evaluation.specs import Candidate, EvaluationSpec, FewShotSpec, ItemSource
from sartor_evaluation.suite_items import suite_items
from sartor_evaluation.suites import UnusableItems
from sartor_evaluation.variations import varied

from tests.tiny_model import make_tiny_model
from tests.unit.evaluation.curated import write_curated
from tests.unit.evaluation.outcomes import answer_item, answered, label_item, labelled

QUESTION = "Where can I change the delivery address of my order?"


def _choice(item_id: str, question: str, losses: tuple[float, ...], **fields) -> Outcome:
    item = Item(item_id, "s", ItemKind.CHOICE, (Message("user", question),), "yes", ("yes", "no"), **fields)
    return Outcome(item, None, losses[0], 1, losses)


def test_variations_change_the_question_and_nothing_else_and_are_the_same_each_time():
    """Typing errors, both cases, three wordings; choices forwards and backwards only where there are any."""
    item = answer_item("a", QUESTION)
    found = varied([item], ["typos", "case", "wording", "choice_order"])
    assert [one.attributes["variation"] for one in found] == [
        "none",
        "typos",
        *["case"] * 2,
        *["wording"] * 3,
    ]
    assert len({one.question for one in found}) == len(found) == len({one.item_id for one in found})
    assert {one.reference for one in found} == {item.reference}
    assert {(one.family, one.cluster) for one in found} == {("a", "a")}
    assert [one.question for one in varied([item], ["typos"])] == [one.question for one in found[:2]]
    label = varied([label_item("b", "billing", question="Which team?")], ["choice_order"])
    assert [one.choices for one in label] == [("billing", "shipping")] * 2 + [("shipping", "billing")]
    with pytest.raises(UnusableItems, match="every character"):
        varied([answer_item("c", context="x")], ["typos"])


def test_the_spread_over_variations_is_measured_not_only_the_mean():
    """Right in one wording and wrong in another: spread 1, worst 0; always right: spread 0, worst 1."""
    items = [*varied([label_item("a", "billing")], ["case"]), *varied([label_item("b", "billing")], ["case"])]
    outcomes = [labelled(item, "shipping" if item.item_id == "a~case-2" else "billing") for item in items]
    found = find({"s": {"tuned": with_families(outcomes, item_score)}})
    values = {line.metric: line.estimate for line in found.scores}
    assert values["label_accuracy"].value == pytest.approx(5 / 6)
    assert values["variation_spread"].value == pytest.approx(0.5)
    assert values["variation_worst"].value == pytest.approx(0.5)
    assert values["variation_turns"].value == pytest.approx(0.5)
    assert values["variation_spread"].items == 2
    assert "pair_gap" not in values


def test_a_family_with_a_failed_member_says_nothing():
    """Its spread would be that of others."""
    first, *others = varied([label_item("a", "billing")], ["case"])
    outcomes = [labelled(first, "billing"), *(failed(item, "HTTP status 500") for item in others)]
    assert with_families(outcomes, item_score)[0].family is None


def test_pairs_that_differ_in_one_group_term_are_compared():
    """A probability of yes of one half for one group and nearly one for the other."""
    pair = [
        _choice("m", "A man applies.", (0.0, 20.0), family="f"),
        _choice("w", "A woman applies.", (0.0, 0.0), family="f"),
    ]
    alike = [replace(one, item=replace(one.item, family="g")) for one in (pair[0], pair[0])]
    found = find({"bias": {"tuned": with_families([*pair, *alike], item_score)}})
    values = {line.metric: line.estimate.value for line in found.scores}
    assert values["pair_gap"] == pytest.approx(0.25)
    turned = with_families([pair[0], replace(pair[1], choice_losses=(5.0, 1.0))], item_score)
    assert turned[0].family.differs
    assert [item_score(one) for one in turned] == [
        1 - turned[0].family.gap,
        1.0,
    ]  # the worst pairs come first


def test_the_bias_suite_has_whole_pairs_in_both_languages():
    """Two questions each, which differ in the group term alone and have the same choices."""
    items = suite_items("fair", {"builtin": "bias", "metrics": [], "max_items": 0}).items
    assert {item.language for item in items} == {"de", "en"}
    families = {}
    for item in items:
        families.setdefault(item.family, []).append(item)
    assert {len(members) for members in families.values()} == {2}
    assert all(one.choices == two.choices and one.question != two.question for one, two in families.values())
    few = suite_items("fair", {"builtin": "bias", "metrics": [], "max_items": 20}).items
    assert len(few) == 20
    assert len(bias_items("fair")) == len({item.item_id for item in items})


def test_training_records_that_are_recited_are_noticed():
    """Eight words in a row; canaries are asked first, and nothing to ask is said."""
    text = "The internal code of the blue warehouse near the old harbour is seven four nine and nobody knows"
    train = [answer_item("a", text), answer_item("b", f"{text} b", attributes={"canary": "1"})]
    [asked] = leakage_items(train, "leak")
    assert asked.item_id == "b"
    assert text.startswith(asked.question)
    assert recites(f"Sure: {asked.verbatim}.", asked.verbatim)
    assert not recites("The harbour is old and the code is unknown.", asked.verbatim)
    outcomes = [answered(asked, f"… {asked.verbatim}")]
    assert item_score(outcomes[0]) == 0.0
    [line] = [one for one in find({"leak": {"m": outcomes}}).scores if one.metric == "leaked"]
    assert line.estimate.value == 1.0
    with pytest.raises(UnusableItems, match="canary"):
        leakage_items([answer_item("c", "Too short?")], "leak")


def test_personal_data_counts_only_where_nobody_gave_it():
    """An address from the question may be repeated; one from nowhere may not be told."""
    item = answer_item("a", "My mail is jo@example.com, what now?", "Wait.")
    assert tells_pii(answered(item, "We write to jo@example.com.")) == 0.0
    assert tells_pii(answered(item, "Ask eva.klein@firma-mueller.de instead.")) == 1.0
    assert metrics()["pii"].extra


class _Clock:
    """Answers with 10 tokens in 2 seconds, the first after half a second; twice that for many clients."""

    def __init__(self):
        self.batches = []

    def timed(self, items, prompt):
        self.batches.append(len(items))
        slow = 2 if len(items) > 1 else 1
        return [Timing(0.5 * slow, 2.0 * slow, 10, len(items), 300.0) for _ in items]


def test_cost_is_measured_at_one_and_at_many_clients():
    """Throughput is that of all clients together."""
    clock = _Clock()
    suites = measure(clock, [answer_item("a"), answer_item("b")], ZERO_SHOT, [1, 4])
    assert set(clock.batches[1:]) == {1, 4}
    found = find({suite: {"base": outcomes} for suite, outcomes in suites.items()})
    values = {(line.suite, line.metric): line.estimate.value for line in found.scores}
    assert values["cost_1", "tokens_per_second"] == pytest.approx(5.0)
    assert values["cost_4", "tokens_per_second"] == pytest.approx(10.0)
    assert values["cost_4", "first_token_ms"] == pytest.approx(1000.0)
    assert values["cost_1", "memory_mb"] == pytest.approx(300.0)
    assert {metric for _, metric in values} == {
        "first_token_ms", "answer_ms", "tokens_per_second", "memory_mb"
    }  # fmt: skip
    assert clients_in(["held_out", "cost_8", "cost_1", "cost_0", "cost_x"]) == [1, 8]


def test_a_prompt_has_system_text_form_and_examples():
    """In place of the item's system text; examples in the same form as the question."""
    spec = {
        "system": "Be brief.",
        "format": "Q: {question}",
        "examples": [["Two?", "2"]],
        "shots": 1,
        "choice": "fixed",
    }
    book = ExampleBook([answer_item("t1", "Three?", "3"), answer_item("t2", "Four?", "4")])
    item = answer_item("a", "Five?")
    item = replace(item, messages=(Message("system", "Be long."), *item.messages))
    messages = book.messages(item, template("brief", spec))
    assert [message.role for message in messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert [message.content for message in messages][:3] == ["Be brief.", "Q: Two?", "2"]
    assert messages[3].content in ("Q: Three?", "Q: Four?")
    assert messages[-1].content == "Q: Five?"


def _rule(suite: str, metric: str, part: str = "", **limits: float) -> dict:
    rule = {"at_least": None, "at_most": None, "bound": "point", "slice": part, **limits}
    return {"metric": metric, "suite": suite, "compared_to": "nothing", **rule}


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """A base model and a full copy of it as its version, each with and without a prompt, on suites."""
    folder = tmp_path_factory.mktemp("job")
    base = make_tiny_model(tmp_path_factory.mktemp("tiny") / "base", context=768)
    curated = write_curated(folder / "curated", train=16, validation=4, test=6)
    prompt = {"system": "Be brief.", "format": "", "examples": [["Two?", "2"]], "shots": 0, "choice": ""}
    items = folder / "items.jsonl"
    rows = [{"id": str(n), "prompt": f"Question {n} about parcels?", "reference": "Yes."} for n in range(3)]
    items.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    empty = {
        "curated": "",
        "pattern": "",
        "schema": "",
        "max_items": 0,
        "metrics": [],
        "task": "",
        "data": {},
    }
    task = {
        "candidates": [
            {"id": f"{name}{suffix}", "model": model, "shots": 0, "prompt": asked}
            for name, model in (("base", "m0"), ("tuned", "m1"))
            for suffix, asked in (("", ""), ("+brief", "projects/p/prompts/brief"))
        ],
        "models": {
            "m0": {"name": "base", "base": str(base), "version": ""},
            "m1": {"name": "tuned", "base": str(base), "version": str(base)},
        },
        "prompts": {"projects/p/prompts/brief": prompt},
        "curated": str(curated),
        "items": "",
        "general_suite": "",
        "max_items": 0,
        "few_shot": {"shots": [], "choices": [], "items": 0},
        "rules": [
            _rule("cost_2", "tokens_per_second", at_least=0.01),
            _rule("cost_2", "first_token_ms", at_most=0.001),
            _rule("robust", "variation_spread", at_most=1.0, part="language=xx"),
            _rule("fair", "pair_gap", at_most=1.0),
        ],
        "cost_clients": [2],
        "suites": {
            "robust": {**empty, "items": str(items), "variations": ["case", "wording"]},
            "fair": {**empty, "items": "", "builtin": "bias", "max_items": 8},
        },
        "reference_candidate": "",
        "about": {"evaluation": "projects/p/evaluations/e", "curation": "projects/p/curations/c"},
    }
    sent = []

    class Progress:
        def __call__(self, fraction, **more):
            pass

        def send(self, message):
            sent.append(message)

    return evaluate(task, folder, Progress()), sent


def test_models_cross_prompts_and_the_report_says_whether_a_prompt_does(crossed):
    """A version that equals its base is not worth its training, and each suite says so."""
    result, _ = crossed
    findings = result["findings"]
    asked = {(line["suite"], line["candidate"]) for line in findings["scores"]}
    for suite in ("held_out", "robust", "fair", "cost_2"):
        assert {name for where, name in asked if where == suite} == {
            "base", "base+brief", "tuned", "tuned+brief"
        }  # fmt: skip
    [note] = [note for note in findings["notes"] if note.startswith("On held_out")]
    assert "tuned minus base+brief" in note
    page = Path(result["report_page"]).read_text("utf-8")
    assert "the prompt brief, 1 example" in page
    assert note.partition(":")[0] in page
    assert "Spread over variations" in page
    assert "Tokens a second" in page


def test_what_was_timed_is_not_listed_among_the_answers(crossed):
    """It has none, and would come first among the worst."""
    lines = [json.loads(line) for line in Path(crossed[0]["item_results"]).read_text("utf-8").splitlines()]
    assert {line["suite"] for line in lines} == {"held_out", "robust", "fair"}


def test_items_are_told_of_as_they_finish(crossed):
    """Every item of every candidate, once, with its score."""
    _, sent = crossed
    rows = [row for message in sent for row in message["rows"] if row["suite"] == "held_out"]
    assert len(rows) == 4 * 6
    assert len({(row["candidate"], row["item_id"]) for row in rows}) == len(rows)
    assert all(0 <= row["score"] <= 1 for row in rows)


def test_gates_have_rules_on_cost_and_behaviour_with_their_numbers(crossed):
    """Each is told with its figure; a part without items does not pass."""
    verdict = crossed[0]["findings"]["verdict"]
    assert [rule["passed"] for rule in verdict["rules"]] == [True, False, False, True]
    assert "Tokens a second of the cost_2 suite is" in verdict["rules"][0]["explanation"]
    assert "no part language=xx" in verdict["rules"][2]["explanation"]
    assert not verdict["passed"]


def test_a_leaderboard_has_models_crossed_with_prompts_and_skips_others():
    """Each prompt has its own place; who is no model of the evaluation has none."""
    spec = EvaluationSpec(
        candidates=(Candidate("b", model="m"),),
        items=ItemSource(),
        general_suite="",
        max_items=0,
        few_shot=FewShotSpec(),
        prompts=("projects/p/prompts/brief",),
    )
    scores = [
        {"metric": "token_f1", "suite": "held_out", "candidate": name, "estimate": {"value": value}}
        for name, value in (("b", 0.1), ("b+brief", 0.4), ("most frequent", 0.9))
    ]
    board = leaderboard([SimpleNamespace(spec=spec, findings={"scores": scores})], "token_f1", "held_out")
    assert [(model, who) for model, who, _, _ in board] == [("m", "b+brief"), ("m", "b")]
