"""Tools: what a request may say of them, and calls that must be made.

The engine reads calls as the model's chat template has them, and makes deltas of them in a stream. It cannot
be made to call (of `required` and of a named function it takes no notice), but it obeys a schema: so a call
that must be made is asked for as an object `{"name", "arguments"}`, and given to the client as a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sartor_platform.names import new_id
from starlette.responses import Response

from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.schema_form import check_schema

_FORM = 'must be an array of {"type": "function", "function": {"name": …}}'
_MOST_TOOLS = 64


@dataclass(frozen=True, slots=True)
class ForcedCall:
    """A request in which a call must be made: what the engine is asked, and what the client asked for."""

    body: bytes
    streamed: bool
    with_usage: bool


def is_function(value: Any) -> bool:
    """Whether it is a function, as `tools` and `tool_calls` have it."""
    function = value.get("function") if isinstance(value, dict) else None
    return (
        isinstance(function, dict)
        and value.get("type") == "function"
        and isinstance(function.get("name"), str)
        and bool(function["name"])
    )


def check_tools(value: Mapping[str, Any]) -> None:
    """Returns where an engine can take them.

    Raises:
        ApiError: 400, with the parameter that is wrong.
    """
    for old in ("functions", "function_call"):
        if value.get(old) is not None:
            raise ApiError(
                400, f"'{old}' is not known here: use `tools` and `tool_choice`", "invalid_type", old
            )
    tools, choice = value.get("tools"), value.get("tool_choice")
    if tools is not None and not (isinstance(tools, list) and all(map(is_function, tools))):
        raise ApiError(400, f"'tools' {_FORM}", "invalid_type", "tools")
    if tools and len(tools) > _MOST_TOOLS:
        raise ApiError(400, f"'tools' may be {_MOST_TOOLS} at most", "invalid_type", "tools")
    for number, each in enumerate(tools or ()):
        parameters = each["function"].get("parameters")
        if parameters is not None:
            place = f"tools[{number}].function.parameters"
            check_schema(parameters, place, strict=each["function"].get("strict") is True)
    if choice is None or choice == "none":
        return
    names = [each["function"]["name"] for each in tools or ()]
    if not names:
        raise ApiError(400, "'tool_choice' needs `tools` to choose from", "invalid_type", "tool_choice")
    if is_function(choice):
        if choice["function"]["name"] not in names:
            text = f"'tool_choice' names no function of `tools`; there are: {', '.join(names)}"
            raise ApiError(400, text, "invalid_type", "tool_choice")
    elif choice not in ("auto", "required"):
        text = 'none, auto, required or {"type": "function", "function": {"name": …}}'
        raise ApiError(400, f"'tool_choice' must be {text}", "invalid_type", "tool_choice")
    if choice != "auto" and (value.get("response_format") or {}).get("type", "text") != "text":
        text = "a call that must be made leaves no room for 'response_format': say one of the two"
        raise ApiError(400, text, "invalid_type", "response_format")


def forced_call(value: Mapping[str, Any]) -> ForcedCall | None:
    """What to ask the engine where a call must be made; None where the engine can be asked as it is."""
    choice = value.get("tool_choice")
    if choice in (None, "none", "auto"):
        return None
    functions = [each["function"] for each in value["tools"]]
    if isinstance(choice, dict):
        functions = [each for each in functions if each["name"] == choice["function"]["name"]][:1]
    schema = {
        "anyOf": [_call(function, number) for number, function in enumerate(functions)],
        "$defs": {str(number): _moved(_parameters(each), number) for number, each in enumerate(functions)},
    }
    form = {"type": "json_schema", "json_schema": {"name": "call", "strict": True, "schema": schema}}
    asked = {**value, "tool_choice": "none", "response_format": form, "stream": False}
    options = asked.pop("stream_options", None)
    with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
    return ForcedCall(json.dumps(asked).encode(), bool(value.get("stream")), with_usage)


def _parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    return function.get("parameters") or {"type": "object", "properties": {}}


def _call(function: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": {"$ref": f"#/$defs/{number}"}},
        "required": ["name", "arguments"],
    }


def _moved(value: Any, number: int) -> Any:
    """A schema's references, where it lies now below `$defs`."""
    if isinstance(value, list):
        return [_moved(each, number) for each in value]
    if not isinstance(value, dict):
        return value
    moved = {key: _moved(each, number) for key, each in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = f"#/$defs/{number}{reference[1:]}"
    return moved


def as_call(forced: ForcedCall, answer: Response) -> Response:
    """The engine's answer as the client asked for it."""
    completion = json.loads(bytes(answer.body))
    for choice in completion.get("choices", ()):
        _make_call(choice)
    headers = {name: value for name, value in answer.headers.items() if name.startswith("x-")}
    if not forced.streamed:
        return Response(json.dumps(completion), answer.status_code, headers, "application/json")
    events = "".join(f"data: {event}\n\n" for event in _events(completion, forced.with_usage))
    return Response(events, answer.status_code, headers, "text/event-stream")


def _make_call(choice: dict[str, Any]) -> None:
    """An answer that broke off before its end stays text: nobody must act on half a call."""
    message = choice.get("message") or {}
    try:
        said = json.loads(message.get("content") or "")
        function = {"name": said["name"], "arguments": json.dumps(said["arguments"], ensure_ascii=False)}
    except (ValueError, KeyError, TypeError):
        return
    call = {"id": f"call-{new_id()}", "type": "function", "function": function}
    choice["message"] = {**message, "content": None, "tool_calls": [call]}
    choice["finish_reason"] = "tool_calls"


def _events(completion: dict[str, Any], with_usage: bool) -> Iterator[str]:
    usage = completion.pop("usage", None)
    choices = completion.pop("choices", [])
    head = {**completion, "object": "chat.completion.chunk"}
    for choice in choices:
        index, message = choice["index"], choice["message"]
        calls = [{"index": number, **call} for number, call in enumerate(message.get("tool_calls") or ())]
        delta = {
            "role": "assistant",
            "content": message.get("content"),
            **({"tool_calls": calls} if calls else {}),
        }
        yield json.dumps({**head, "choices": [{"index": index, "delta": delta, "finish_reason": None}]})
        end = {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}
        yield json.dumps({**head, "choices": [end]})
    if with_usage:
        yield json.dumps({**head, "choices": [], "usage": usage})
    yield "[DONE]"
