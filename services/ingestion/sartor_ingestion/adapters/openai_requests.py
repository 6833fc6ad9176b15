"""Request and response of chat completions, as a proxy or batch job of an OpenAI-compatible API records them.

Each message holds `request` and `response`; either may be wrapped with its `body` and status, as the Batch
API does. Chat Completions and Responses are read, streamed answers put together from their chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sartor_ingestion.adapters.messages import KEY, BadMessage, Message, Said, json_of, object_at
from sartor_ingestion.rejection import Reason, Rejected

_KEPT = ("model", "user", "safety_identifier", "prompt_cache_key", "store")


def read(message: Message) -> Said:
    """A row of `messages` that ends with the answer; `model`, `user`, `metadata` and the like beside it.

    An error, a refusal or an answer that calls tools is a rejected row, for it has no text to learn.
    Raises:
        BadMessage: BAD_MESSAGE, BAD_REQUEST_PAIR.
    """
    if message.value is None:
        return Said()
    pair = json_of(message.value, "pair of request and response")
    request, response = _body(pair.get("request")), _body(pair.get("response"))
    if not request or not (response or _chunks(pair)):
        raise BadMessage(
            "BAD_REQUEST_PAIR", "the message must hold a `request` and its `response`, both objects"
        )
    try:
        turns = [*_asked(request), _answered(pair, response)]
    except Rejected as error:
        return Said(rejections=(error,))
    metadata = object_at(request, "metadata")
    row = {**metadata, **{name: request[name] for name in _KEPT if request.get(name) is not None}}
    identity = response.get("id") or pair.get("id") or pair.get("custom_id")
    if identity:
        row[KEY] = row["id"] = str(identity)
    return Said(rows=({**row, "finish_reason": _finish(response), "messages": turns},))


def _body(side: Any) -> dict[str, Any]:
    """A request or response without its HTTP wrapping."""
    if isinstance(side, Mapping) and isinstance(side.get("body"), Mapping):
        return dict(side["body"])
    return dict(side) if isinstance(side, Mapping) else {}


def _asked(request: Mapping[str, Any]) -> list[Any]:
    if isinstance(request.get("messages"), list):
        return [turn for turn in request["messages"] if turn]
    given = request.get("input")
    turns: list[Any] = []
    if isinstance(request.get("instructions"), str):
        turns.append({"role": "system", "content": request["instructions"]})
    if isinstance(given, str):
        return [*turns, {"role": "user", "content": given}]
    if not isinstance(given, list):
        raise BadMessage("BAD_REQUEST_PAIR", "the request has neither messages nor input")
    return [*turns, *given]


def _answered(pair: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, str]:
    """The answer as a turn."""
    failed = response.get("error") or pair.get("error")
    status = object_at(pair, "response").get("status_code") or 200
    if failed or not isinstance(status, int) or status >= 400:
        raise Rejected(Reason.BAD_MESSAGES, f"the request failed, so there is no answer (status {status})")
    if chunks := _chunks(pair):
        return {"role": "assistant", "content": _put_together(chunks)}
    if isinstance(response.get("output"), list):
        return {"role": "assistant", "content": _output_text(response["output"])}
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    content = object_at(first, "message").get("content")
    if not isinstance(content, str) or not content:
        raise Rejected(Reason.BAD_MESSAGES, "the answer has no text: it refuses, or it calls tools")
    return {"role": "assistant", "content": content}


def _chunks(pair: Mapping[str, Any]) -> list[Any]:
    """The chunks of a streamed answer."""
    side = pair.get("response")
    found = side.get("body") if isinstance(side, Mapping) else side
    return found if isinstance(found, list) else []


def _put_together(chunks: list[Any]) -> str:
    said = []
    for chunk in chunks:
        for choice in chunk.get("choices") or [] if isinstance(chunk, Mapping) else []:
            text = object_at(choice, "delta").get("content")
            if isinstance(text, str) and choice.get("index", 0) == 0:
                said.append(text)
    if not said:
        raise Rejected(Reason.BAD_MESSAGES, "the streamed answer has no text: it refuses, or it calls tools")
    return "".join(said)


def _output_text(output: list[Any]) -> str:
    """The text of a Responses answer: of its messages, not of its reasoning or calls."""
    texts = [
        part["text"]
        for item in output
        if isinstance(item, Mapping)
        and item.get("type") == "message"
        and isinstance(item.get("content"), list)
        for part in item["content"]
        if isinstance(part, Mapping) and isinstance(part.get("text"), str)
    ]
    if not texts:
        raise Rejected(Reason.BAD_MESSAGES, "the answer has no text: it refuses, or it calls tools")
    return "".join(texts)


def _finish(response: Mapping[str, Any]) -> str:
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else response
    return str((first.get("finish_reason") or first.get("status")) if isinstance(first, Mapping) else "")
