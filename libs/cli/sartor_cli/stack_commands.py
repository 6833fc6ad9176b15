"""`sartor up`, `down`, `status` and `logs`: the embedded stack on this machine."""

from __future__ import annotations

import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text
from sartor_local import control
from sartor_local.faults import AlreadyRunning, LocalError, NotRunning
from sartor_local.folder import DataFolder
from sartor_local.process import log_tail
from sartor_local.services import SERVICES, Replicas
from sartor_local.state import ProcessState, StackPhase, StackState, read_state
from sartor_local.supervisor import StackOptions, Supervisor

from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir, Output
from sartor_cli.output import Column, Format, console, errors, print_data, table

_STYLES = {"ready": "green", "starting": "yellow", "preparing": "yellow", "restarting": "red"}


def up(
    data_dir: DataDir = Path(".sartor"),
    detach: Annotated[
        bool, typer.Option("--detach/--foreground", help="Stay in the background, or run here until Ctrl-C.")
    ] = True,
    servers: Annotated[int, typer.Option(min=1, max=8, help="Servers of each service.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Workers of each service.")] = 1,
    gateway_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the OpenAI-compatible API; else a free one.")
    ] = None,
    services: Annotated[
        str, typer.Option(help="Only these services, comma-separated.", show_default=False)
    ] = ",".join(SERVICES),
    kafka_log: Annotated[
        str, typer.Option(help="Where the embedded broker keeps its log: memory or s3.")
    ] = "memory",
) -> None:
    """Start the embedded stack and the five services.

    Real servers (PostgreSQL, SeaweedFS, a Kafka broker) run on free loopback ports with all their state in
    one folder. Use your own servers instead by setting SARTOR_DATABASE_URL, SARTOR_KAFKA_BOOTSTRAP_SERVERS or
    SARTOR_S3_ENDPOINT (with SARTOR_S3_ACCESS_KEY and SARTOR_S3_SECRET_KEY).

    \b
    Examples:
      sartor up                          # start and return when everything is ready
      sartor up --foreground             # run here; Ctrl-C stops it
      sartor up --servers 2 --workers 2  # two of everything
      sartor up --gateway-port 8080      # a fixed address for `sartor chat` and OpenAI clients
    """
    if kafka_log not in ("memory", "s3"):
        raise CommandFailed(f"{kafka_log!r} is not a place for the broker's log.", "Give memory or s3.", 2)
    chosen = tuple(name for name in services.split(",") if name)
    if unknown := [name for name in chosen if name not in SERVICES]:
        raise CommandFailed(f"There is no service {unknown[0]!r}.", f"There are {', '.join(SERVICES)}.", 2)
    options = StackOptions(data_dir, chosen, Replicas(servers, workers), gateway_port, kafka_log)
    try:
        if not detach:
            run_here(options)
            return
        state = start(options)
    except AlreadyRunning:
        running = control.status(data_dir)
        console.print(f"A stack is already running in [bold]{data_dir}[/bold]; nothing was started.")
        if running is not None:
            console.print(summary(running, data_dir))
        return
    console.print(f"Everything is ready after {state.ready_seconds:.1f} s.")
    console.print(summary(state, data_dir))


def start(options: StackOptions) -> StackState:
    """Starts the stack in the background, showing its processes as they become ready."""
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        return control.up(options, on_change=lambda state: live.update(_starting(state)))


def run_here(options: StackOptions) -> None:
    """Supervises in this process until Ctrl-C."""

    def show(state: StackState) -> None:
        if state.phase is StackPhase.READY and all(each.phase == "ready" for each in state.processes):
            console.print(summary(state, options.data_dir))
            console.print("Press Ctrl-C to stop it.")

    supervisor = Supervisor(options, on_change=show)
    signal.signal(signal.SIGINT, lambda number, frame: supervisor.request_stop())
    signal.signal(signal.SIGTERM, lambda number, frame: supervisor.request_stop())
    console.print("Starting the stack…")
    supervisor.run()
    console.print("Everything has stopped.")


def _starting(state: StackState) -> Group:
    ready = sum(each.phase == "ready" for each in state.processes)
    lines = [Text(f"Starting the stack: {ready} of {len(state.processes)} ready")]
    for each in state.processes:
        if each.phase not in ("ready", "waiting"):
            lines.append(Text(f"  {each.name:<22}{each.phase}", style=_STYLES.get(each.phase, "")))
    return Group(*lines)


