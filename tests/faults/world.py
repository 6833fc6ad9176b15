"""The system under fault: real servers, two workers of most services, a tiny model, proxies in between."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from sartor_cli.client import Sartor
from sartor_local.embedded import EmbeddedServers
from sartor_local.folder import open_folder
from sartor_local.ports import HOST, Ports
from sartor_local.process import ProcessSpec
from sartor_local.services import Replicas, service_processes
from sartor_local.supervision import Phase, Supervision
from sartor_platform.settings import PlatformSettings

from tests.conftest import short_folder
from tests.faults.plan import SERVICES
from tests.faults.points import Points
from tests.faults.proxy import Proxy, ProxyLoop
from tests.tiny_model import make_tiny_model

LEASE_SECONDS = 4.0
GRACE_SECONDS = 20.0
WORKERS_DISK = "disk"
STATE_DISK = "state"
DISKS_MIB = {WORKERS_DISK: 192, STATE_DISK: 1536}
"""Small file systems: the workers' folder; and that of the servers, their data and everybody's logs."""
_REPLICAS = {
    "ingestion": Replicas(servers=2, workers=2),
    "curation": Replicas(servers=1, workers=2),
    "training": Replicas(servers=1, workers=2),
}
_PROXIED = ("postgres", "tansu", "seaweed.s3.port")


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """What to run."""

    services: tuple[str, ...] = SERVICES
    kafka_log: str = "s3"
    without: tuple[str, ...] = ()
    """Guards that are taken away."""


class World:
    """One long-lived stack. `with World(options) as world: …`"""

    def __init__(self, options: WorldOptions) -> None:
        self.options = options
        self.folder = short_folder("sartor-faults-")
        self.model = make_tiny_model(self.folder / "tiny")
        self.points = Points(self.folder / "points")
        for guard in options.without:
            self.points.switch_off(guard)
        self.disks = {name: path for name, mib in DISKS_MIB.items() if (path := self._mounted(name, mib))}
        self.proxies: dict[str, Proxy] = {}
        self._loop = ProxyLoop()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._held: set[str] = set()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self.supervision: Supervision | None = None
        self.targets: dict[str, str] = {}
        self.gateway_url = ""
        self.servers: EmbeddedServers | None = None
        self.kafka = self.s3 = ""

    # --- life ---

    def __enter__(self) -> World:
        self._thread.start()
        while not self._ready.wait(0.2):
            if not self._thread.is_alive():
                break
        if self._failed is not None:
            self._clean_up()
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(120)
        self._clean_up()

    def _clean_up(self) -> None:
        self._loop.stop()
        if os.environ.get("SARTOR_FAULTS_KEEP", ""):
            print(f"kept: {self.folder}, with {sorted(self.disks)} mounted in it")
            return
        for disk in self.disks.values():
            subprocess.run(["umount", "-l", disk], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _supervise(self) -> None:
        # The kernel ends the processes with the thread that spawned them: this one stays.
        try:
            self.supervision = supervision = Supervision(self._specs(), should_stop=self._stop.is_set)
            supervision.start()
            self._ready.set()
            while not self._stop.is_set():
                supervision.tick()
                for name, each in supervision.processes.items():
                    each.failures = min(each.failures, 1)  # they are killed, not broken: no long backoff
                    if name in self._held and each.phase is Phase.BACKOFF:
                        each.enter(Phase.STOPPED)
                    elif name not in self._held and each.phase is Phase.STOPPED:
                        each.enter(Phase.BACKOFF)
                time.sleep(0.05)
        except BaseException as error:  # noqa: BLE001 - raised by __enter__
            self._failed = error
        finally:
            if self.supervision is not None:
                for name in self.supervision.processes:
                    self.wake(name)
                self.supervision.stop()

    def _specs(self) -> list[ProcessSpec]:
        folder = open_folder(self.folder / STATE_DISK)
        ports = Ports(folder.ports_file)
        self.servers = base = EmbeddedServers(folder.root, kafka_log=self.options.kafka_log, environ={})
        specs = base.specs(ports)
        for name in _PROXIED:
            self.proxies[name.partition(".")[0]] = Proxy(
                self._loop, ports.get(f"proxy.{name}"), ports.get(name)
            )
        kafka = f"{HOST}:{ports.get('proxy.tansu')}"
        environment = {
            **base.environment(),
            "SARTOR_DATABASE_URL": base.database_url.replace(
                f":{ports.get('postgres')}/", f":{ports.get('proxy.postgres')}/"
            ),
            "SARTOR_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SARTOR_S3_ENDPOINT": f"{HOST}:{ports.get('proxy.seaweed.s3.port')}",
            "SARTOR_FAULT_POINTS": str(self.points.folder),
            "SARTOR_LEASE_SECONDS": str(LEASE_SECONDS),
            "SARTOR_JOB_ATTEMPTS": "12",
            "SARTOR_TOPIC_PARTITIONS": "3",
            "SARTOR_ATTEMPT_GRACE_SECONDS": str(GRACE_SECONDS),
            "SARTOR_WATCHDOG_SECONDS": "30",
            "SARTOR_KAFKA_SESSION_TIMEOUT_MS": "3000",
        }
        self.kafka, self.s3 = kafka, base.s3_endpoint
        specs = [_advertised(spec, kafka) for spec in specs]
        for service in self.options.services:
            made = service_processes(folder, ports, environment, (service,), _REPLICAS.get(service))
            self.targets.update(made.targets)
            self.gateway_url = self.gateway_url or made.gateway_url
            specs += [self._on_small_disk(spec) for spec in made.specs]
        return specs

    def _mounted(self, name: str, mib: int) -> Path | None:
        """A small file system at a folder of ours, or None where this user may not mount one."""
        path = self.folder / name
        path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=755", "tmpfs", path],
            capture_output=True,
            check=False,
        )
        return path if done.returncode == 0 else None

    def _on_small_disk(self, spec: ProcessSpec) -> ProcessSpec:
        disk = self.disks.get(WORKERS_DISK)
        if disk is None or "worker" not in spec.name or "deployment" in spec.name:
            return spec
        return replace(spec, environment={**spec.environment, "SARTOR_DATA_DIR": str(disk)})

    # --- what the harness does to it ---

    def names(self) -> Sequence[str]:
        """The supervised processes."""
        assert self.supervision is not None
        return list(self.supervision.processes)

    def pid(self, name: str) -> int | None:
        """The process's number while it is ready."""
        assert self.supervision is not None
        process = self.supervision.processes[name]
        popen = process.popen
        return popen.pid if popen is not None and process.phase is Phase.READY else None

    def kill(self, name: str) -> bool:
        """kill -9. True once the supervisor has seen it end by that signal."""
        assert self.supervision is not None
        process = self.supervision.processes[name]
        pid, before = self.pid(name), process.restarts
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while process.restarts == before and time.monotonic() < until:
            time.sleep(0.02)
        return process.restarts > before

    @contextlib.contextmanager
    def down(self, service: str) -> Iterator[None]:
        """All processes of a service are killed, and none comes back before the block ends."""
        assert self.supervision is not None
        ours = {name: each for name, each in self.supervision.processes.items() if name.startswith(service)}
        self._held |= ours.keys()
        try:
            until = time.monotonic() + 20
            while any(each.phase is not Phase.STOPPED for each in ours.values()):
                for each in ours.values():
                    if (popen := each.popen) is not None:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(popen.pid, signal.SIGKILL)
                if time.monotonic() > until:
                    raise TimeoutError(f"{service} does not go down")
                time.sleep(0.05)
            yield
        finally:
            self._held -= ours.keys()

    def freeze(self, name: str) -> int | None:
        """SIGSTOP; returns the number of the stopped process."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, signal.SIGSTOP)
        return pid

    def wake(self, name: str) -> None:
        """SIGCONT, whatever state it is in."""
        assert self.supervision is not None
        popen = self.supervision.processes[name].popen
        if popen is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(popen.pid, signal.SIGCONT)

    def children(self, name: str) -> list[int]:
        """The job children of a worker that run now."""
        pid = self.pid(name)
        found: list[int] = []
        if pid is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(pid).children():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if "sartor_platform.child" in child.cmdline():
                            found.append(child.pid)
        return found

    def all_ready(self) -> bool:
        """Whether every process runs and answers."""
        assert self.supervision is not None
        return self.supervision.all_ready()

    # --- ways in ---

    def client(self) -> Sartor:
        """A client of the public API."""
        return Sartor(self.targets)

    def kafka_settings(self) -> dict[str, object]:
        """What an outside Kafka client is told."""
        return {
            "bootstrap_servers": self.kafka,
            "request_timeout_ms": 15_000,
            "reconnect_backoff_max_ms": 500,
        }

    def platform_settings(self) -> PlatformSettings:
        """Settings for outside tools that speak to the servers directly."""
        assert self.servers is not None
        return PlatformSettings(
            database_url=self.servers.database_url,
            kafka_bootstrap_servers=self.kafka,
            s3_endpoint=self.s3,
            s3_access_key=self.servers.s3_access_key,
            s3_secret_key=self.servers.s3_secret_key,
            s3_bucket=self.servers.s3_bucket,
        )

    def logs(self) -> list[Path]:
        """The log of every process."""
        assert self.supervision is not None
        return [each.spec.log for each in self.supervision.processes.values()]

    def logged(self, event: str) -> Iterator[dict[str, Any]]:
        """What the processes logged of this kind."""
        for path in self.logs():
            for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
                if f'"event": "{event}"' in line:
                    yield json.loads(line)


def _advertised(spec: ProcessSpec, address: str) -> ProcessSpec:
    """The broker sends its clients through the proxy."""
    if spec.name != "tansu":
        return spec
    arguments = list(spec.argv)
    arguments[arguments.index("--advertised-listener-url") + 1] = f"tcp://{address}"
    return replace(spec, argv=tuple(arguments))
