"""The calls about prompts: proto ↔ domain, nothing else."""
# ruff: noqa: N802 - the methods are named as in the proto

from __future__ import annotations

from typing import Any

from sartor.evaluation.v1 import evaluation_service_pb2 as api
from sartor.evaluation.v1 import prompt_pb2
from sartor_platform import orders
from sartor_platform.database import Database
from sartor_platform.idempotency import once

from sartor_evaluation import prompt_messages, standing
from sartor_evaluation.names import PROJECT, PROMPT
from sartor_evaluation.prompt_checks import check_prompt


class PromptCalls:
    """ApplyPrompt, GetPrompt and ListPrompts."""

    _database: Database

    def ApplyPrompt(self, request: api.ApplyPromptRequest, context: Any) -> prompt_pb2.Prompt:
        """Makes or changes a prompt."""
        wanted = request.prompt
        spec = prompt_messages.prompt_spec(wanted)
        check_prompt(wanted.name, spec)
        if request.validate_only:
            return prompt_messages.prompt_message(wanted.name, spec)

        def make() -> prompt_pb2.Prompt:
            order = standing.apply_prompt(
                tx, wanted.name, spec, generation=request.generation, etag=wanted.order.etag
            )
            return prompt_messages.prompt_of_order(order)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, prompt_pb2.Prompt)

    def GetPrompt(self, request: api.GetPromptRequest, context: Any) -> prompt_pb2.Prompt:
        """Reads a prompt."""
        PROMPT.parse(request.name)
        with self._database.read() as connection:
            return prompt_messages.prompt_of_order(standing.get_prompt(connection, request.name))

    def ListPrompts(self, request: api.ListPromptsRequest, context: Any) -> api.ListPromptsResponse:
        """Lists the prompts of a project."""
        PROJECT.parse(request.parent, field="parent")
        with self._database.read() as connection:
            found, token = orders.list_orders(
                connection,
                f"{request.parent}/prompts/",
                page_size=request.page_size,
                page_token=request.page_token,
            )
        shown = [prompt_messages.prompt_of_order(order) for order in found]
        return api.ListPromptsResponse(prompts=shown, next_page_token=token)
