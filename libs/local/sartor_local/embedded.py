"""The base servers alone, for tests and tools: `with EmbeddedServers(folder) as servers: …`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from sartor_local import servers
from sartor_local.faults import StartFailed
from sartor_local.folder import credentials, open_folder
from sartor_local.ports import HOST, Ports
from sartor_local.process import ProcessSpec
from sartor_local.supervision import Supervision


class EmbeddedServers:
    """PostgreSQL, SeaweedFS and Tansu on free loopback ports, their state in `folder`.

    What SARTOR_DATABASE_URL, SARTOR_KAFKA_BOOTSTRAP_SERVERS and SARTOR_S3_ENDPOINT (with _ACCESS_KEY and
    _SECRET_KEY) name in `environ` is used as it is and not started.

    Args:
        durable: fsync on; tests that never survive a power cut leave it off.
        kafka_log: "memory" (lost with the broker) or "s3" (survives its death).
    """

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = False,
        kafka_log: str = "memory",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self.folder = open_folder(folder)
        self._durable, self._kafka_log = durable, kafka_log
        self.database_url = self._environ.get("SARTOR_DATABASE_URL", "")
        self.kafka_bootstrap_servers = self._environ.get("SARTOR_KAFKA_BOOTSTRAP_SERVERS", "")
        self.s3_endpoint = self._environ.get("SARTOR_S3_ENDPOINT", "")
        self.s3_access_key = self._environ.get("SARTOR_S3_ACCESS_KEY", "")
        self.s3_secret_key = self._environ.get("SARTOR_S3_SECRET_KEY", "")
        self.s3_bucket = self._environ.get("SARTOR_S3_BUCKET", servers.BUCKET)
        self.s3_secure = self._environ.get("SARTOR_S3_SECURE", "false")
        self.supervision: Supervision | None = None

    def specs(self, ports: Ports) -> list[ProcessSpec]:
        """The processes to run for what is not external; fills in the addresses."""
        secrets = credentials(self.folder)
        specs: list[ProcessSpec] = []
        if not self.database_url:
            specs.append(servers.postgres(self.folder, ports, secrets, self._durable))
            self.database_url = servers.database_url(ports.get("postgres"), secrets)
        s3_port: int | None = None
        if not self.s3_endpoint:
            specs.append(servers.seaweed(self.folder, ports, secrets))
            s3_port = ports.get("seaweed.s3.port")
            self.s3_endpoint = f"{HOST}:{s3_port}"
            self.s3_access_key, self.s3_secret_key = secrets.s3_access_key, secrets.s3_secret_key
            self.s3_bucket, self.s3_secure = servers.BUCKET, "false"
        if not self.kafka_bootstrap_servers:
            durable_port = s3_port if self._kafka_log == "s3" else None
            specs.append(servers.tansu(self.folder, ports, secrets, durable_port))
            self.kafka_bootstrap_servers = f"{HOST}:{ports.get('tansu')}"
        return specs

    def environment(self) -> dict[str, str]:
        """The SARTOR_… variables with which a service reaches these servers."""
        return {
            "SARTOR_DATABASE_URL": self.database_url,
            "SARTOR_KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "SARTOR_S3_ENDPOINT": self.s3_endpoint,
            "SARTOR_S3_ACCESS_KEY": self.s3_access_key,
            "SARTOR_S3_SECRET_KEY": self.s3_secret_key,
            "SARTOR_S3_BUCKET": self.s3_bucket,
            "SARTOR_S3_SECURE": self.s3_secure,
            "SARTOR_DATA_DIR": str(self.folder.work),
        }

    def start(self) -> None:
        """Returns when all of them answer real requests.

        Raises:
            LocalError: one of them could not start; none is left running.
        """
        given = (self.database_url, self.kafka_bootstrap_servers, self.s3_endpoint)
        for attempts_left in (2, 1, 0):
            supervision = Supervision(self.specs(Ports(self.folder.ports_file)), start_attempts=1)
            try:
                supervision.start()
            except StartFailed as error:
                # Somebody else may have taken a free port between its choice and its use: choose again.
                if attempts_left == 0 or not error.port_taken:
                    raise
                self.database_url, self.kafka_bootstrap_servers, self.s3_endpoint = given
            else:
                self.supervision = supervision
                return

    def stop(self) -> None:
        if self.supervision is not None:
            self.supervision.stop()
            self.supervision = None

    def __enter__(self) -> EmbeddedServers:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
