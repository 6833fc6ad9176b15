"""The calls of the gRPC service that are about drift and the loop."""
# ruff: noqa: N802 - the methods are named as in the proto

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor.deployment.v1 import loop_pb2
from sartor_platform import idempotency, orders
from sartor_platform.runtime import Runtime
from sqlalchemy import Connection

from sartor_deployment import store
from sartor_deployment.loop_messages import adaptation_message, drift_window_message, loop_status
from sartor_deployment.resources import ENDPOINT, EndpointSpec
from sartor_deployment.usecases import loop


class LoopCalls:
    """A part of DeploymentService."""

    _runtime: Runtime

    def ListDriftWindows(
        self, request: api.ListDriftWindowsRequest, context: Any
    ) -> api.ListDriftWindowsResponse:
        """Lists the windows that were compared for drift, newest first."""
        ENDPOINT.parse(request.parent, field="parent")
        with self._runtime.database.read() as connection:
            store.endpoint(connection, request.parent)
            found, token = store.list_drift_windows(
                connection, request.parent, page_size=request.page_size, page_token=request.page_token
            )
        windows = [drift_window_message(each) for each in found]
        return api.ListDriftWindowsResponse(drift_windows=windows, next_page_token=token)

    def GetLoop(self, request: api.GetLoopRequest, context: Any) -> loop_pb2.LoopStatus:
        """Shows how an endpoint's loop stands."""
        ENDPOINT.parse(request.name)
        with self._runtime.database.read() as connection:
            return _status(connection, request.name)

    def PauseLoop(self, request: api.PauseLoopRequest, context: Any) -> loop_pb2.LoopStatus:
        """Pulls the brake."""
        with self._runtime.database.transaction() as tx:

            def make() -> loop_pb2.LoopStatus:
                loop.pause(tx, request.name, request.message)
                return _status(tx.connection, request.name)

            return idempotency.once(tx, request.request_id, request, make, loop_pb2.LoopStatus)

    def ResumeLoop(self, request: api.ResumeLoopRequest, context: Any) -> loop_pb2.LoopStatus:
        """Lets the loop go on."""
        with self._runtime.database.transaction() as tx:

            def make() -> loop_pb2.LoopStatus:
                loop.resume(tx, request.name)
                return _status(tx.connection, request.name)

            return idempotency.once(tx, request.request_id, request, make, loop_pb2.LoopStatus)

    def StartAdaptation(self, request: api.StartAdaptationRequest, context: Any) -> loop_pb2.Adaptation:
        """Begins an adaptation by hand."""
        with self._runtime.database.transaction() as tx:

            def make() -> loop_pb2.Adaptation:
                return adaptation_message(loop.start_by_hand(tx, request.name))

            return idempotency.once(tx, request.request_id, request, make, loop_pb2.Adaptation)

    def ListAdaptations(
        self, request: api.ListAdaptationsRequest, context: Any
    ) -> api.ListAdaptationsResponse:
        """Lists an endpoint's adaptations, newest first."""
        ENDPOINT.parse(request.parent, field="parent")
        with self._runtime.database.read() as connection:
            store.endpoint(connection, request.parent)
            found, token = store.list_adaptations(
                connection, request.parent, page_size=request.page_size, page_token=request.page_token
            )
        shown = [adaptation_message(each) for each in found]
        return api.ListAdaptationsResponse(adaptations=shown, next_page_token=token)


def _status(connection: Connection, endpoint: str) -> loop_pb2.LoopStatus:
    store.endpoint(connection, endpoint)
    spec = EndpointSpec.from_json(orders.get(connection, endpoint).spec).loop
    return loop_status(connection, endpoint, spec, datetime.now(UTC))
