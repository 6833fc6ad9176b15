"""Answers are remembered by all that they depend on, and by nothing else."""

import pytest
from sartor_evaluation.answer_cache import AnswerCache
from sartor_models.generate import Answer
from sartor_models.questions import Question, Response
from sartor_models.scoring import Score

QUESTION = Question((1, 2, 3), ((4, 5), (6,)), 8)
RESPONSE = Response((Score((-0.1, -1.0 / 3), (4, 7)), Score((-2.5,), (7,))), Answer((4, 7), False))


@pytest.fixture
def cache(tmp_path):
    return AnswerCache(tmp_path / "answers.db")


def test_what_was_answered_is_found_again_to_the_last_bit(cache, tmp_path):
    """By another process too, and for each of two equal questions."""
    cache.keep("digest", [(QUESTION, RESPONSE)])
    again = AnswerCache(tmp_path / "answers.db")
    assert again.find("digest", [QUESTION, Question((9,), ((4,),)), QUESTION]) == {0: RESPONSE, 2: RESPONSE}


@pytest.mark.parametrize(
    ("model", "question"),
    [
        ("other", QUESTION),
        ("digest", Question((1, 2), ((3, 4, 5), (6,)), 8)),
        ("digest", Question((1, 2, 3), ((4, 5, 6),), 8)),
        ("digest", Question((1, 2, 3), ((4, 5), (6,)), 9)),
        ("digest", Question((1, 2, 3), ((4, 5), (6,)), 8, ("\n",))),
    ],
)
def test_another_model_or_question_is_not_found(cache, model, question):
    """Not even where the same tokens are divided otherwise."""
    cache.keep("digest", [(QUESTION, RESPONSE)])
    assert cache.find(model, [question]) == {}


def test_the_file_stays_bounded(tmp_path):
    """What was used longest ago goes first; what is left is still right."""
    path = tmp_path / "answers.db"
    cache = AnswerCache(path, most_bytes=200_000)
    long = Response((Score(tuple(-1 / (n + 1) for n in range(200)), tuple(range(200))),), None)
    for batch in range(30):
        cache.keep("m", [(Question((batch, n), ((1,),)), long) for n in range(20)])
    assert path.stat().st_size < 1_500_000
    assert cache.find("m", [Question((29, 19), ((1,),))]) == {0: long}
    assert cache.find("m", [Question((0, 0), ((1,),))]) == {}


def test_an_answer_without_scores_is_kept_too(cache):
    """Questions without a reference have none."""
    alone, answer = Question((1,), (), 4), Response((), Answer((), True))
    cache.keep("m", [(alone, answer)])
    assert cache.find("m", [alone]) == {0: answer}
