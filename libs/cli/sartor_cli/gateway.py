"""The OpenAI-compatible API of the gateway, asked over plain HTTP: models, and chats as they stream."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sartor_cli.faults import CommandFailed

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a chat."""

    role: str
    content: str


class Gateway:
    """The API below a base URL that ends in /v1."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if not parts.hostname:
            raise CommandFailed("The gateway's address is not known.", "Is the stack running? sartor status")
        self._host, self._port, self._path = parts.hostname, parts.port or 80, parts.path.rstrip("/")
        self.base_url = base_url

    def models(self) -> list[str]:
        """The ids that may be given as `model`."""
        answer = self._open("GET", "/models")
        return [str(each["id"]) for each in json.loads(answer.read())["data"]]

    def stream(self, model: str, messages: Sequence[Said], max_tokens: int = 256) -> Iterator[str]:
        """The answer, piece by piece, greedily decoded."""
        body = {
            "model": model,
            "messages": [{"role": each.role, "content": each.content} for each in messages],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
        }
        answer = self._open("POST", "/chat/completions", body)
        for line in answer:
            text = line.decode().strip()
            if not text.startswith("data:"):
                continue
            data = text.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            chunk: dict[str, Any] = json.loads(data)
            if "error" in chunk:
                raise CommandFailed(
                    f"The engine failed: {_message(chunk)}", "See `sartor logs deployment-agent`."
                )
            for choice in chunk.get("choices", ()):
                yield choice.get("delta", {}).get("content") or ""

    def ask(self, model: str, messages: Sequence[Said], max_tokens: int = 256) -> str:
        """The whole answer."""
        return "".join(self.stream(model, messages, max_tokens)).strip()

    def _open(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key := os.environ.get("SARTOR_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        try:
            connection.request(
                method, self._path + path, json.dumps(body) if body is not None else None, headers
            )
            answer = connection.getresponse()
        except OSError as error:
            raise CommandFailed(
                f"The gateway at {self.base_url} does not answer: {error}.", "See `sartor status`."
            ) from None
        if answer.status != 200:
            raise CommandFailed(
                f"The gateway refused: {_message(_json(answer.read()))}", "See `sartor get endpoints`."
            )
        return answer


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {"error": {"message": data.decode(errors="replace")[:300]}}
    return found if isinstance(found, dict) else {}


def _message(answer: dict[str, Any]) -> str:
    error = answer.get("error", answer)
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)
