"""What makes a model answer faster on a processor changes none of its answers, and is taken off again."""

import random

import pytest
import torch
from sartor_models.heads import exact_logits, hidden_states
from sartor_models.load import load_model, load_tokenizer
from sartor_models.processor_speed import packed_weights, quick_attention
from sartor_models.questions import Question, ask
from sartor_models.sharp_scores import compare, most_probable

from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def _ids(rows: int, length: int) -> torch.Tensor:
    return torch.randint(3, 300, (rows, length), generator=torch.Generator().manual_seed(1))


def test_packed_weights_give_the_same_states_and_leave_the_weights_as_they_were(folder):
    """Bit for bit, also where something goes wrong meanwhile."""
    model = load_model(folder, torch.bfloat16)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    plain = hidden_states(model, _ids(3, 20))

    def interrupted() -> None:
        with packed_weights(model):
            layer = model.model.layers[0].mlp.up_proj
            assert layer.weight.numel() == 0 or not torch.ops.mkldnn._is_mkldnn_bf16_supported()
            assert torch.equal(hidden_states(model, _ids(3, 20)), plain)
            raise KeyError("interrupted")

    with pytest.raises(KeyError):
        interrupted()
    assert torch.equal(hidden_states(model, _ids(3, 20)), plain)
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())


@pytest.mark.parametrize("length", [1, 63, 150])
def test_attention_in_bfloat16_is_bit_for_bit_the_eager_one(folder, length):
    """Padded or not: the plain way of computing it, only in blocks."""
    model = load_model(folder, torch.bfloat16)
    mask = torch.ones(2, length, dtype=torch.long)
    mask[0, length - length // 3 :] = 0
    with quick_attention(model):
        quick = [hidden_states(model, _ids(2, length), each) for each in (None, mask)]
    model.config._attn_implementation = "eager"
    plain = [hidden_states(model, _ids(2, length), each) for each in (None, mask)]
    assert torch.allclose(quick[0], plain[0], atol=0.02, rtol=0.02)
    assert torch.allclose(quick[1][mask.bool()], plain[1][mask.bool()], atol=0.02, rtol=0.02)


@pytest.mark.parametrize("length", [1, 64, 200])
def test_attention_in_blocks_is_the_attention_of_the_whole(folder, length):
    """Of a text alone, and of new tokens after others that are padded."""
    model = load_model(folder, torch.float32)
    usual = model.config._attn_implementation
    mask = torch.ones(3, length, dtype=torch.long)
    mask[0, length // 2 :] = 0
    plain = hidden_states(model, _ids(3, length)), hidden_states(model, _ids(3, length), mask)
    with quick_attention(model):
        assert model.config._attn_implementation != usual
        quick = hidden_states(model, _ids(3, length)), hidden_states(model, _ids(3, length), mask)
    assert model.config._attn_implementation == usual
    assert torch.allclose(plain[0], quick[0], atol=1e-5)
    real = mask.bool()
    assert torch.allclose(plain[1][real], quick[1][real], atol=1e-5)


def test_sharp_scores_of_a_bfloat16_layer_are_those_of_a_float32_layer(folder):
    """Log-probabilities to a hundredth, and the same most probable tokens."""
    model = load_model(folder, torch.bfloat16)
    states = torch.randn(300, model.config.hidden_size, generator=torch.Generator().manual_seed(2))
    states = (states * 4).to(torch.bfloat16)
    expected = _ids(1, 300)[0]
    exact = exact_logits(model, states).log_softmax(1)
    chosen, best = compare(model, states, expected)
    assert chosen == pytest.approx(exact.gather(1, expected[:, None])[:, 0].tolist(), abs=1e-2)
    assert best == exact.argmax(1).tolist()
    assert most_probable(model, states) == (best, True)


def test_scores_that_are_not_finite_are_noticed(folder):
    """One NaN among many scores is enough."""
    model = load_model(folder, torch.bfloat16)
    model.lm_head.weight.data[7, 0] = torch.nan
    states = torch.ones(2, model.config.hidden_size, dtype=torch.bfloat16)
    assert most_probable(model, states)[1] is False
    assert all(score != score for score in compare(model, states, torch.tensor([1, 2]))[0])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_answers_do_not_depend_on_batch_size_or_threads(folder, threads):
    """Texts, choices and answers, in batches of 1 to 64 and on one to three threads."""
    model, tokenizer = load_model(folder, torch.float32), load_tokenizer(folder)
    chance = random.Random(4)

    def tokens(count: int) -> list[int]:
        return [chance.randrange(3, 300) for _ in range(count)]

    texts = [Question([1], [tokens(chance.randrange(1, 90))]) for _ in range(7)]
    answers = [Question(tokens(chance.randrange(2, 30)), (), 50) for _ in range(7)]
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for questions in (texts, answers):
            found = [
                ask(
                    model,
                    questions,
                    eos_ids=tokenizer.eos_ids,
                    pad_id=0,
                    tokens_per_batch=size,
                    max_rows=rows,
                )
                for size, rows in ((10_000, 64), (200, 2), (1, 1))
            ]
            for other in found[1:]:
                for one, two in zip(found[0], other, strict=True):
                    assert one.answer == two.answer
                    for ours, theirs in zip(one.scores, two.scores, strict=True):
                        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-4)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(usual)
