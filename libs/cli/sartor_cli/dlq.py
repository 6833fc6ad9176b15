"""`sartor dlq`: events that a service could not handle; show them, give them back, or drop them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from sartor.platform.v1.dead_letter_pb2 import DeadLetter, DeadLetterState
from sartor.platform.v1.dead_letter_service_pb2 import (
    DropDeadLetterRequest,
    GetDeadLetterRequest,
    ListDeadLettersRequest,
    ReplayDeadLetterRequest,
)
from sartor_platform.errors import NotFound, SartorError

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir, Output
from sartor_cli.output import Column, Format, age, last, plain, print_data, print_messages

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
_HINT_SECONDS = 2.0


class State(StrEnum):
    """What to list."""

    WAITING = "waiting"
    OPEN = "open"
    PARKED = "parked"
    REPLAYED = "replayed"
    DROPPED = "dropped"
    ALL = "all"


Names = Annotated[list[str] | None, typer.Argument(help="Ids or names of letters, as `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="Every letter the filters choose.")]
Service = Annotated[str, typer.Option("--service", "-s", help="Only of this service.")]
Topic = Annotated[str, typer.Option("--topic", "-t", help="Only of this topic.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Only with this reason.")]
C = Column[DeadLetter]
_COLUMNS = (
    C("SERVICE", lambda each: each.name.split("/")[1]),
    C("ID", lambda each: last(each.name), whole=True),
    C("STATE", lambda each: state_of(each)),
    C("REASON", lambda each: each.reason),
    C("TOPIC", lambda each: each.topic),
    C("EVENT", lambda each: last(each.event_type.replace(".", "/")) or "(no event)"),
    C("TRIES", lambda each: str(each.tries), right=True),
    C("AGE", lambda each: age(each.create_time), right=True),
    C("MESSAGE", lambda each: each.message.replace("\n", " ")[:80]),
)


@app.callback()
def dlq() -> None:
    """Show, replay or drop events that could not be handled.

    An OPEN letter can never be handled as it is: mend the cause (`sartor dlq show` names it), then replay it,
    or drop it. A PARKED one has failed for long and is tried again by itself; later events of its key wait
    behind it, and replaying it only means: now. Each service keeps its own letters: nothing here needs Kafka.

    \b
    Examples:
      sartor dlq list
      sartor dlq show 01jd…
      sartor dlq replay 01jd…
      sartor dlq replay --all --reason UNKNOWN_SOURCE
      sartor dlq drop 01jd…
    """


@app.command("list")
def list_letters(
    service: Service = "",
    topic: Topic = "",
    reason: Reason = "",
    state: Annotated[State, typer.Option(help="waiting is open and parked.")] = State.WAITING,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most to list.")] = 50,
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """List dead letters, newest first: by default those that wait for a person or a later try.

    \b
    Examples:
      sartor dlq list
      sartor dlq list --service ingestion --reason UNKNOWN_SOURCE
      sartor dlq list --state all --topic sartor.data -o json
    """
    with Sartor.local(data_dir) as sartor:
        found = list(_chosen(sartor, service, topic, reason, state, limit))
    print_messages(found, _COLUMNS, output, "There are no dead letters.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Id or name, as `list` shows it.")],
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Show one dead letter whole: why it was not handled, its headers and its data.

    \b
    Examples:
      sartor dlq show 01jd…
      sartor dlq show services/ingestion/deadLetters/01jd… -o json | jq -r .value
    """
    with Sartor.local(data_dir) as sartor:
        letter = _find(sartor, name)
    shown = plain(letter)
    shown["key"], shown["value"] = _readable(letter.key), _readable(letter.value)
    shown["headers"] = [{"key": each.key, "value": _readable(each.value)} for each in letter.headers]
    print_data(shown, Format.YAML if output is Format.TABLE else output)


