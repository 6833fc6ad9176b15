"""The gRPC service: proto ↔ domain, nothing else."""
# ruff: noqa: N802 - the methods are named as in the proto

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sartor.deployment.v1 import api_key_pb2, deployment_service_pb2_grpc, endpoint_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor_platform import idempotency, jobs, listing, orders
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.names import check_id
from sartor_platform.runtime import Runtime
from sqlalchemy import Connection

from sartor_deployment import store
from sartor_deployment.advice.price_table import currency
from sartor_deployment.advice.recommend import STATEMENT
from sartor_deployment.advice_messages import measured, option_message, requirements
from sartor_deployment.announcements import decision_message
from sartor_deployment.api_keys import API_KEY
from sartor_deployment.loop_service import LoopCalls
from sartor_deployment.messages import (
    api_key_message,
    endpoint_message,
    endpoint_spec,
    revision_message,
    traffic_message,
)
from sartor_deployment.resources import (
    ENDPOINT,
    PROJECT,
    REVISION,
    EndpointSpec,
    Revision,
    State,
    check_spec,
)
from sartor_deployment.targets.kubernetes_model import KubernetesTarget
from sartor_deployment.usecases import advice, endpoints, keys, render, revisions, rollout

_SETTLED = (
    endpoint_pb2.REVISION_STATE_LIVE,
    endpoint_pb2.REVISION_STATE_REJECTED,
    endpoint_pb2.REVISION_STATE_SUPERSEDED,
    endpoint_pb2.REVISION_STATE_ROLLED_BACK,
)


