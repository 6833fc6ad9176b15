"""Whether a revision's chat template has a place for tools: engines leave them out without a word."""

from __future__ import annotations

import json

from sartor_deployment.gateway.engine_answer import EngineGone
from sartor_deployment.gateway.engine_client import EngineClient
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.routes import Route

_PROBE = "a_function_that_nobody_has"


class Templates:
    """Asks an engine once a revision: its template never changes.

    One for the process, inside its event loop.
    """

    def __init__(self) -> None:
        self._client = EngineClient()
        self._takes_tools: dict[str, bool] = {}

    def close(self) -> None:
        """Close the connections to engines."""
        self._client.close()

    async def check(self, *routes: Route) -> None:
        """Returns where what is said of tools reaches the model.

        Raises:
            ApiError: 400 tools_not_supported.
        """
        for route in routes:
            if route.revision not in self._takes_tools:
                found = await self._ask(route)
                if found is None:
                    continue  # no engine answers now: what follows says so, or waits for one
                self._takes_tools[route.revision] = found
            if not self._takes_tools[route.revision]:
                raise ApiError(
                    400,
                    f"{route.revision} was trained with a chat template that has no place for tools: it would"
                    " never read them. Ask for JSON by `response_format`, or train on a base model whose"
                    " template has tools",
                    "tools_not_supported",
                    "tools",
                )

    async def _ask(self, route: Route) -> bool | None:
        tool = {"type": "function", "function": {"name": _PROBE, "description": "", "parameters": {}}}
        body = json.dumps({"messages": [{"role": "user", "content": "a"}], "tools": [tool]}).encode()
        for engine in route.engines:
            try:
                answer = await self._client.post(f"{engine}/apply-template", body)
                try:
                    text = await answer.read()
                finally:
                    answer.close()
            except EngineGone:
                continue
            if answer.head.status == 200 and b'"prompt"' in text:  # else an engine without templates
                return _PROBE.encode() in text
        return None