def summary(state: StackState, data_dir: Path) -> str:
    """The addresses people need, and what to do next."""
    environment = state.environment
    ready = sum(each.phase == "ready" for each in state.processes)
    lines = [
        f"The stack is [green]{state.phase.value}[/green]: {ready} processes, state in {data_dir}.",
        f"  chat and OpenAI API   {state.gateway_url or '(no deployment service)'}",
        f"  Kafka                 {environment.get('SARTOR_KAFKA_BOOTSTRAP_SERVERS', '')}",
        f"  objects (S3)          {environment.get('SARTOR_S3_ENDPOINT', '')}",
        *(f"  {service:<22}{target} (gRPC)" for service, target in state.targets.items()),
        "Next: sartor apply -f examples/support-desk/project.yaml · sartor status · sartor down",
    ]
    return "\n".join(lines)


def down(data_dir: DataDir = Path(".sartor")) -> None:
    """Stop the stack of this folder. Its data stays.

    \b
    Examples:
      sartor down
      sartor down --data-dir /var/lib/sartor
    """
    try:
        with console.status("Stopping the stack…"):
            control.down(data_dir)
    except NotRunning as error:
        console.print(str(error))
        return
    console.print("Everything has stopped. Start it again with `sartor up`; its data is kept.")


def status(data_dir: DataDir = Path(".sartor"), output: Output = Format.TABLE) -> None:
    """Show every process of the stack. The exit status is 0 only if all are ready.

    \b
    Examples:
      sartor status
      sartor status -o json | jq -r .environment.SARTOR_KAFKA_BOOTSTRAP_SERVERS
    """
    state = control.status(data_dir)
    if state is None:
        before = read_state(DataFolder(data_dir.expanduser().resolve()))
        failed = f" The last start failed: {before.error}" if before is not None and before.error else ""
        raise CommandFailed(f"No stack is running in {data_dir}.{failed}", "Start one with `sartor up`.", 3)
    if output is not Format.TABLE:
        print_data(asdict(state) | {"phase": state.phase.value}, output)
    else:
        console.print(summary(state, data_dir))
        console.print(table(state.processes, _PROCESS_COLUMNS))
        _hint_at_dead_letters(state)
    if any(each.phase != "ready" for each in state.processes):
        raise typer.Exit(1)


def _hint_at_dead_letters(state: StackState) -> None:
    from sartor_cli.client import Sartor
    from sartor_cli.dlq import waiting

    with Sartor(state.targets, state) as sartor:
        for line in waiting(sartor):
            console.print(line)


_PROCESS_COLUMNS = (
    Column[ProcessState]("PROCESS", lambda each: each.name),
    Column[ProcessState]("STATE", lambda each: f"[{_STYLES.get(each.phase, 'white')}]{each.phase}[/]"),
    Column[ProcessState]("PID", lambda each: str(each.identity.pid) if each.identity else "", right=True),
    Column[ProcessState]("RESTARTS", lambda each: str(each.restarts), right=True),
    Column[ProcessState]("PORTS", lambda each: _ports(each)),
    Column[ProcessState]("NOTE", lambda each: each.note.split("\n")[0]),
)


def _ports(process: ProcessState) -> str:
    shown = [f"{name} {port}" for name, port in process.ports.items() if "." not in name]
    return ", ".join(shown)


def logs(
    process: Annotated[str, typer.Argument(help="A process as `sartor status` names it.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50,
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Show the log of a process; without a name, list the logs there are.

    \b
    Examples:
      sartor logs
      sartor logs training-worker -f
    """
    folder = DataFolder(data_dir.expanduser().resolve())
    known = sorted(path.stem for path in folder.logs.glob("*.log"))
    if not process:
        for name in known:
            size = folder.log_of(name).stat().st_size
            console.print(f"{name:<24}{size / 1000:>10.1f} kB  {folder.log_of(name)}")
        return
    if process not in known:
        raise CommandFailed(
            f"There is no log of {process!r} in {folder.logs}.",
            f"There are: {', '.join(known) or 'none'}.",
            2,
        )
    path = folder.log_of(process)
    tail = log_tail(path, lines * 2000).splitlines()[-lines:]
    console.print("\n".join(tail), markup=False)
    if follow:
        _follow(path)


def _follow(path: Path) -> None:
    with open(path, encoding="utf-8", errors="replace") as log:
        log.seek(0, 2)
        while True:
            text = log.read()
            if text:
                console.print(text, markup=False, end="")
            elif path.stat().st_size < log.tell():
                log.seek(0)  # it was emptied in place
            else:
                time.sleep(0.2)


def stop_quietly(data_dir: Path) -> None:
    """Stops the stack this command started, whatever else went wrong."""
    try:
        control.down(data_dir)
    except LocalError as error:
        errors.print(str(error), markup=False)