class DeploymentService(LoopCalls, deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Answers the calls of deployment_service.proto."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def ApplyEndpoint(self, request: api.ApplyEndpointRequest, context: Any) -> endpoint_pb2.Endpoint:
        """Makes or changes an endpoint."""
        given = request.endpoint
        spec = endpoint_spec(given)
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
        """Lists the endpoints of a project, or of all ("projects/-")."""
        everywhere = request.parent == "projects/-"
        if not everywhere:
            PROJECT.parse(request.parent, field="parent")
        with self._runtime.database.read() as connection:
            found, token = orders.list_orders(
                connection,
                "projects/" if everywhere else f"{request.parent}/endpoints/",
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

    def ApproveRevision(self, request: api.ApproveRevisionRequest, context: Any) -> endpoint_pb2.Revision:
        """Lets a revision that waits for a person go on."""
        with self._runtime.database.transaction() as tx:

            def make() -> endpoint_pb2.Revision:
                rollout.approve(tx, request.name)
                return _revisions(tx.connection, [store.revision(tx.connection, request.name)])[0]

            return idempotency.once(tx, request.request_id, request, make, endpoint_pb2.Revision)

    def RejectRevision(self, request: api.RejectRevisionRequest, context: Any) -> endpoint_pb2.Revision:
        """Stops a revision that is not live yet."""
        with self._runtime.database.transaction() as tx:

            def make() -> endpoint_pb2.Revision:
                rollout.reject_by_hand(tx, request.name, request.message)
                return _revisions(tx.connection, [store.revision(tx.connection, request.name)])[0]

            return idempotency.once(tx, request.request_id, request, make, endpoint_pb2.Revision)

    def ListDecisions(self, request: api.ListDecisionsRequest, context: Any) -> api.ListDecisionsResponse:
        """Lists the decisions of an endpoint's rollouts, newest first."""
        ENDPOINT.parse(request.parent, field="parent")
        with self._runtime.database.read() as connection:
            store.endpoint(connection, request.parent)
            found, token = store.list_decisions(
                connection, request.parent, page_size=request.page_size, page_token=request.page_token
            )
        return api.ListDecisionsResponse(
            decisions=[decision_message(each) for each in found], next_page_token=token
        )

    def SummarizeTraffic(
        self, request: api.SummarizeTrafficRequest, context: Any
    ) -> api.SummarizeTrafficResponse:
        """Sums up what gateways saw of an endpoint."""
        ENDPOINT.parse(request.name)
        seconds = request.window.ToTimedelta() if request.HasField("window") else timedelta(hours=1)
        now = datetime.now(UTC)
        with self._runtime.database.read() as connection:
            store.endpoint(connection, request.name)
            seen = store.traffic(
                connection, now - seconds, now + timedelta(days=1), endpoint=request.name, devices=True
            )
        return api.SummarizeTrafficResponse(revisions=[traffic_message(seen[name]) for name in sorted(seen)])

    def CreateApiKey(self, request: api.CreateApiKeyRequest, context: Any) -> api_key_pb2.ApiKey:
        """Makes a key; its secret is in the first answer and nowhere else."""
        expire = request.api_key.expire_time
        secrets: list[str] = []
        with self._runtime.database.transaction() as tx:

            def make() -> api_key_pb2.ApiKey:
                key, secret = keys.create_api_key(
                    tx,
                    request.parent,
                    request.api_key_id,
                    tokens_per_minute=request.api_key.tokens_per_minute,
                    requests_per_minute=request.api_key.requests_per_minute,
                    expire_time=expire.ToDatetime(UTC) if request.api_key.HasField("expire_time") else None,
                )
                secrets.append(secret)
                return api_key_message(key)

            # What is kept for a repeat is the key without its secret.
            answer = idempotency.once(tx, request.request_id, request, make, api_key_pb2.ApiKey)
        shown = api_key_pb2.ApiKey()
        shown.CopyFrom(answer)
        shown.secret = "".join(secrets)
        return shown

    def ListApiKeys(self, request: api.ListApiKeysRequest, context: Any) -> api.ListApiKeysResponse:
        """Lists the keys of a project."""
        project = PROJECT.parse(request.parent, field="parent")["project"]
        with self._runtime.database.read() as connection:
            found, token = store.list_api_keys(
                connection, project, page_size=request.page_size, page_token=request.page_token
            )
        return api.ListApiKeysResponse(
            api_keys=[api_key_message(each) for each in found], next_page_token=token
        )

    def RevokeApiKey(self, request: api.RevokeApiKeyRequest, context: Any) -> api_key_pb2.ApiKey:
        """Ends a key."""
        API_KEY.parse(request.name)
        with self._runtime.database.transaction() as tx:
            return api_key_message(store.revoke_api_key(tx, request.name, tx.now))

    def RecommendTarget(
        self, request: api.RecommendTargetRequest, context: Any
    ) -> api.RecommendTargetResponse:
        """Ranks places to deploy to."""
        required = requirements(request.requirements)
        options, impossible, basis = advice.advise(
            self._runtime, request.endpoint, required, request.price_table_json, measured(request.measured)
        )
        return api.RecommendTargetResponse(
            options=[option_message(each) for each in options],
            impossible=impossible,
            model_statement=STATEMENT,
            currency=currency(request.price_table_json),
            basis=basis,
        )

    def RenderTarget(self, request: api.RenderTargetRequest, context: Any) -> api.RenderTargetResponse:
        """Writes the live revision out for another place."""
        default = KubernetesTarget()
        target = KubernetesTarget(
            namespace=check_id(request.namespace or default.namespace, field="namespace"),
            gpus=request.gpus or default.gpus,
            min_replicas=request.min_replicas or default.min_replicas,
            max_replicas=request.max_replicas or default.max_replicas,
            s3_endpoint=request.s3_endpoint,
        )
        kserve = request.form == api.KUBERNETES_FORM_KSERVE
        files = render.render_kubernetes(self._runtime, request.name, target, kserve=kserve)
        applied = render.apply_kubernetes(self._runtime, files, target.namespace) if request.apply else []
        return api.RenderTargetResponse(
            files=[api.RenderedFile(name=name, content=text) for name, text in files.items()],
            applied=applied,
        )

    def _endpoint(
        self, connection: Connection, name: str, order: orders.Order | None = None
    ) -> endpoint_pb2.Endpoint:
        now = store.endpoint(connection, name)
        order = order or orders.get(connection, name)
        shown = endpoint_message(name, EndpointSpec.from_json(order.spec))
        shown.live_revision, shown.previous_revision = now.live_revision, now.previous_revision
        shown.url = self._runtime.settings.gateway_url
        shown.order.CopyFrom(orders.order_revision(order))
        return shown


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
    return [
        revision_message(revision, latest.get(revision.name), ready.count(revision.name))
        for revision in found
    ]
