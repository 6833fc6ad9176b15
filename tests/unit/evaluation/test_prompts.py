"""Few-shot prompts take their examples as they say, from the training split, never the question itself."""

import pytest
from sartor_datasets.records import Message
from sartor_evaluation.items import HELD_OUT, Item, ItemKind
from sartor_evaluation.prompt_search import FewShotSearch, search_prompt
from sartor_evaluation.prompts import ZERO_SHOT, Choice, ExampleBook, NoExamples, Prompt
from sartor_evaluation.similarity import Bm25

from tests.unit.evaluation.outcomes import answer_item, answered, label_item

TRAIN = [
    answer_item("t1", "How do I reset my password?", "In the settings.", language="en"),
    answer_item("t2", "Where is my parcel now?", "On its way.", language="en"),
    answer_item("t3", "Can I pay by invoice?", "Yes.", language="en"),
    answer_item("t4", "Wie setze ich mein Passwort zurück?", "In den Einstellungen.", language="de"),
    answer_item("t5", "Wo ist mein Paket?", "Unterwegs.", language="de"),
    label_item("t6", "billing", question="Invoice is wrong", language="en"),
    label_item("t7", "shipping", question="Parcel is late", language="en"),
    label_item("t8", "billing", question="Charged twice for one invoice", language="en"),
]


def test_bm25_finds_the_text_with_the_rare_words_in_common():
    """A word that all texts have says nothing."""
    index = Bm25(["where is my parcel", "where is my invoice", "where is my account"])
    assert index.ranked("my invoice is wrong")[0] == 1
    assert Bm25([]).ranked("anything") == []


def test_retrieved_examples_are_most_alike_and_the_best_stands_last():
    """Nearest to the question is the example most like it."""
    item = answer_item("q", "I forgot my password, how do I reset it?", language="en")
    examples = ExampleBook(TRAIN).examples(item, Prompt(2, Choice.RETRIEVED))
    assert examples[-1].item_id == "t1"
    assert len(examples) == 2


def test_examples_become_earlier_turns_after_the_system_message():
    """system, example question, example answer, question."""
    item = Item(
        "q",
        HELD_OUT,
        ItemKind.ANSWER,
        (Message("system", "Be brief."), Message("user", "Where is my parcel?")),
        "x",
        language="en",
    )
    messages = ExampleBook(TRAIN).messages(item, Prompt(1, Choice.RETRIEVED))
    assert [m.role for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[2].content == "On its way."
    assert ExampleBook(TRAIN).messages(item, ZERO_SHOT) == item.messages


def test_examples_are_of_the_same_kind_and_of_the_same_language_where_there_are_enough():
    """Labels for labels; German for German, unless German has too few."""
    book = ExampleBook(TRAIN)
    labels = book.examples(label_item("q", "billing", question="Wrong invoice", language="en"), Prompt(2))
    assert {example.kind for example in labels} == {ItemKind.LABEL}
    german = answer_item("q", "Wo ist mein Paket, bitte?", language="de")
    assert [e.item_id for e in book.examples(german, Prompt(1))] == ["t5"]
    assert len(book.examples(german, Prompt(4))) == 4


@pytest.mark.parametrize("choice", list(Choice))
def test_a_question_is_never_its_own_example(choice):
    """Neither itself nor one of its cluster: a training question may be asked in the search."""
    book = ExampleBook(
        [*TRAIN, answer_item("t9", "How do I reset my password now?", cluster="t1", language="en")]
    )
    for question in TRAIN[:3]:
        examples = book.examples(question, Prompt(2, choice))
        assert question.item_id not in {example.item_id for example in examples}
        assert question.cluster not in {example.cluster for example in examples}


@pytest.mark.parametrize("choice", [Choice.FIXED, Choice.DIVERSE])
def test_fixed_examples_are_the_same_for_every_question_and_in_every_run(choice):
    """So that they are read once."""
    items = [answer_item(f"q{i}", f"Question {i}?", language="en") for i in range(3)]
    first = [ExampleBook(TRAIN).examples(item, Prompt(2, choice)) for item in items]
    assert first[0] == first[1] == first[2]


def test_diverse_label_examples_show_different_labels():
    """Two examples of two labels, not two of the same."""
    item = label_item("q", "billing", question="Something", language="en")
    examples = ExampleBook(TRAIN).examples(item, Prompt(2, Choice.DIVERSE))
    assert {example.label for example in examples} == {"billing", "shipping"}


def test_without_any_training_question_the_fault_is_told():
    """And what to do instead."""
    with pytest.raises(NoExamples, match="ask without any"):
        ExampleBook([]).examples(answer_item("q"), Prompt(1))


class _Answers:
    """Answers well under one prompt only; likelihood agrees."""

    def __init__(self, best):
        self.best, self.asked = best, []

    def outcomes(self, items, prompt, *, generate=True, progress=lambda fraction: None):
        self.asked.append((prompt, len(items), generate))
        good = prompt == self.best
        return [answered(item, item.reference if good else "no", 1.0 if good else 9.0) for item in items]


def test_the_search_finds_the_best_prompt_and_generates_only_for_finalists():
    """Nine prompts on half of the items by likelihood, then two on all by their answers."""
    best = Prompt(3, Choice.DIVERSE)
    answers = _Answers(best)
    validation = [answer_item(f"v{i}", f"Question {i}?") for i in range(40)]
    found = search_prompt(answers, validation, FewShotSearch(items=20))
    assert found.best == best
    assert found.tried[0].score == 1.0
    assert len(found.tried) == 9
    assert [(size, generate) for _, size, generate in answers.asked] == [(10, False)] * 9 + [(20, True)] * 2


def test_a_search_without_validation_items_is_refused():
    """Choosing a prompt on nothing would be a guess."""
    with pytest.raises(NoExamples, match="validation split is empty"):
        search_prompt(_Answers(None), [], FewShotSearch())
