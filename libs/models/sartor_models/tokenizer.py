"""A base model's tokenizer and chat template without the model library: loads in milliseconds, renders in a
sandbox."""

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from sartor_models.chat_templates import CHAT_TEMPLATES
from sartor_models.errors import ModelError
from sartor_models.time_limit import TimeLimit

RENDER_SECONDS = 2.0


class ChatMessage(Protocol):
    """One turn: role is system, user or assistant."""

    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...


class ChatTokenizer:
    """Text to token ids and back, as one base model does it. Safe to share between threads."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        template: str,
        special_tokens: Mapping[str, str],
        eos_ids: Sequence[int],
        pad_id: int,
        context_length: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._special_tokens = dict(special_tokens)
        self._lock = threading.Lock()
        self._limit = TimeLimit(RENDER_SECONDS)
        self.template = template
        self.eos_ids = tuple(eos_ids)
        self.pad_id = pad_id
        self.context_length = context_length
        self._compiled = _compile(template) if template else None

    @property
    def vocabulary_size(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def prefix_id(self) -> int:
        """What stands before a text that nothing comes before: the begin token, else the end token."""
        for name in ("bos_token", "eos_token"):
            found = self._tokenizer.token_to_id(self._special_tokens.get(name, ""))
            if found is not None:
                return int(found)
        return self.eos_ids[0] if self.eos_ids else 0

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as it is: nothing is put before or after it."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=not keep_special))

    def render(self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool = False) -> str:
        """The conversation as the base model was trained to see it.

        Raises:
            ModelError: NO_CHAT_TEMPLATE, or CHAT_TEMPLATE_FAILED with the template's own complaint.
        """
        if self._compiled is None:
            raise ModelError(
                "This base model has no chat template, so it cannot be tuned on conversations. Choose an "
                "instruct model.",
                reason="NO_CHAT_TEMPLATE",
            )
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            with self._lock, self._limit:
                return str(
                    self._compiled.render(
                        messages=turns,
                        add_generation_prompt=add_generation_prompt,
                        tools=None,
                        documents=None,
                        **self._special_tokens,
                    )
                )
        except TimeoutError as error:
            raise ModelError(
                f"The chat template was not done with one conversation in {RENDER_SECONDS:g} s, so it was "
                "stopped. Do not use this base model.",
                reason="CHAT_TEMPLATE_TIMEOUT",
            ) from error
        except (TemplateError, TypeError, ValueError, KeyError, OverflowError) as error:
            raise ModelError(
                f"The chat template refuses this conversation: {error}",
                reason="CHAT_TEMPLATE_FAILED",
                metadata={"roles": ",".join(turn["role"] for turn in turns)},
            ) from error

    def prompt_ids(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Token ids after which the model is to answer `messages`."""
        return self.encode(self.render(messages, add_generation_prompt=True))


def load_tokenizer(folder: Path, chat_template: str = "") -> ChatTokenizer:
    """The tokenizer of a prepared base model (or of a merged model's folder).

    Args:
        chat_template: name of the template (CHAT_TEMPLATES) for a model that brings none of its own.
    Raises:
        ModelError: MODEL_FILES_CORRUPT, CHAT_TEMPLATE_INVALID, or CHAT_TEMPLATE_KNOWN where the model has
        its own.
    """
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        model = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        generation = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except Exception as error:  # the tokenizers library raises plain Exception for a bad file
        raise ModelError(
            f"The tokenizer files of {folder.name} are unreadable: {error}", reason="MODEL_FILES_CORRUPT"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    template = folder / "chat_template.jinja"
    specials = {
        key: str(value)
        for key, value in config.items()
        if key in ("bos_token", "eos_token", "pad_token", "unk_token")
    }
    if chat_template and template.exists():
        raise ModelError(
            "The base model has a chat template of its own; leave chat_template out.",
            reason="CHAT_TEMPLATE_KNOWN",
        )
    own = template.read_text(encoding="utf-8") if template.exists() else ""
    eos_ids = _end_ids(tokenizer, specials, generation.get("eos_token_id", model.get("eos_token_id")))
    pad_id = next(
        (
            value
            for value in (generation.get("pad_token_id"), model.get("pad_token_id"))
            if isinstance(value, int)
        ),
        eos_ids[0] if eos_ids else 0,
    )
    return ChatTokenizer(
        tokenizer,
        template=CHAT_TEMPLATES[chat_template] if chat_template else own,
        special_tokens=specials,
        eos_ids=eos_ids,
        pad_id=pad_id,
        context_length=int(model["max_position_embeddings"]),
    )


def _end_ids(
    tokenizer: Tokenizer, specials: Mapping[str, str], configured: int | list[int] | None
) -> list[int]:
    """Every token that ends an answer: what the generation config says and the tokenizer's own end token."""
    ids = [configured] if isinstance(configured, int) else list(configured or [])
    own = tokenizer.token_to_id(specials["eos_token"]) if "eos_token" in specials else None
    return ids if own is None or own in ids else [*ids, own]


def _compile(template: str) -> Any:
    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    try:
        return environment.from_string(template)
    except TemplateSyntaxError as error:
        raise ModelError(
            f"The chat template cannot be read: {error}", reason="CHAT_TEMPLATE_INVALID"
        ) from error
