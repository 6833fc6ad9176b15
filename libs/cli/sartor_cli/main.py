"""The `sartor` command: its parts, and the one place where errors become words and exit statuses."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

import typer


@dataclass(frozen=True, slots=True)
class Command:
    """A command that is imported only when it is used, so that `sartor --help` is quick."""

    name: str
    module: str
    function: str
    summary: str
    group: bool = False


COMMANDS = (
    Command("demo", "demo", "demo", "See it all at once, with the example's data."),
    Command("up", "stack_commands", "up", "Start the embedded stack and the five services."),
    Command("status", "stack_commands", "status", "Show every process of the stack."),
    Command("apply", "apply", "apply", "Apply a project file: the standing orders of one use case."),
    Command("ingest", "ingest", "ingest", "Upload a file of records to a source."),
    Command("snapshot", "snapshot", "snapshot", "Seal what is pending in a dataset now."),
    Command("trace", "trace", "trace", "Show where a record or a person's data came from, and went."),
    Command("runs", "runs", "app", "List runs; `runs watch` follows one live to its end.", group=True),
    Command("get", "get", "get", "List resources of a kind, or show one."),
    Command("train", "train", "app", "Ask what a training takes; pause, resume and show it.", group=True),
    Command("evaluate", "evaluate", "evaluate", "Compare models and prompts on the same items."),
    Command("deploy", "deploy", "app", "Follow and steer rollouts; ask where to deploy.", group=True),
    Command("loop", "loop", "app", "See, stop and start the loop that tunes a model again.", group=True),
    Command("keys", "keys", "app", "Make, list and end API keys of the gateway.", group=True),
    Command("chat", "chat", "chat", "Talk to a deployed model."),
    Command("rollback", "chat", "rollback", "Put the revision before the live one back."),
    Command("reports", "reports", "reports", "Download the reports of a run as HTML."),
    Command("compare", "compare", "compare", "Show what changed between two curations."),
    Command("dlq", "dlq", "app", "Show, replay or drop events that could not be handled.", group=True),
    Command("logs", "stack_commands", "logs", "Show the log of a process."),
    Command("down", "stack_commands", "down", "Stop the stack of this folder; its data stays."),
)

_HELP = {"help_option_names": ["-h", "--help"]}
HELP = """Sartor tailors language models to your own data, and keeps them tailored.

\b
The way of a model:
  sartor up                                     start everything on this machine
  sartor apply -f project.yaml                  say what you want, once
  sartor ingest tickets.jsonl --source tickets  bring in data (or publish events)
  sartor runs watch                             from snapshot to deployment, live
  sartor chat support                           talk to the tuned model
  sartor down                                   stop everything; its data stays

Or see all of it at once: sartor demo
"""


def build(argv: Sequence[str]) -> typer.Typer:
    """The command line. Only the command asked for is imported; the others are known by their summaries."""
    wanted = next((word for word in argv if not word.startswith("-")), "")
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=_HELP,
    )
    app.callback()(_nothing)
    for command in COMMANDS:
        if command.name != wanted:
            app.command(command.name, help=command.summary)(_nothing)
            continue
        found = getattr(importlib.import_module(f"sartor_cli.{command.module}"), command.function)
        if command.group:
            app.add_typer(found, name=command.name, context_settings=_HELP)
        else:
            app.command(command.name, context_settings=_HELP)(found)
    return app


def _nothing() -> None:
    return


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command and exits with its status. No stack trace ever reaches a user."""
    # A closed terminal or a `kill` ends a command as Ctrl-C does: it stops what it started.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    sys.exit(invoke(list(sys.argv[1:] if argv is None else argv)))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def invoke(argv: list[str]) -> int:
    """The exit status of a command: 0 well, 1 failed, 2 wrong use, 3 no stack, 130 interrupted."""
    try:
        build(argv)(argv, prog_name="sartor")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        return 130
    except Exception as error:  # noqa: BLE001 - the boundary: everything becomes words here
        from sartor_cli.error_words import tell

        return tell(error)
    return 0


if __name__ == "__main__":
    run()
