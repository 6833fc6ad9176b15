"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from sartor_edge.feedback_rule import Text

from sartor_cli.output import Format

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="SARTOR_HOME", help="The folder of the stack.", show_default=True)
]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to write the result.")]
Project = Annotated[
    str,
    typer.Option(
        "--project", "-p", envvar="SARTOR_PROJECT", help="The project; may be left out if there is only one."
    ),
]
FeedbackText = Annotated[
    Text | None,
    typer.Option(
        help="When question and answer go along with devices' feedback; else with corrections if it samples.",
        show_default=False,
    ),
]
