"""The gRPC service: proto ↔ domain, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sartor.common.v1 import job_status_pb2
from sartor.curation.v1 import curation_pb2, curation_policy_pb2, curation_service_pb2_grpc
from sartor.curation.v1 import curation_service_pb2 as messages
from sartor_platform import jobs, orders
from sartor_platform.grpc_server import Servicer
from sartor_platform.idempotency import once
from sartor_platform.listing import parse_filter
from sartor_platform.runtime import Runtime
from sqlalchemy import Connection

from sartor_curation import resources, store, usecases
from sartor_curation.resources import CURATION, POLICY, PROJECT, SNAPSHOT
from sartor_curation.service_messages import (
    curation_message,
    dropped_message,
    policy_message,
    policy_of,
    policy_of_order,
)

_FINISHED = (
    job_status_pb2.JOB_STATE_SUCCEEDED,
    job_status_pb2.JOB_STATE_FAILED,
    job_status_pb2.JOB_STATE_CANCELLED,
)


def servicers(runtime: Runtime) -> list[Servicer]:
    """What the server of curation serves."""
    return [
        Servicer(
            add=curation_service_pb2_grpc.add_CurationServiceServicer_to_server,
            implementation=CurationService(runtime),
            full_name="sartor.curation.v1.CurationService",
        )
    ]


class CurationService(curation_service_pb2_grpc.CurationServiceServicer):
    """Cleans, checks and splits records; see curation_service.proto."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._database = runtime.database

    def ApplyCurationPolicy(  # noqa: N802
        self, request: messages.ApplyCurationPolicyRequest, context: Any
    ) -> curation_policy_pb2.CurationPolicy:
        """Make or change a policy."""
        wanted = request.curation_policy
        policy = policy_of(wanted)
        resources.check_policy(wanted.name, policy)
        if request.validate_only:
            return policy_message(wanted.name, policy)

        def make() -> curation_policy_pb2.CurationPolicy:
            order = usecases.apply_policy(
                tx, wanted.name, policy, generation=request.generation, etag=wanted.order.etag
            )
            return policy_of_order(order)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, curation_policy_pb2.CurationPolicy)

    def GetCurationPolicy(  # noqa: N802
        self, request: messages.GetCurationPolicyRequest, context: Any
    ) -> curation_policy_pb2.CurationPolicy:
        """Read a policy."""
        POLICY.parse(request.name)
        with self._database.read() as connection:
            return policy_of_order(orders.get(connection, request.name))

    def ListCurationPolicies(  # noqa: N802
        self, request: messages.ListCurationPoliciesRequest, context: Any
    ) -> messages.ListCurationPoliciesResponse:
        """List the policies of a project."""
        PROJECT.parse(request.parent, field="parent")
        with self._database.read() as connection:
            found, token = orders.list_orders(
                connection,
                f"{request.parent}/curationPolicies/",
                page_size=request.page_size,
                page_token=request.page_token,
            )
        shown = [policy_of_order(order) for order in found]
        return messages.ListCurationPoliciesResponse(curation_policies=shown, next_page_token=token)

    def CreateCuration(self, request: messages.CreateCurationRequest, context: Any) -> curation_pb2.Curation:  # noqa: N802
        """Curate a snapshot now."""
        PROJECT.parse(request.parent, field="parent")
        POLICY.parse(request.policy, field="policy")
        if request.snapshot:
            SNAPSHOT.parse(request.snapshot, field="snapshot")

        def make() -> curation_pb2.Curation:
            created = usecases.create_curation(tx, request.parent, request.policy, request.snapshot)
            return _curation(tx.connection, created.name)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, curation_pb2.Curation)

    def GetCuration(self, request: messages.GetCurationRequest, context: Any) -> curation_pb2.Curation:  # noqa: N802
        """Read a curation."""
        CURATION.parse(request.name)
        with self._database.read() as connection:
            return _curation(connection, request.name)

    def ListCurations(  # noqa: N802
        self, request: messages.ListCurationsRequest, context: Any
    ) -> messages.ListCurationsResponse:
        """List the curations of a project, newest first."""
        PROJECT.parse(request.parent, field="parent")
        wanted = parse_filter(request.filter, ["run", "state"])
        with self._database.read() as connection:
            found, token = store.list_curations(
                connection,
                request.parent,
                run=wanted.get("run", ""),
                state=wanted.get("state", ""),
                page_size=request.page_size,
                page_token=request.page_token,
            )
            states = jobs.jobs_of(connection, [curation.name for curation in found])
        shown = [curation_message(curation, states.get(curation.name)) for curation in found]
        return messages.ListCurationsResponse(curations=shown, next_page_token=token)

    def CancelCuration(self, request: messages.CancelCurationRequest, context: Any) -> curation_pb2.Curation:  # noqa: N802
        """Stop a curation."""
        CURATION.parse(request.name)
        with self._database.transaction() as tx:
            usecases.cancel_curation(tx, request.name)
            return _curation(tx.connection, request.name)

    def WatchCuration(  # noqa: N802
        self, request: messages.WatchCurationRequest, context: Any
    ) -> Iterator[curation_pb2.Curation]:
        """Stream a curation until it ends."""
        CURATION.parse(request.name)

        def read() -> curation_pb2.Curation:
            with self._database.read() as connection:
                return _curation(connection, request.name)

        yield from self._runtime.watchers.stream(
            request.name, read, lambda curation: curation.job.state in _FINISHED, context
        )

    def ListDroppedRecords(  # noqa: N802
        self, request: messages.ListDroppedRecordsRequest, context: Any
    ) -> messages.ListDroppedRecordsResponse:
        """List what a curation dropped."""
        CURATION.parse(request.parent, field="parent")
        wanted = parse_filter(request.filter, ["reason"])
        with self._database.read() as connection:
            usecases.get_curation(connection, request.parent)
            found, token = store.list_dropped(
                connection,
                request.parent,
                reason=wanted.get("reason", ""),
                page_size=request.page_size,
                page_token=request.page_token,
            )
        shown = [dropped_message(one) for one in found]
        return messages.ListDroppedRecordsResponse(dropped_records=shown, next_page_token=token)


def _curation(connection: Connection, name: str) -> curation_pb2.Curation:
    return curation_message(usecases.get_curation(connection, name), jobs.job_of(connection, name))
