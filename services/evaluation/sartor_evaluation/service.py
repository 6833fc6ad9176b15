"""The gRPC service: proto ↔ domain, nothing else."""
# ruff: noqa: N802 - the methods are named as in the proto

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from sartor.common.v1 import job_status_pb2
from sartor.evaluation.v1 import evaluation_pb2, evaluation_service_pb2_grpc, gate_pb2, suite_pb2
from sartor.evaluation.v1 import evaluation_service_pb2 as api
from sartor_datasets.manifests import ObjectReference
from sartor_platform import jobs, listing, orders
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.grpc_server import Servicer
from sartor_platform.idempotency import once
from sartor_platform.listing import parse_filter
from sartor_platform.runtime import Runtime
from sqlalchemy import Connection

from sartor_evaluation import reading, service_messages, standing, store, suite_messages
from sartor_evaluation.checks import check_gate, check_suite
from sartor_evaluation.names import EVALUATION, GATE, PROJECT, SUITE, project_of
from sartor_evaluation.once import RunnerClients
from sartor_evaluation.prompt_service import PromptCalls
from sartor_evaluation.specs import SuiteSpec
from sartor_evaluation.usecases import evaluations
from sartor_evaluation.usecases.inputs import inputs_of

_ONCE_SECONDS = 60.0
_FINISHED = (
    job_status_pb2.JOB_STATE_SUCCEEDED,
    job_status_pb2.JOB_STATE_FAILED,
    job_status_pb2.JOB_STATE_CANCELLED,
)


def servicers(runtime: Runtime) -> list[Servicer]:
    """What the server of evaluation serves."""
    return [
        Servicer(
            add=evaluation_service_pb2_grpc.add_EvaluationServiceServicer_to_server,
            implementation=EvaluationService(runtime),
            full_name="sartor.evaluation.v1.EvaluationService",
        )
    ]


