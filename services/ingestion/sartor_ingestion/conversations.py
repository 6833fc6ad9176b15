"""Conversations as the field writes them: role and content, from and value, parts, marked transcripts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sartor_datasets.records import Message

from sartor_ingestion.rejection import Reason, Rejected, shown

_ROLES = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "system": "system",
    "developer": "system",
}
_KNOWN = "system, user, assistant"
_TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


def turns(value: Any) -> tuple[Message, ...]:
    """The turns of a chat; in CSV they come as JSON text.

    Raises:
        Rejected: BAD_MESSAGES.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise _bad("the messages are text, but not JSON") from error
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise _bad(f"the messages must be a list with at least one turn, not {shown(value)}")
    return tuple(_turn(i, turn) for i, turn in enumerate(value))


def prompt(value: Any) -> tuple[Message, ...]:
    """What an answer answers: one question as text, or the turns so far."""
    if isinstance(value, str) and not value.lstrip().startswith("[{"):
        return (Message("user", value),)
    return turns(value)


def answer(value: Any) -> tuple[tuple[Message, ...], str]:
    """An answer given as text, as a turn or as a conversation that ends in it: the turns before it, and it.

    A transcript with "Human:" and "Assistant:" counts as a conversation.
    """
    if isinstance(value, str):
        told = _transcript(value)
        return (told[:-1], told[-1].content) if told else ((), value)
    if isinstance(value, Mapping):
        return (), _turn(0, value).content
    found = turns(value)
    if found[-1].role != "assistant":
        raise _bad(f"an answer must end with a turn of the assistant, not of the {found[-1].role}")
    return found[:-1], found[-1].content


def _transcript(text: str) -> tuple[Message, ...]:
    """The turns of a marked transcript that ends with the assistant; none where the text is no such thing."""
    parts = _TRANSCRIPT.split(text)
    if len(parts) < 5 or parts[0].strip() or parts[1] != "Human" or parts[-2] != "Assistant":
        return ()
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return tuple(Message("user" if who == "Human" else "assistant", said.strip()) for who, said in pairs)


def _turn(index: int, turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise _bad(f"message {index} must be an object with role and content")
    role = turn.get("role", turn.get("from"))
    known = _ROLES.get(role.lower()) if isinstance(role, str) else None
    if known is None:
        raise _bad(f"message {index} must have a role of {_KNOWN}, not {shown(role)}")
    content = turn["content"] if "content" in turn else turn.get("value")
    if isinstance(content, list):
        content = _parts(index, content)
    if not isinstance(content, str):
        raise _bad(f"the content of message {index} must be text, not {shown(content)}")
    return Message(known, content)


def _parts(index: int, parts: list[Any]) -> str:
    """The text of a content that comes in parts."""
    texts = []
    for part in parts:
        text = part.get("text", part.get("content")) if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise _bad(f"message {index} has a part that is no text: {shown(kind)}")
        texts.append(text)
    return "\n".join(texts)


def _bad(problem: str) -> Rejected:
    return Rejected(Reason.BAD_MESSAGES, problem)
