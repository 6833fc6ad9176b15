"""A small Python client: the stubs of the five services, pages walked to their end, errors as SartorErrors.

from sartor_cli.client import Sartor
with Sartor.local() as sartor:
    request = ListEvaluationsRequest(parent="projects/support-desk")
    for evaluation in sartor.all(sartor.evaluation.ListEvaluations, request):
        print(evaluation.name)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from sartor.curation.v1.curation_service_pb2_grpc import CurationServiceStub
from sartor.deployment.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from sartor.evaluation.v1.evaluation_service_pb2_grpc import EvaluationServiceStub
from sartor.ingestion.v1.ingestion_service_pb2_grpc import IngestionServiceStub
from sartor.platform.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from sartor.training.v1.training_service_pb2_grpc import TrainingServiceStub
from sartor_local import control
from sartor_local.state import StackState
from sartor_platform.grpc_client import call_errors, channel

from sartor_cli.faults import CommandFailed

A = TypeVar("A", bound=Message)
PAGE = 200


class Sartor:
    """Reaches the services at `targets` (service name → gRPC target)."""

    def __init__(self, targets: Mapping[str, str], stack: StackState | None = None) -> None:
        self._targets = targets
        self._channels: dict[str, grpc.Channel] = {}
        self.stack = stack

    @classmethod
    def local(cls, data_dir: Path = Path(".sartor")) -> Sartor:
        """The client of the stack that runs in this folder.

        Raises:
            CommandFailed: none runs.
        """
        stack = control.status(data_dir)
        if stack is None:
            raise CommandFailed(
                f"No stack is running in {data_dir}.",
                "Start one with `sartor up`, or name another folder with --data-dir.",
                3,
            )
        return cls(stack.targets, stack)

    def has(self, service: str) -> bool:
        """Whether a service is part of this stack."""
        return service in self._targets

    def _channel(self, service: str) -> grpc.Channel:
        if service not in self._targets:
            raise CommandFailed(f"The {service} service is not part of this stack.", "See `sartor status`.")
        if service not in self._channels:
            self._channels[service] = channel(self._targets[service])
        return self._channels[service]

    @cached_property
    def ingestion(self) -> IngestionServiceStub:
        return IngestionServiceStub(self._channel("ingestion"))

    @cached_property
    def curation(self) -> CurationServiceStub:
        return CurationServiceStub(self._channel("curation"))

    @cached_property
    def training(self) -> TrainingServiceStub:
        return TrainingServiceStub(self._channel("training"))

    @cached_property
    def evaluation(self) -> EvaluationServiceStub:
        return EvaluationServiceStub(self._channel("evaluation"))

    @cached_property
    def deployment(self) -> DeploymentServiceStub:
        return DeploymentServiceStub(self._channel("deployment"))

    @property
    def services(self) -> list[str]:
        """The services that can be reached."""
        return list(self._targets)

    def dead_letters(self, service: str) -> DeadLetterServiceStub:
        """The dead letters of a service: each serves its own."""
        return DeadLetterServiceStub(self._channel(service))

    def ask(self, call: Callable[[Any], A], request: Message) -> A:
        """One call; its failure as the SartorError the service meant."""
        with call_errors():
            return call(request)

    def send(self, call: Callable[[Any], A], requests: Iterator[Message]) -> A:
        """One call with a stream of requests."""
        with call_errors():
            return call(requests)

    def all(self, call: Callable[[Any], Any], request: Any, limit: int | None = None) -> Iterator[Any]:
        """Every item of a List call, page by page, at most `limit`."""
        field = ""
        left = limit
        request.page_size = PAGE if left is None else min(PAGE, left)
        while True:
            answer = self.ask(call, request)
            field = field or next(
                each.name for each in answer.DESCRIPTOR.fields if each.name != "next_page_token"
            )
            for item in getattr(answer, field):
                if left is not None and left <= 0:
                    return
                yield item
                left = None if left is None else left - 1
            if not answer.next_page_token or left == 0:
                return
            request.page_token = answer.next_page_token

    def watch(self, call: Callable[[Any], Any], request: Message) -> Iterator[Any]:
        """The messages of a Watch call until it ends."""
        with call_errors():
            stream = call(request)
            try:
                yield from stream
            finally:
                with suppress(AttributeError):
                    stream.cancel()

    def close(self) -> None:
        for each in self._channels.values():
            each.close()

    def __enter__(self) -> Sartor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