class EvaluationService(PromptCalls, evaluation_service_pb2_grpc.EvaluationServiceServicer):
    """Answers the calls of evaluation_service.proto."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._database = runtime.database
        self._allowed = runtime.settings.allowed_urls
        self._runners = RunnerClients()

    def ApplyGate(self, request: api.ApplyGateRequest, context: Any) -> gate_pb2.Gate:
        """Makes or changes a gate."""
        wanted = request.gate
        spec = service_messages.gate_spec(wanted)
        check_gate(wanted.name, spec)
        if request.validate_only:
            return service_messages.gate_message(wanted.name, spec)

        def make() -> gate_pb2.Gate:
            order = standing.apply_gate(
                tx, wanted.name, spec, generation=request.generation, etag=wanted.order.etag
            )
            return service_messages.gate_of_order(order)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, gate_pb2.Gate)

    def GetGate(self, request: api.GetGateRequest, context: Any) -> gate_pb2.Gate:
        """Reads a gate."""
        GATE.parse(request.name)
        with self._database.read() as connection:
            return service_messages.gate_of_order(standing.get_gate(connection, request.name))

    def ListGates(self, request: api.ListGatesRequest, context: Any) -> api.ListGatesResponse:
        """Lists the gates of a project."""
        PROJECT.parse(request.parent, field="parent")
        with self._database.read() as connection:
            found, token = orders.list_orders(
                connection,
                f"{request.parent}/gates/",
                page_size=request.page_size,
                page_token=request.page_token,
            )
        shown = [service_messages.gate_of_order(order) for order in found]
        return api.ListGatesResponse(gates=shown, next_page_token=token)

    def ApplySuite(self, request: api.ApplySuiteRequest, context: Any) -> suite_pb2.Suite:
        """Makes or changes a suite."""
        wanted = request.suite
        spec = suite_messages.suite_spec(wanted)
        check_suite(wanted.name, spec)
        if request.validate_only:
            return suite_messages.suite_message(wanted.name, spec)

        inline = self._put_inline(wanted.name, spec)

        def make() -> suite_pb2.Suite:
            order = standing.apply_suite(
                tx,
                wanted.name,
                spec,
                generation=request.generation,
                etag=wanted.order.etag,
                inline_items=inline,
            )
            return suite_messages.suite_of_order(order)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, suite_pb2.Suite)

    def _put_inline(self, name: str, spec: SuiteSpec) -> ObjectReference | None:
        """The items of a suite's own specification as an object: an event can name it, but not carry them."""
        if not spec.items.inline:
            return None
        data = "".join(json.dumps(item, sort_keys=True) + "\n" for item in spec.items.inline).encode()
        key = f"{project_of(name)}/suites/{hashlib.sha256(data).hexdigest()}/items.jsonl"
        return self._runtime.objects.put_bytes(key, data)

    def GetSuite(self, request: api.GetSuiteRequest, context: Any) -> suite_pb2.Suite:
        """Reads a suite."""
        SUITE.parse(request.name)
        with self._database.read() as connection:
            return suite_messages.suite_of_order(standing.get_suite(connection, request.name))

    def ListSuites(self, request: api.ListSuitesRequest, context: Any) -> api.ListSuitesResponse:
        """Lists the suites of a project."""
        PROJECT.parse(request.parent, field="parent")
        with self._database.read() as connection:
            found, token = orders.list_orders(
                connection,
                f"{request.parent}/suites/",
                page_size=request.page_size,
                page_token=request.page_token,
            )
        shown = [suite_messages.suite_of_order(order) for order in found]
        return api.ListSuitesResponse(suites=shown, next_page_token=token)

    def CreateEvaluation(
        self, request: api.CreateEvaluationRequest, context: Any
    ) -> evaluation_pb2.Evaluation:
        """Evaluates now."""
        spec = service_messages.evaluation_spec(request.evaluation)
        deadline = service_messages.deadline_of(request.evaluation)
        if request.validate_only:
            with self._database.read() as connection:
                inputs_of(connection, request.parent, spec, self._allowed)
            return service_messages.evaluation_message("", spec)

        def make() -> evaluation_pb2.Evaluation:
            name = evaluations.create_evaluation(
                tx,
                request.parent,
                spec,
                allowed_urls=self._allowed,
                priority=request.evaluation.priority,
                deadline=deadline,
            )
            return _evaluation(tx.connection, name)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, evaluation_pb2.Evaluation)

    def GetEvaluation(self, request: api.GetEvaluationRequest, context: Any) -> evaluation_pb2.Evaluation:
        """Reads an evaluation."""
        with self._database.read() as connection:
            return _evaluation(connection, request.name)

    def ListEvaluations(
        self, request: api.ListEvaluationsRequest, context: Any
    ) -> api.ListEvaluationsResponse:
        """Lists the evaluations of a project, newest first."""
        project = PROJECT.parse(request.parent, field="parent")["project"]
        wanted = parse_filter(request.filter, ["run", "state", "gate"])
        with self._database.read() as connection:
            found, token = store.list_evaluations(
                connection, project, wanted, request.page_size, request.page_token
            )
            states = jobs.jobs_of(connection, [evaluation.name for evaluation in found])
        shown = [service_messages.stored_message(one, states.get(one.name)) for one in found]
        return api.ListEvaluationsResponse(evaluations=shown, next_page_token=token)

    def CancelEvaluation(
        self, request: api.CancelEvaluationRequest, context: Any
    ) -> evaluation_pb2.Evaluation:
        """Stops an evaluation."""
        with self._database.transaction() as tx:
            evaluations.cancel_evaluation(tx, request.name)
            return _evaluation(tx.connection, request.name)

    def WatchEvaluation(
        self, request: api.WatchEvaluationRequest, context: Any
    ) -> Iterator[evaluation_pb2.Evaluation]:
        """Streams an evaluation at every change until it ends."""
        seen, told = 0, set[tuple[str, str, str]]()

        def read() -> evaluation_pb2.Evaluation:
            nonlocal seen
            with self._database.read() as connection:
                found = _evaluation(connection, request.name)
                fresh = store.finished_after(connection, request.name, seen) if request.items else []
            for number, document in fresh:
                seen = number
                which = (document["suite"], document["candidate"], document["item_id"])
                if which not in told:  # another attempt of the job tells of all items again
                    told.add(which)
                    found.finished_items.append(service_messages.item_result_message(document))
            return found

        def ended(evaluation: evaluation_pb2.Evaluation) -> bool:
            return evaluation.job.state in _FINISHED and not evaluation.finished_items

        yield from self._runtime.watchers.stream(request.name, read, ended, context)

    def ListItemResults(
        self, request: api.ListItemResultsRequest, context: Any
    ) -> api.ListItemResultsResponse:
        """Lists the items of an evaluation that ended, the worst first."""
        EVALUATION.parse(request.parent, field="parent")
        if request.order_by not in ("", "worst", "disagreement"):
            text = f"is {request.order_by!r}; known are worst and disagreement"
            raise InvalidArgument(
                f"order_by {text}", reason="BAD_ORDER_BY", violations=[FieldViolation("order_by", text)]
            )
        slices = re.findall(r"slices\.[a-z_][a-z0-9_.]*", request.filter)
        wanted = parse_filter(request.filter, ["candidate", "suite", "item_id", *slices])
        with self._database.read() as connection:
            evaluations.get_evaluation(connection, request.parent)
            found, token = store.list_item_results(
                connection,
                request.parent,
                wanted,
                request.page_size,
                request.page_token,
                disagreement=request.order_by == "disagreement",
            )
        shown = [service_messages.item_result_message(document) for document in found]
        return api.ListItemResultsResponse(item_results=shown, next_page_token=token)

    def CompareEvaluations(
        self, request: api.CompareEvaluationsRequest, context: Any
    ) -> api.CompareEvaluationsResponse:
        """Compares candidates of two evaluations that asked the same items."""
        with self._database.read() as connection:
            lines, shared = reading.compare_evaluations(
                connection,
                request.name,
                request.baseline or request.name,
                request.candidate,
                request.baseline_candidate,
            )
        shown = [service_messages.comparison_message(line) for line in lines]
        return api.CompareEvaluationsResponse(comparisons=shown, shared_items=shared)

    def EvaluateOnce(self, request: api.EvaluateOnceRequest, context: Any) -> api.EvaluateOnceResponse:
        """Asks a model a few items and answers at once, or says within the deadline why not."""
        candidate = service_messages.candidate_of(request.candidate)
        items = tuple(map(service_messages.item_of, request.items))
        with self._database.read() as connection:
            asked = reading.ask_once(connection, request.parent, candidate, items, request.metrics)
            living = store.living_runners(connection)
        left = context.time_remaining()
        seconds = min(_ONCE_SECONDS, left) if left else _ONCE_SECONDS
        found = self._runners.ask(living, {**asked, "seconds": max(seconds - 0.02, 0.001)})
        shown = [service_messages.item_result_message(row) for row in found["rows"]]
        for one in shown if request.metrics else ():
            for name in set(one.metrics) - set(request.metrics):
                del one.metrics[name]
        return api.EvaluateOnceResponse(
            item_results=shown, model_seconds=found["seconds"], loaded=found["loaded"]
        )

    def ListLeaderboard(
        self, request: api.ListLeaderboardRequest, context: Any
    ) -> api.ListLeaderboardResponse:
        """Lists a project's model versions by a metric, the best first."""
        PROJECT.parse(request.parent, field="parent")
        size = min(max(request.page_size, 0), listing.MAXIMUM_PAGE_SIZE) or listing.DEFAULT_PAGE_SIZE
        start = int(request.page_token) if request.page_token.isdecimal() else 0
        if request.page_token and not start:
            raise InvalidArgument("page_token is not one that was given here", reason="BAD_PAGE_TOKEN")
        with self._database.read() as connection:
            found = reading.leaderboard(connection, request.parent, request.metric, request.suite)
        shown = [service_messages.leaderboard_entry(*one) for one in found[start : start + size]]
        following = str(start + size) if start + size < len(found) else ""
        return api.ListLeaderboardResponse(entries=shown, next_page_token=following)


def _evaluation(connection: Connection, name: str) -> evaluation_pb2.Evaluation:
    found = evaluations.get_evaluation(connection, name)
    return service_messages.stored_message(found, jobs.job_of(connection, name))
