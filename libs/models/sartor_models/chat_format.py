"""Conversations as token ids, with a mask of the positions that teach: the assistant's words and the token
that ends them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sartor_models.errors import ModelError
from sartor_models.tokenizer import ChatMessage, ChatTokenizer


@dataclass(frozen=True, slots=True)
class ChatTokens:
    """`supervised[i]` says whether token i is one the model should learn to produce. Both have the same
    length."""

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]

    @property
    def supervised_count(self) -> int:
        return sum(self.supervised)


@dataclass(frozen=True, slots=True)
class _Segment:
    text: str
    answer: bool


def encode_conversation(
    tokenizer: ChatTokenizer, messages: Sequence[ChatMessage], max_tokens: int | None = None
) -> ChatTokens:
    """Token ids of the template's full rendering and the mask of the assistant's tokens.

    What the model is asked to continue is tokenised by itself, exactly as it is when it answers; the
    segments together
    are the full rendering, character for character. A turn is supervised through its end token, not through
    the line
    break that some templates put after it. An earlier assistant turn that the template changes afterwards
    (some drop the
    reasoning of past turns) is not supervised.

    Args:
        max_tokens: cut after this many tokens; the end is lost, never the beginning.
    Raises:
        ModelError: NOTHING_TO_LEARN where no assistant turn can be told apart in the rendering.
    """
    ids: list[int] = []
    supervised: list[bool] = []
    for segment in _segments(tokenizer, messages):
        tokens = tokenizer.encode(segment.text)
        learned = _through_end(tokens, tokenizer.eos_ids) if segment.answer else 0
        ids += tokens
        supervised += [True] * learned + [False] * (len(tokens) - learned)
    return ChatTokens(tuple(ids[:max_tokens]), tuple(supervised[:max_tokens]))


def encode_answer(tokenizer: ChatTokenizer, messages: Sequence[ChatMessage]) -> tuple[list[int], list[int]]:
    """(prompt ids, answer ids) of a conversation whose last message is the assistant's; the answer ends with
    its end token."""
    if not messages or messages[-1].role != "assistant":
        raise ModelError(
            "The last message of the conversation is not the assistant's.", reason="NOTHING_TO_LEARN"
        )
    *before, last = _segments(tokenizer, messages, last_only=True)
    answer = tokenizer.encode(last.text)
    prompt = [token for segment in before for token in tokenizer.encode(segment.text)]
    return prompt, answer[: _through_end(answer, tokenizer.eos_ids)]


def _segments(
    tokenizer: ChatTokenizer, messages: Sequence[ChatMessage], *, last_only: bool = False
) -> list[_Segment]:
    """The full rendering cut where the assistant begins and ceases to speak."""
    full = tokenizer.render(messages)
    segments: list[_Segment] = []
    position = 0
    for index, message in enumerate(messages):
        if message.role != "assistant" or (last_only and index < len(messages) - 1):
            continue
        prompt = tokenizer.render(messages[:index], add_generation_prompt=True) if index else ""
        through = full if index == len(messages) - 1 else tokenizer.render(messages[: index + 1])
        if (
            not prompt
            or not full.startswith(prompt)
            or not full.startswith(through)
            or len(prompt) < position
        ):
            continue
        segments += [
            _Segment(full[position : len(prompt)], False),
            _Segment(full[len(prompt) : len(through)], True),
        ]
        position = len(through)
    if not segments:
        raise ModelError(
            "No assistant turn can be told apart in this conversation: it has none, begins with one, or the "
            "base model's chat "
            "template renders a finished answer differently from the prompt that asks for it.",
            reason="NOTHING_TO_LEARN",
            metadata={"roles": ",".join(message.role for message in messages)},
        )
    rest = full[position:]
    return [*segments, _Segment(rest, False)] if rest else segments


def _through_end(tokens: Sequence[int], eos_ids: Sequence[int]) -> int:
    """How many of `tokens` belong to the answer: through the last end token, or all where the template
    writes none."""
    ends = [index for index, token in enumerate(tokens) if token in eos_ids]
    return ends[-1] + 1 if ends else len(tokens)
