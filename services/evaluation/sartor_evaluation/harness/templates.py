"""The templates of a task file, rendered in a sandbox: fields of a document, or Jinja."""

import ast
import re
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sartor_evaluation.harness.errors import BadTaskFile

Json = dict[str, Any]
_MOST_RENDERED = 1_000_000


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(one) for one in (left, right) if isinstance(one, str | list | tuple)]
        numbers = [abs(one) for one in (left, right) if isinstance(one, int)]
        if operator == "**" or (sizes and numbers and sizes[0] * numbers[0] > _MOST_RENDERED):
            raise TemplateError("too large a value")
        return super().call_binop(context, operator, left, right)


def _regex_replace(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    return re.sub(pattern, replacement, text, count=count)


_ENVIRONMENT = _Environment(undefined=StrictUndefined, keep_trailing_newline=True)
_ENVIRONMENT.filters["regex_replace"] = _regex_replace


class Fields:
    """What a task says of a document: its question, target and choices."""

    def __init__(self, config: Json, names: set[str]) -> None:
        self._config, self._names = config, names
        self._compiled: dict[str, Any] = {}
        self._has_choices = config.get("doc_to_choice") is not None

    def question(self, document: Json) -> str:
        """The rendered doc_to_text."""
        found = self._value(self._config.get("doc_to_text", ""), document)
        if isinstance(found, int) or (self._has_choices and isinstance(found, str) and found.isdigit()):
            raise BadTaskFile(
                "doc_to_text is a number of a choice: tasks with several contexts cannot be run here"
            )
        return str(found)

    def target(self, document: Json) -> Any:
        """The rendered doc_to_target: a text, a number of a choice, or several."""
        given = self._config.get("doc_to_target", "")
        found = self._value(given, document)
        if not isinstance(found, str) or (isinstance(given, str) and given in self._names):
            return found
        if found.isdigit() and self._has_choices:
            return int(found)
        if len(found) >= 2 and found[0] == "[" and found[-1] == "]":
            try:
                return ast.literal_eval(found)
            except (SyntaxError, ValueError):
                return found
        return found

    def choices(self, document: Json) -> list[str]:
        """The rendered doc_to_choice."""
        given = self._config.get("doc_to_choice")
        if isinstance(given, list):
            return list(map(str, given))
        if isinstance(given, dict):
            return list(map(str, given.values()))
        if not isinstance(given, str):
            raise BadTaskFile("doc_to_choice is missing: it says what there is to choose from")
        if given in self._names:
            return list(map(str, document[given]))
        try:
            return list(map(str, ast.literal_eval(self.render(given, document))))
        except (SyntaxError, ValueError, TypeError) as error:
            raise BadTaskFile(f"doc_to_choice {given!r} does not render to a list") from error

    def gold(self, document: Json, choices: list[str]) -> int:
        """The number of the right choice."""
        found = self.target(document)
        if isinstance(found, str) and found in choices:
            return choices.index(found)
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < len(choices):
            raise BadTaskFile(f"doc_to_target {found!r} is none of the {len(choices)} choices")
        return found

    def answer(self, document: Json) -> str:
        """An example's answer as it is written."""
        found = self.target(document)
        if self._has_choices and isinstance(found, int):
            return self.choices(document)[found]
        return str(found[0]) if isinstance(found, list) else str(found)

    def render(self, template: str, document: Json) -> str:
        """A template filled in."""
        try:
            if template not in self._compiled:
                self._compiled[template] = _ENVIRONMENT.from_string(template)
            text = str(self._compiled[template].render(**document))
        except (TemplateError, TypeError, ValueError, OverflowError, re.error) as error:
            raise BadTaskFile(f"the template {template[:80]!r} cannot be filled in: {error}") from error
        if len(text) > _MOST_RENDERED:
            raise BadTaskFile(f"the template {template[:80]!r} makes more than a million characters")
        return text

    def _value(self, given: Any, document: Json) -> Any:
        if isinstance(given, str):
            return document[given] if given in self._names else self.render(given, document)
        if isinstance(given, int | list):
            return given
        raise BadTaskFile(f"{given!r} is neither a field nor a template")


def joined(left: str, right: str, delimiter: str) -> str:
    """Both with the delimiter between them, unless one is empty or white space is there already."""
    if not left or not right:
        return left or right
    return left + right if left[-1].isspace() or right[0].isspace() else left + delimiter + right