@app.command()
def replay(
    names: Names = None,
    every: All = False,
    service: Service = "",
    topic: Topic = "",
    reason: Reason = "",
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Give events to their handler again, each at most once: what was handled before changes nothing.

    The exit status is 1 where one still cannot be handled; the table names the reason of this time.

    \b
    Examples:
      sartor dlq replay 01jd… 01jd…
      sartor dlq replay --all --service ingestion --reason UNKNOWN_SOURCE
    """

    def act(sartor: Sartor, letter: DeadLetter) -> DeadLetter:
        request = ReplayDeadLetterRequest(name=letter.name, request_id=str(uuid.uuid4()))
        return sartor.ask(sartor.dead_letters(_service_of(letter)).ReplayDeadLetter, request)

    _act(
        act,
        names,
        every,
        (service, topic, reason),
        data_dir,
        output,
        DeadLetterState.DEAD_LETTER_STATE_REPLAYED,
    )


@app.command()
def drop(
    names: Names = None,
    every: All = False,
    service: Service = "",
    topic: Topic = "",
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Drop events for good: they are not handled, also where they are delivered again.

    \b
    Examples:
      sartor dlq drop 01jd…
      sartor dlq drop --all --topic sartor.data --reason UNKNOWN_EVENT_TYPE --yes
    """
    if every and not yes:
        typer.confirm("Drop every letter these filters choose?", abort=True)

    def act(sartor: Sartor, letter: DeadLetter) -> DeadLetter:
        request = DropDeadLetterRequest(name=letter.name, request_id=str(uuid.uuid4()))
        return sartor.ask(sartor.dead_letters(_service_of(letter)).DropDeadLetter, request)

    _act(
        act,
        names,
        every,
        (service, topic, reason),
        data_dir,
        output,
        DeadLetterState.DEAD_LETTER_STATE_DROPPED,
    )


def waiting(sartor: Sartor) -> Iterator[str]:
    """A line for each service with letters that wait; silent where it does not answer at once."""
    for service in sartor.services:
        try:
            answer = sartor.dead_letters(service).ListDeadLetters(
                ListDeadLettersRequest(parent=f"services/{service}", page_size=1), timeout=_HINT_SECONDS
            )
        except grpc.RpcError:
            continue  # the table above says what is wrong with it
        counts = {"open": answer.open_count, "parked": answer.parked_count}
        words = " and ".join(f"{count} {word}" for word, count in counts.items() if count)
        if words:
            yield f"[yellow]{service} has {words} dead letters[/]: sartor dlq list --service {service}"


def state_of(letter: DeadLetter) -> str:
    """The state in one lower-case word."""
    return DeadLetterState.Name(letter.state).removeprefix("DEAD_LETTER_STATE_").lower()


def _act(
    act: Callable[[Sartor, DeadLetter], DeadLetter],
    names: list[str] | None,
    every: bool,
    filters: tuple[str, str, str],
    data_dir: Path,
    output: Format,
    wanted: DeadLetterState.ValueType,
) -> None:
    if bool(names) == every:
        raise CommandFailed(
            "Name letters, or choose them with --all and filters.", "See `sartor dlq list`.", 2
        )
    with Sartor.local(data_dir) as sartor:
        if names:
            letters = [_find(sartor, name) for name in names]
        else:
            letters = list(_chosen(sartor, *filters, State.WAITING, None))[::-1]  # oldest first
        done = [_done(act, sartor, letter) for letter in letters]
    print_messages(done, _COLUMNS, output, "There are no dead letters that these filters choose.")
    if any(letter.state != wanted for letter in done):
        raise typer.Exit(1)


def _done(act: Callable[[Sartor, DeadLetter], DeadLetter], sartor: Sartor, letter: DeadLetter) -> DeadLetter:
    """The letter afterwards; one that may not move now is shown as it is, with the reason."""
    try:
        return act(sartor, letter)
    except SartorError as error:
        refused = DeadLetter()
        refused.CopyFrom(letter)
        refused.reason, refused.message = error.reason, error.message
        return refused


def _chosen(
    sartor: Sartor, service: str, topic: str, reason: str, state: State, limit: int | None
) -> Iterator[DeadLetter]:
    """Letters of one service or all, one service after the other."""
    if service and service not in sartor.services:
        raise CommandFailed(
            f"There is no service {service!r}.", f"There are {', '.join(sartor.services)}.", 2
        )
    states = {State.ALL: [""], State.WAITING: ["OPEN", "PARKED"]}.get(state, [state.value.upper()])
    left = limit
    for each in [service] if service else sartor.services:
        for wanted in states:
            terms = {"state": wanted, "topic": topic, "reason": reason}
            where = " AND ".join(f"{name} = {_quoted(value)}" for name, value in terms.items() if value)
            request = ListDeadLettersRequest(parent=f"services/{each}", filter=where)
            for letter in sartor.all(sartor.dead_letters(each).ListDeadLetters, request, left):
                left = None if left is None else left - 1
                yield letter
            if left == 0:
                return


def _find(sartor: Sartor, name: str) -> DeadLetter:
    """The letter of this name; of an id alone, wherever it is."""
    parts = name.split("/")
    if len(parts) == 4:
        return sartor.ask(sartor.dead_letters(parts[1]).GetDeadLetter, GetDeadLetterRequest(name=name))
    for service in sartor.services:
        request = GetDeadLetterRequest(name=f"services/{service}/deadLetters/{name}")
        try:
            return sartor.ask(sartor.dead_letters(service).GetDeadLetter, request)
        except NotFound:
            continue
    raise CommandFailed(f"No service has a dead letter {name!r}.", "See `sartor dlq list --state all`.")


def _service_of(letter: DeadLetter) -> str:
    return letter.name.split("/")[1]


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _readable(data: bytes) -> Any:
    """Text where it is text, else base64 with a word that says so."""
    import base64

    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
