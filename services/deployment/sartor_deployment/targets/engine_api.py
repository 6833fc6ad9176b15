"""The engine's own HTTP API (llama.cpp server) for the parity and health checks. Standard library only."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit


class EngineRefused(Exception):
    """The engine answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the engine answered {status}: {message[:400]}")
        self.status = status


class EngineApi:
    """Calls one engine. Threads may share it: each has a connection of its own, kept open between calls."""

    def __init__(self, url: str, *, timeout_seconds: float = 60.0) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._timeout = timeout_seconds
        self._local = threading.local()

    def complete(
        self, prompt: Sequence[int], *, tokens: int = 1, probabilities: int = 0, **options: Any
    ) -> dict[str, Any]:
        """Greedy completion of a prompt of token ids."""
        body = {
            "prompt": list(prompt),
            "n_predict": tokens,
            "n_probs": probabilities,
            "temperature": 0.0,
            "cache_prompt": True,
            "return_tokens": True,
            **options,
        }
        return self._post("/completion", body)

    def chat(self, messages: Sequence[Mapping[str, str]], *, tokens: int) -> str:
        """The greedy answer to a chat, as users get it."""
        body = {"messages": list(messages), "max_tokens": tokens, "temperature": 0.0}
        return str(self._post("/v1/chat/completions", body)["choices"][0]["message"]["content"] or "")

    def answers(self) -> None:
        """A real request: one token. Returns if it was answered, else raises."""
        self._post("/completion", {"prompt": "a", "n_predict": 1})

    def classify(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """What a version with an output layer says of each text."""
        return list(self._post("/v1/classifications", {"input": list(texts)})["data"])

    def busy_slots(self) -> int:
        """How many requests it works on now."""
        slots = self._call("GET", "/slots", None)
        return sum(bool(slot.get("is_processing")) for slot in slots)

    def alive(self) -> None:
        """Returns if its HTTP server answers, else raises."""
        self._call("GET", "/health", None)

    def prompt_text(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The engine's chat template applied, with the generation prompt."""
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def tokenize(self, text: str) -> list[int]:
        """Token ids as the engine makes them of a chat prompt."""
        body = {"content": text, "add_special": True, "parse_special": True}
        return [int(token) for token in self._post("/tokenize", body)["tokens"]]

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        value = self._call("POST", path, json.dumps(body).encode())
        if not isinstance(value, dict):
            raise EngineRefused(200, "not a JSON object")
        return value

    def _call(self, method: str, path: str, data: bytes | None) -> Any:
        for last_try in (False, True):
            connection = getattr(self._local, "connection", None)
            fresh = connection is None
            if connection is None:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
                self._local.connection = connection
            try:
                connection.request(method, path, data, {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = response.read()
                break
            except (http.client.HTTPException, OSError):
                connection.close()
                self._local.connection = None
                if fresh or last_try:  # a kept connection may have been closed by the engine meanwhile
                    raise
        if response.status != 200:
            raise EngineRefused(response.status, answer.decode("utf-8", "replace"))
        return json.loads(answer)
