"""The gRPC service: proto ↔ domain, nothing else."""
# ruff: noqa: N802 - the methods are named as in the proto

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sartor.common.v1 import object_reference_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor.deployment.v1 import deployment_service_pb2_grpc, endpoint_pb2
from sartor_platform import idempotency, jobs, listing, orders
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.runtime import Runtime
from sqlalchemy import Connection

from sartor_deployment import store
from sartor_deployment.announcements import parity_result
from sartor_deployment.resources import (
    ENDPOINT,
    PROJECT,
    REVISION,
    EndpointSpec,
    EngineSettings,
    ParityBounds,
    Revision,
    State,
    check_spec,
)
from sartor_deployment.usecases import endpoints, revisions

_QUANTIZATION = {
    endpoint_pb2.QUANTIZATION_UNSPECIFIED: "Q8_0",
    endpoint_pb2.QUANTIZATION_Q8_0: "Q8_0",
    endpoint_pb2.QUANTIZATION_F16: "F16",
}
_SETTLED = (
    endpoint_pb2.REVISION_STATE_LIVE,
    endpoint_pb2.REVISION_STATE_REJECTED,
    endpoint_pb2.REVISION_STATE_SUPERSEDED,
    endpoint_pb2.REVISION_STATE_ROLLED_BACK,
)


