"""Conversations become exactly the tokens of the template's rendering, and only the assistant's words
teach."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from sartor_models.chat_format import encode_answer, encode_conversation
from sartor_models.errors import ModelError
from sartor_models.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Turn:
    role: str
    content: str


DIALOGUE = [
    Turn("system", "Be kind."),
    Turn("user", "Where is my order?"),
    Turn("assistant", "On its way."),
    Turn("user", "When does it arrive?"),
    Turn("assistant", "\nIn three days."),
]


def test_the_rendering_equals_the_model_librarys(tiny: Path) -> None:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(str(tiny), local_files_only=True)
    turns = [{"role": turn.role, "content": turn.content} for turn in DIALOGUE]
    tokenizer = load_tokenizer(tiny)
    for last in (False, True):
        expected = reference.apply_chat_template(turns, tokenize=False, add_generation_prompt=last)
        assert tokenizer.render(DIALOGUE, add_generation_prompt=last) == expected


def test_the_tokens_are_the_full_rendering_and_the_mask_the_assistants_words(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    tokens = encode_conversation(tokenizer, DIALOGUE)
    assert tokenizer.decode(tokens.ids, keep_special=True) == tokenizer.render(DIALOGUE)
    learned = [token for token, supervised in zip(tokens.ids, tokens.supervised, strict=True) if supervised]
    assert tokenizer.decode(learned, keep_special=True) == "On its way.<|im_end|>\nIn three days.<|im_end|>"


def test_the_prompt_is_tokenised_as_it_is_when_the_model_answers(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    prompt, answer = encode_answer(tokenizer, DIALOGUE)
    assert prompt == tokenizer.prompt_ids(DIALOGUE[:-1])
    assert tokenizer.decode(answer, keep_special=True) == "\nIn three days.<|im_end|>"


def test_cutting_loses_the_end(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    assert (
        encode_conversation(tokenizer, DIALOGUE, 10).ids == encode_conversation(tokenizer, DIALOGUE).ids[:10]
    )


@pytest.mark.parametrize("turns", [[Turn("user", "Hello")], [Turn("assistant", "Hello")], []])
def test_a_conversation_without_an_answer_is_refused(tiny: Path, turns: list[Turn]) -> None:
    with pytest.raises(ModelError) as caught:
        encode_conversation(load_tokenizer(tiny), turns)
    assert caught.value.reason == "NOTHING_TO_LEARN"


def _with_template(tiny: Path, folder: Path, template: str) -> Path:
    shutil.copytree(tiny, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_turn_that_the_template_changes_later_is_not_learned(tiny: Path, tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + ('' if m.role == 'assistant' and not "
        "loop.last "
        "else m.content) + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt "
        "%}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer = load_tokenizer(_with_template(tiny, tmp_path / "m", template))
    tokens = encode_conversation(tokenizer, DIALOGUE)
    learned = [token for token, supervised in zip(tokens.ids, tokens.supervised, strict=True) if supervised]
    assert tokenizer.decode(learned, keep_special=True) == "\nIn three days.<|im_end|>"


def test_a_template_that_reaches_for_the_system_is_stopped(tiny: Path, tmp_path: Path) -> None:
    template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(ModelError) as caught:
        load_tokenizer(_with_template(tiny, tmp_path / "m", template)).render(DIALOGUE)
    assert caught.value.reason == "CHAT_TEMPLATE_FAILED"


def test_a_templates_own_complaint_is_passed_on(tiny: Path, tmp_path: Path) -> None:
    folder = _with_template(tiny, tmp_path / "m", "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ModelError, match="roles must alternate"):
        load_tokenizer(folder).render(DIALOGUE)


def test_a_model_without_a_template_says_so(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "m")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError) as caught:
        load_tokenizer(folder).render(DIALOGUE)
    assert caught.value.reason == "NO_CHAT_TEMPLATE"


def test_all_end_tokens_of_the_generation_config_count(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "m")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2]}))
    assert load_tokenizer(folder).eos_ids == (0, 2)
