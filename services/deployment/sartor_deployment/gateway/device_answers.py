"""Answers that a device gave by itself, known by the feedback that it buffered and sends later."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sartor_platform.errors import NotFound
from sartor_platform.transaction import Transaction

from sartor_deployment import store
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.sample import MOST_CHARACTERS, is_storable
from sartor_deployment.resources import REVISION
from sartor_deployment.store import KnownRequest, RequestRow

_MOST_MESSAGES = 100
_KNOWN = {"revision", "messages", "answer"}


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """The revision that a device serves; question and answer where its bundle lets them go along."""

    revision: str
    messages: Sequence[dict[str, str]] = ()
    answer: str = ""


def parse_device_answer(value: Any) -> DeviceAnswer:
    """From `device` in the body of POST /v1/feedback: {"revision", "messages", "answer"}.

    Raises:
        ApiError: 400, with what is wrong.
    """
    if not isinstance(value, dict) or not isinstance(value.get("revision"), str):
        raise _bad("'device' is an object with the 'revision' that the device serves", "device.revision")
    unknown = sorted(set(value) - _KNOWN)
    if unknown:
        raise _bad(f"'device.{unknown[0]}' is not known; there are {', '.join(sorted(_KNOWN))}", "device")
    messages = value.get("messages") or []
    if not isinstance(messages, list) or len(messages) > _MOST_MESSAGES:
        raise _bad(f"'device.messages' is a list of at most {_MOST_MESSAGES} messages", "device.messages")
    told = [_message(each, f"device.messages[{number}]") for number, each in enumerate(messages)]
    answer = value.get("answer")
    return DeviceAnswer(value["revision"], told, "" if answer is None else _text(answer, "device.answer"))


def keep_device_answer(tx: Transaction, request: str, given: DeviceAnswer, project: str) -> KnownRequest:
    """Write down that a device gave this answer; the same again changes nothing.

    Its text is kept where the endpoint samples at all.

    Args:
        request: the answer's id on the device. llama.cpp draws them at random, so two devices' never meet.
        given: masked.
        project: "projects/{project}" of the caller's key, or "" where everybody may ask.
    Raises:
        ApiError: 404: there is no such revision, for this caller.
    """
    name, endpoint = given.revision, _endpoint(tx, given.revision, project)
    told = bool(given.messages) and bool(store.sample_shares(tx.connection).get(endpoint))
    row = RequestRow(
        id=f"device-{hashlib.sha256(f'{name} {request}'.encode()).hexdigest()[:32]}",
        answer_id=request,
        endpoint=endpoint,
        revision=name,
        api_key="",  # no quota counts what a device answered
        status=200,
        failed=False,
        first_byte_ms=0.0,
        total_ms=0.0,
        prompt_tokens=0,
        completion_tokens=0,
        question=json.dumps(list(given.messages)) if told else None,
        answer=given.answer if told else None,
        on_device=True,
    )
    store.put_device_answer(tx, row)
    return KnownRequest(row.id, endpoint, name, on_device=True)


def _endpoint(tx: Transaction, name: str, project: str) -> str:
    with contextlib.suppress(NotFound):
        if REVISION.matches(name) and (not project or name.startswith(f"{project}/")):
            return store.revision(tx.connection, name).endpoint
    raise ApiError(
        404,
        f"there is no revision {name!r} that this key reaches; a device tells the one in its bundle's"
        " feedback.json: bundle it anew with `sartor deploy bundle`",
        "revision_not_found",
        "device.revision",
    )


def _message(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or set(value) != {"role", "content"}:
        raise _bad(f"'{where}' has a 'role' and a 'content', nothing else", where)
    return {name: _text(value[name], f"{where}.{name}") for name in ("role", "content")}


def _text(value: Any, where: str) -> str:
    if not is_storable(value):
        text = f"'{where}' must be text of at most {MOST_CHARACTERS} characters, without NUL or broken ones"
        raise _bad(text, where)
    return value


def _bad(text: str, where: str) -> ApiError:
    return ApiError(400, text, "invalid_type", where)
