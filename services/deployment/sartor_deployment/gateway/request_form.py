"""What a request must look like before an engine sees it.

Engines check most of it themselves. Checked here is what they would take for a failure of their own, which
counts against a canary and makes clients ask again, and what they would silently leave out.
"""

from __future__ import annotations

import json
from typing import Any

from sartor_deployment.gateway.errors import ApiError

_MOST_LOGPROBS = 20
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
    _tools(value.get("tools"))
    _options(value)
    return value


def _messages(messages: Any) -> None:
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise _wrong("messages", "must be an array of objects")
    for number, each in enumerate(messages):
        place = f"messages[{number}]"
        if not isinstance(each.get("role"), str) or not each["role"]:
            raise _wrong(f"{place}.role", "must be text, such as user")
        content = each.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type", "text") if isinstance(part, dict) else None
            if kind != "text":
                raise _wrong(
                    f"{place}.content", "may hold parts of the type text only: this model reads text"
                )
        calls = each.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and all(map(_is_function, calls))):
            raise _wrong(
                f"{place}.tool_calls", 'must be an array of {"type": "function", "function": {"name": …}}'
            )


def _tools(tools: Any) -> None:
    if tools is not None and not (isinstance(tools, list) and all(map(_is_function, tools))):
        raise _wrong("tools", 'must be an array of {"type": "function", "function": {"name": …}}')


def _is_function(value: Any) -> bool:
    function = value.get("function") if isinstance(value, dict) else None
    return (
        isinstance(function, dict)
        and value.get("type") == "function"
        and isinstance(function.get("name"), str)
    )


def _options(value: dict[str, Any]) -> None:
    stop, form = value.get("stop"), value.get("response_format")
    words = [stop] if isinstance(stop, str) else stop or []
    if stop == 0 or not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise _wrong("stop", "must be text or an array of texts")
    if form is not None and (not isinstance(form, dict) or form.get("type") not in _FORMATS):
        raise _wrong("response_format", f'must be an object whose "type" is one of {", ".join(_FORMATS)}')
    for name in ("logprobs", "top_logprobs", "n_probs"):
        number = value.get(name)
        if isinstance(number, int) and number > _MOST_LOGPROBS:
            raise _wrong(name, f"must be at most {_MOST_LOGPROBS}")


def _wrong(name: str, text: str) -> ApiError:
    return ApiError(400, f"'{name}' {text}", "invalid_type", name)
