"""Questions put to a model in shared batches get the same scores and answers as one by one."""

import random

import pytest
import torch
from sartor_models.generate import generate
from sartor_models.load import load_model, load_tokenizer
from sartor_models.questions import Question, ask
from sartor_models.scoring import ScoreItem, score

from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def model_and_tokenizer(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"))
    return load_model(folder, torch.float32), load_tokenizer(folder)


def _questions(tokenizer, *, shared: int, seed: int = 1) -> list[Question]:
    generator = random.Random(seed)
    prefix = [generator.randrange(3, 300) for _ in range(shared)]
    questions = []
    for number in range(13):
        prompt = prefix + [generator.randrange(3, 300) for _ in range(generator.randrange(2, 40))]
        answers = tuple(
            [generator.randrange(3, 300) for _ in range(generator.randrange(0, 12))] + [tokenizer.eos_ids[0]]
            for _ in range(1 + number % 3)
        )
        questions.append(Question(prompt, answers, max_new_tokens=number % 5 * 4))
    return questions


@pytest.mark.parametrize("shared", [0, 40])
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_scores_and_answers_equal_those_of_each_question_alone(model_and_tokenizer, shared, rows):
    """Whatever the batch and the common prefix: log-probabilities to 1e-4, the same tokens."""
    model, tokenizer = model_and_tokenizer
    questions = _questions(tokenizer, shared=shared)
    responses = ask(model, questions, eos_ids=tokenizer.eos_ids, pad_id=tokenizer.pad_id, max_rows=rows)
    for question, response in zip(questions, responses, strict=True):
        alone = score(model, [ScoreItem(question.prompt_ids, ids) for ids in question.answer_ids])
        for ours, theirs in zip(response.scores, alone, strict=True):
            assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-4)
            assert ours.top1_ids == theirs.top1_ids
        if question.max_new_tokens == 0:
            assert response.answer is None
        else:
            expected = generate(
                model,
                [question.prompt_ids],
                eos_ids=tokenizer.eos_ids,
                pad_id=tokenizer.pad_id,
                max_new_tokens=question.max_new_tokens,
            )
            assert response.answer == expected[0]


def test_a_reference_that_the_model_agrees_with_needs_no_generation(model_and_tokenizer):
    """The model's own greedy answer as reference, in full or in part, leads to that answer again."""
    model, tokenizer = model_and_tokenizer
    prompts = [list(range(5, 30)), list(range(40, 52)), list(range(60, 70))]
    own = generate(model, prompts, eos_ids=tokenizer.eos_ids, pad_id=0, max_new_tokens=20)
    for cut in (20, 7, 1):
        questions = [Question(p, (list(a.ids[:cut]),), 20) for p, a in zip(prompts, own, strict=True)]
        responses = ask(model, questions, eos_ids=tokenizer.eos_ids, pad_id=0)
        assert [r.answer for r in responses] == own


def test_an_end_token_in_agreement_ends_the_answer(model_and_tokenizer):
    """If the most probable token is the reference's end token, the answer is what came before it."""
    model, _ = model_and_tokenizer
    prompt = list(range(5, 30))
    own = generate(model, [prompt], eos_ids=(), pad_id=0, max_new_tokens=6)[0].ids
    [response] = ask(model, [Question(prompt, (list(own),), 20)], eos_ids=[own[3]], pad_id=0)
    cut = own.index(own[3])
    assert response.answer is not None
    assert response.answer.ids == own[:cut]
    assert response.answer.finished


def test_nothing_to_score_is_refused(model_and_tokenizer):
    """A question without an answer to score is the caller's mistake, and is called so."""
    model, _ = model_and_tokenizer
    with pytest.raises(ValueError, match="no answer to score may be empty"):
        ask(model, [Question([1, 2], ((),))], eos_ids=[2], pad_id=0)
    with pytest.raises(ValueError, match="room for one of the model's own"):
        ask(model, [Question([1, 2], ())], eos_ids=[2], pad_id=0)


def test_a_question_without_reference_is_answered_as_generate_does(model_and_tokenizer):
    """Alone and among others that have references: nothing to draft from changes nothing."""
    model, _ = model_and_tokenizer
    prompts = [list(range(5, 25)), list(range(40, 52))]
    expected = generate(model, prompts, eos_ids=(), pad_id=0, max_new_tokens=8)
    alone = ask(model, [Question(prompt, (), 8) for prompt in prompts], eos_ids=(), pad_id=0)
    mixed = ask(
        model, [Question(prompts[0], (), 8), Question(prompts[1], ((7, 9),), 8)], eos_ids=(), pad_id=0
    )
    assert [response.answer for response in alone] == expected
    assert [response.answer for response in mixed] == expected
    assert alone[0].scores == ()


def test_an_answer_ends_at_a_stop_text(model_and_tokenizer):
    """The text of the tokens holds the stop, and nothing is written after it."""
    model, tokenizer = model_and_tokenizer
    prompt = list(range(5, 25))
    free = generate(model, [prompt], eos_ids=(), pad_id=0, max_new_tokens=12)[0].ids
    stop = tokenizer.decode(free[4:6])
    question = Question(prompt, (), 12, (stop,))
    [response] = ask(model, [question], eos_ids=(), pad_id=0, decode=tokenizer.decode)
    assert response.answer is not None
    assert response.answer.finished
    assert len(response.answer.ids) <= 6
    assert free[: len(response.answer.ids)] == response.answer.ids
    assert stop in tokenizer.decode(response.answer.ids)
