"""`sartor evaluate`: asks for an evaluation of your own, follows it and shows its figures."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn
from sartor.evaluation.v1.evaluation_pb2 import (
    Answer,
    AnswerList,
    Candidate,
    Evaluation,
    Item,
    ItemList,
    ModelService,
)
from sartor.evaluation.v1.evaluation_service_pb2 import CreateEvaluationRequest, WatchEvaluationRequest

from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.options import DataDir, Output, Project
from sartor_cli.output import Format, console, duration, print_detail
from sartor_cli.projects import choose_project
from sartor_cli.scores import comparison_table, score_table
from sartor_cli.words import state_word

MOST_ITEMS = 1000


def evaluate(
    candidate: Annotated[
        list[str],
        typer.Option(
            "--candidate",
            "-c",
            help="baseModels/B, models/M/versions/V, endpoints/E, https://HOST/v1#MODEL or "
            "answers:FILE.jsonl; ID=… names it, @3 adds examples.",
        ),
    ],
    curation: Annotated[str, typer.Option(help="Ask the test split of this curation.")] = "",
    items: Annotated[Path | None, typer.Option(help="Or ask the items of this JSONL file.")] = None,
    suite: Annotated[list[str] | None, typer.Option("--suite", help="Also or instead this suite.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="Also ask each model with this prompt.")
    ] = None,
    cost: Annotated[
        list[int] | None, typer.Option("--cost", min=1, help="Measure cost at so many clients.")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="Show only this metric.")] = None,
    max_items: Annotated[int, typer.Option(min=0, help="Most items; 0 takes all.")] = 0,
    general: Annotated[
        bool, typer.Option("--general", help="Also the general suite, against forgetting.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")] = True,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Compare base models, prompts and model versions on the same items.

    A line of the JSONL file is {"prompt": …, "reference": …}, and may have "id", "system", "label",
    "language", "cluster", "choices", "pattern", "schema" and "slices". A line of answers is
    {"item_id": …, "text": …}.
    What you ask for here never triggers a deployment.

    \b
    Examples:
      sartor evaluate -c baseModels/smollm2 -c tuned=models/support/versions/v1 --curation 01jd…
      sartor evaluate -c base=baseModels/smollm2@3 --items questions.jsonl
      sartor evaluate -c baseModels/smollm2 --prompt brief --cost 1 --cost 8 --items questions.jsonl
      sartor evaluate -c live=endpoints/support -c old=answers:old.jsonl --items questions.jsonl
    """
    if (curation and items is not None) or not (curation or items is not None or suite):
        raise CommandFailed(
            "Say what to ask: one of --curation and --items, or --suite.", "See sartor evaluate --help", 2
        )
    with Sartor.local(data_dir) as sartor:
        root = choose_project(sartor, project)
        wanted = Evaluation(
            candidates=[parse_candidate(root, each) for each in candidate],
            general_suite="builtin" if general else "",
            max_items=max_items,
            suites=[each if "/" in each else f"{root}/suites/{each}" for each in suite or ()],
            prompts=[each if "/" in each else f"{root}/prompts/{each}" for each in prompt or ()],
            cost_clients=cost or (),
            metrics=metric or (),
        )
        if items is not None:
            wanted.inline_items.CopyFrom(ItemList(items=read_items(items)))
        elif curation:
            wanted.curation = curation if "/" in curation else f"{root}/curations/{curation}"
        request = CreateEvaluationRequest(parent=root, evaluation=wanted, request_id=str(uuid.uuid4()))
        made = sartor.ask(sartor.evaluation.CreateEvaluation, request)
        done = _follow(sartor, made) if wait else made
    if output is not Format.TABLE:
        print_detail(done, output)
    elif wait:
        console.print(score_table(done.scores))
        console.print(comparison_table(done.comparisons))
        for note in done.notes:
            console.print(note)
        console.print(f"Every item: sartor get answers {done.name.rpartition('/')[2]}")
    else:
        console.print(
            f"Asked for: {done.name}. See it with: sartor get evaluations {done.name.rpartition('/')[2]}"
        )
    if state_word(done.job.state) in ("failed", "cancelled"):
        raise CommandFailed(f"The evaluation {state_word(done.job.state)}: {done.job.error.message}")


