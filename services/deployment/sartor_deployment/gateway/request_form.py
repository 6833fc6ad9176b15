"""What a request must look like before an engine sees it.

Engines check most of it themselves. Checked here is what they would take for a failure of their own, which
counts against a canary and makes clients ask again, and what they would silently leave out.
"""

from __future__ import annotations

import json
from typing import Any

from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.schema_form import check_schema
from sartor_deployment.gateway.tool_choice import check_tools, is_function

_MOST_LOGPROBS = 20
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "refusal")
_FORMATS = ("text", "json_object", "json_schema")


def json_object(body: bytes) -> dict[str, Any]:
    """A body as the object it holds.

    Raises:
        ApiError: 400.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", "invalid_json") from error
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", "invalid_json")
    return value


def checked(body: bytes, needed: str) -> dict[str, Any]:
    """A request, once its form is right; `needed` is what it asks by.

    Raises:
        ApiError: 400, with the parameter that is wrong.
    """
    value = json_object(body)
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError(
            400, "you must name a model: an endpoint or a revision", "missing_required_parameter", "model"
        )
    if not value.get(needed):
        raise ApiError(400, f"{needed!r} is missing or empty", "missing_required_parameter", needed)
    if needed == "messages":
        _messages(value["messages"])
    _options(value)
    _form(value, needed)
    check_tools(value)
    return value


def _messages(messages: Any) -> None:
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise _wrong("messages", "must be an array of objects")
    for number, each in enumerate(messages):
        place = f"messages[{number}]"
        if not isinstance(each.get("role"), str) or not each["role"]:
            raise _wrong(f"{place}.role", "must be text, such as user")
        if each["role"] not in _ROLES:
            text = f"'{place}.role' is {each['role']!r:.40}; it must be one of {', '.join(_ROLES)}"
            raise ApiError(400, text, "invalid_value", f"{place}.role")
        _content(each, f"{place}.content")
        calls = each.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and all(map(is_function, calls))):
            raise _wrong(
                f"{place}.tool_calls", 'must be an array of {"type": "function", "function": {"name": …}}'
            )


def _content(message: dict[str, Any], place: str) -> None:
    """An engine takes nothing at all for an empty text, and answers to that."""
    content = message.get("content")
    if content is None:
        if message["role"] != "assistant" or not any(message.get(each) for each in _INSTEAD_OF_CONTENT):
            raise _wrong(place, "is missing: it must be text, or an array of parts of the type text")
    elif not isinstance(content, str | list) or content == []:
        raise _wrong(place, "must be text, or an array of parts of the type text")
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict) or part.get("type", "text") != "text":
            raise _wrong(place, "may hold parts of the type text only: this model reads text")
        if not isinstance(part.get("text"), str):
            raise _wrong(place, 'has a part without "text"')


def _options(value: dict[str, Any]) -> None:
    stop = value.get("stop")
    words = [stop] if isinstance(stop, str) else stop or []
    if stop == 0 or not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise _wrong("stop", "must be text or an array of texts")
    for name in ("logprobs", "top_logprobs", "n_probs"):
        number = value.get(name)
        if isinstance(number, int) and number > _MOST_LOGPROBS:
            raise _wrong(name, f"must be at most {_MOST_LOGPROBS}")


def _form(value: dict[str, Any], needed: str) -> None:
    """What the answer must look like. An engine would say anything where it does not know the form."""
    if value.get("grammar"):
        raise _wrong(
            "grammar", "is not taken here: say what you need as `response_format` with a JSON schema"
        )
    if "json_schema" in value:
        check_schema(value["json_schema"], "json_schema", strict=False)
    form = value.get("response_format")
    if form is None:
        return
    if not isinstance(form, dict) or form.get("type") not in _FORMATS:
        raise _wrong("response_format", f'must be an object whose "type" is one of {", ".join(_FORMATS)}')
    if needed != "messages" and form["type"] != "text":
        raise _wrong("response_format", "is for chats: ask /v1/chat/completions")
    if form["type"] == "json_schema":
        given = form.get("json_schema")
        given = given if isinstance(given, dict) else {}
        strict = given.get("strict") is True
        check_schema(given.get("schema"), "response_format.json_schema.schema", strict=strict)
    elif "schema" in form:
        check_schema(form["schema"], "response_format.schema", strict=False)


def _wrong(name: str, text: str) -> ApiError:
    return ApiError(400, f"'{name}' {text}", "invalid_type", name)