class DeploymentService(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Answers the calls of deployment_service.proto."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def ApplyEndpoint(self, request: api.ApplyEndpointRequest, context: Any) -> endpoint_pb2.Endpoint:
        """Makes or changes an endpoint."""
        given = request.endpoint
        spec = _spec(given)
        if request.validate_only:
            check_spec(given.name, spec)
            return given
        with self._runtime.database.transaction() as tx:

            def make() -> endpoint_pb2.Endpoint:
                endpoints.apply_endpoint(tx, given.name, spec, request.generation, given.order.etag)
                return self._endpoint(tx.connection, given.name)

            return idempotency.once(tx, request.request_id, request, make, endpoint_pb2.Endpoint)

    def GetEndpoint(self, request: api.GetEndpointRequest, context: Any) -> endpoint_pb2.Endpoint:
        """Reads an endpoint."""
        ENDPOINT.parse(request.name)
        with self._runtime.database.read() as connection:
            return self._endpoint(connection, request.name)

    def ListEndpoints(self, request: api.ListEndpointsRequest, context: Any) -> api.ListEndpointsResponse:
        """Lists the endpoints of a project."""
        PROJECT.parse(request.parent, field="parent")
        with self._runtime.database.read() as connection:
            found, token = orders.list_orders(
                connection,
                f"{request.parent}/endpoints/",
                page_size=request.page_size,
                page_token=request.page_token,
            )
            shown = [self._endpoint(connection, order.name, order) for order in found]
        return api.ListEndpointsResponse(endpoints=shown, next_page_token=token)

    def WatchEndpoint(
        self, request: api.WatchEndpointRequest, context: Any
    ) -> Iterator[endpoint_pb2.Endpoint]:
        """Streams an endpoint at every change."""
        get = api.GetEndpointRequest(name=request.name)
        yield from self._runtime.watchers.stream(
            request.name, lambda: self.GetEndpoint(get, context), lambda _endpoint: False, context
        )

    def RollbackEndpoint(self, request: api.RollbackEndpointRequest, context: Any) -> endpoint_pb2.Endpoint:
        """Puts the revision before the live one back."""
        with self._runtime.database.transaction() as tx:

            def make() -> endpoint_pb2.Endpoint:
                endpoints.rollback_endpoint(tx, request.name)
                return self._endpoint(tx.connection, request.name)

            return idempotency.once(tx, request.request_id, request, make, endpoint_pb2.Endpoint)

    def CreateRevision(self, request: api.CreateRevisionRequest, context: Any) -> endpoint_pb2.Revision:
        """Deploys a model version by hand."""
        with self._runtime.database.transaction() as tx:

            def make() -> endpoint_pb2.Revision:
                name = revisions.create_revision(tx, request.parent, request.model_version)
                return _revisions(tx.connection, [store.revision(tx.connection, name)])[0]

            return idempotency.once(tx, request.request_id, request, make, endpoint_pb2.Revision)

    def GetRevision(self, request: api.GetRevisionRequest, context: Any) -> endpoint_pb2.Revision:
        """Reads a revision."""
        REVISION.parse(request.name)
        with self._runtime.database.read() as connection:
            return _revisions(connection, [store.revision(connection, request.name)])[0]

    def ListRevisions(self, request: api.ListRevisionsRequest, context: Any) -> api.ListRevisionsResponse:
        """Lists the revisions of an endpoint, or of a project's endpoints, newest first."""
        where = _list_filter(request)
        with self._runtime.database.read() as connection:
            found, token = store.list_revisions(
                connection, where, page_size=request.page_size, page_token=request.page_token
            )
            shown = _revisions(connection, found)
        return api.ListRevisionsResponse(revisions=shown, next_page_token=token)

    def WatchRevision(
        self, request: api.WatchRevisionRequest, context: Any
    ) -> Iterator[endpoint_pb2.Revision]:
        """Streams a revision at every change until it is settled."""
        get = api.GetRevisionRequest(name=request.name)
        yield from self._runtime.watchers.stream(
            request.name,
            lambda: self.GetRevision(get, context),
            lambda revision: revision.state in _SETTLED,
            context,
        )

    def _endpoint(
        self, connection: Connection, name: str, order: orders.Order | None = None
    ) -> endpoint_pb2.Endpoint:
        now = store.endpoint(connection, name)
        order = order or orders.get(connection, name)
        spec = EndpointSpec.from_json(order.spec)
        return endpoint_pb2.Endpoint(
            name=name,
            model=spec.model,
            quantization=endpoint_pb2.Quantization.Value(f"QUANTIZATION_{spec.quantization}"),
            parity=endpoint_pb2.ParityBounds(
                loss_margin=spec.parity.loss_margin, top1_agreement=spec.parity.top1_agreement
            ),
            engine=endpoint_pb2.EngineSettings(
                context_length=spec.engine.context_length,
                slots=spec.engine.slots,
                threads=spec.engine.threads,
            ),
            live_revision=now.live_revision,
            previous_revision=now.previous_revision,
            url=self._runtime.settings.gateway_url,
            order=orders.order_revision(order),
        )


def _spec(given: endpoint_pb2.Endpoint) -> EndpointSpec:
    parity, engine = ParityBounds(), EngineSettings()
    return EndpointSpec(
        model=given.model,
        quantization=_QUANTIZATION.get(given.quantization, ""),
        parity=ParityBounds(
            given.parity.loss_margin or parity.loss_margin,
            given.parity.top1_agreement or parity.top1_agreement,
        ),
        engine=EngineSettings(
            given.engine.context_length or engine.context_length,
            given.engine.slots or engine.slots,
            given.engine.threads,
        ),
    )


def _list_filter(request: api.ListRevisionsRequest) -> dict[str, str]:
    where = listing.parse_filter(request.filter, ("run", "state"))
    if "state" in where:
        where["state"] = where["state"].removeprefix("REVISION_STATE_")
        if where["state"] not in set(State):
            raise InvalidArgument(
                f"{where['state']} is no state of a revision; they are {', '.join(State)}",
                reason="BAD_FILTER",
                violations=[FieldViolation("filter", "names no state")],
            )
    project, _, rest = request.parent.partition("/endpoints/")
    if rest == "-":
        where["project"] = PROJECT.parse(project, field="parent")["project"]
    else:
        ENDPOINT.parse(request.parent, field="parent")
        where["endpoint"] = request.parent
    return where


def _revisions(connection: Connection, found: list[Revision]) -> list[endpoint_pb2.Revision]:
    names = [revision.name for revision in found]
    latest = jobs.jobs_of(connection, names)
    ready = [engine.revision for engine in store.ready_engines(connection, names)]
    return [_revision(revision, latest.get(revision.name), ready.count(revision.name)) for revision in found]


def _revision(revision: Revision, job: jobs.Job | None, replicas: int) -> endpoint_pb2.Revision:
    shown = endpoint_pb2.Revision(
        name=revision.name,
        model_version=revision.model_version,
        state=endpoint_pb2.RevisionState.Value(f"REVISION_STATE_{revision.state}"),
        job=jobs.job_status(job),
        parity=parity_result(revision.parity),
        ready_replicas=replicas,
        run=revision.run,
        generation=revision.generation,
        created_by=revision.created_by,
    )
    if revision.weights is not None:
        weights = revision.weights
        shown.weights.CopyFrom(
            object_reference_pb2.ObjectReference(
                uri=weights.uri, sha256=weights.sha256, size_bytes=weights.size_bytes
            )
        )
    if revision.error_reason:
        shown.error.reason = revision.error_reason
        shown.error.message = revision.error_message
    shown.create_time.FromDatetime(revision.create_time)
    if revision.live_time is not None:
        shown.live_time.FromDatetime(revision.live_time)
    return shown