def parse_candidate(project: str, text: str) -> Candidate:
    """Reads "tuned=models/m/versions/v", "baseModels/b@3", "endpoints/e", "URL#model" or "answers:FILE"."""
    other = _parse_other(project, text)
    if other is not None:
        return other
    given, _, shots = text.partition("@")
    name, mark, path = given.partition("=")
    if not mark:
        name, path = "", given
    path = path.removeprefix(f"{project}/")
    parts = path.split("/")
    if shots and not shots.lstrip("-").isdigit():
        raise CommandFailed(
            f"{shots!r} in {text!r} is not a number of examples.", "Write @3, or @-1 for the best.", 2
        )
    count = int(shots) if shots else 0
    if parts[0] == "baseModels" and len(parts) == 2:
        return Candidate(
            id=name or ("prompted" if count else "base"), base_model=f"{project}/{path}", shots=count
        )
    if parts[0] == "models" and len(parts) == 4 and parts[2] == "versions":
        return Candidate(id=name or "tuned", model_version=f"{project}/{path}", shots=count)
    raise CommandFailed(
        f"{text!r} is not a candidate.",
        "Write baseModels/BASE, models/MODEL/versions/VERSION, endpoints/ENDPOINT, URL#MODEL or "
        "answers:FILE.jsonl, as ID=… if you like.",
        2,
    )


def _parse_other(project: str, text: str) -> Candidate | None:
    """A candidate that is no model of ours: an endpoint, a URL, or a file of answers; else None."""
    name, mark, given = text.partition("=")
    if not mark or "://" in name or ":" in name:
        name, given = "", text
    if given.startswith(("http://", "https://")):
        url, _, model = given.rpartition("#")
        if not url:
            raise CommandFailed(f"{given!r} names no model.", "Write URL#MODEL.", 2)
        return Candidate(id=name or "service", service=ModelService(url=url, model=model))
    if given.startswith("answers:"):
        return Candidate(id=name or "answers", answers=read_answers(Path(given.removeprefix("answers:"))))
    path = given.removeprefix(f"{project}/")
    if path.startswith("endpoints/") and path.count("/") == 1:
        return Candidate(id=name or "live", endpoint=f"{project}/{path}")
    return None


def read_answers(file: Path) -> AnswerList:
    """The answers of a JSONL file."""
    answers: list[Answer] = []
    for line in filter(str.strip, _lines(file)):
        try:
            row = json.loads(line)
            answers.append(Answer(item_id=str(row["item_id"]), text=str(row["text"])))
        except (ValueError, KeyError, TypeError):
            fault = f"line {len(answers) + 1} of {file} is no answer: {line[:80]}"
            raise CommandFailed(fault, 'Each line is {"item_id": …, "text": …}.', 2) from None
    return AnswerList(answers=answers)


def read_items(file: Path) -> Sequence[Item]:
    """The items of a JSONL file; every faulty line is reported at once."""
    items: list[Item] = []
    faults: list[str] = []
    known = {field.name for field in Item.DESCRIPTOR.fields}
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
            unknown = sorted(set(row) - known)
            if not row.get("prompt"):
                raise ValueError("has no prompt")
            if unknown:
                raise ValueError(
                    f"has unknown fields {', '.join(unknown)}; known are {', '.join(sorted(known))}"
                )
            items.append(Item(**{key: _value(value) for key, value in row.items()}))
        except (ValueError, AttributeError, TypeError) as error:
            faults.append(f"{file}:{number}: {error}")
    if faults:
        raise CommandFailed("\n".join(faults[:20]), "Mend these lines; nothing was asked.", 2)
    if not 0 < len(items) <= MOST_ITEMS:
        raise CommandFailed(f"{file} has {len(items)} items.", f"Give 1 to {MOST_ITEMS:,}.", 2)
    return items


def _lines(file: Path) -> list[str]:
    """Not str.splitlines(): it would also split at U+2028, which JSON may hold as it is."""
    try:
        return file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file} cannot be read: {error}.", "Check the path.", 2) from None


def _value(value: Any) -> Any:
    """A field's value as the message wants it: texts, lists of texts and maps of texts."""
    if isinstance(value, list):
        return [str(each) for each in value]
    if isinstance(value, dict):
        return {str(key): str(each) for key, each in value.items()}
    return str(value)


def _follow(sartor: Sartor, made: Evaluation) -> Evaluation:
    done = made
    columns = (TextColumn("Evaluating"), BarColumn(), TextColumn("{task.percentage:.0f}% {task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=1.0)
        for done in sartor.watch(sartor.evaluation.WatchEvaluation, WatchEvaluationRequest(name=made.name)):
            now = done.job.progress
            left = f", {duration(now.eta.seconds)} left" if now.HasField("eta") else ""
            progress.update(task, completed=now.fraction, description=f"{now.message or now.stage}{left}")
    return done
