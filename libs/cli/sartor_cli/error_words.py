"""Every error as words and an exit status: what happened, and what to do next."""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path

from sartor_local.faults import LocalError
from sartor_platform.errors import InvalidArgument, NotFound, SartorError, Unavailable

from sartor_cli.faults import CommandFailed
from sartor_cli.output import errors
from sartor_cli.project_file import ProjectFileFaults


def tell(error: Exception) -> int:
    """Writes the error for people and returns the exit status."""
    match error:
        case CommandFailed():
            _write(error.message, error.advice)
            return error.status
        case ProjectFileFaults():
            _write(str(error), "Mend these lines and apply the file again.")
            return 2
        case LocalError():
            _write(str(error))
            return 1
        case SartorError():
            _write(*_service_words(error))
            return 1
        case OSError():
            where = f" ({error.filename})" if error.filename else ""
            _write(f"{error.strerror or error}{where}", "Check the path, the rights and the free disk space.")
            return 1
        case _:
            _write(*_unexpected(error))
            return 1


def _service_words(error: SartorError) -> tuple[str, str]:
    message = f"{error.message} ({error.reason})"
    if isinstance(error, InvalidArgument) and error.violations:
        faults = "\n".join(f"  {each.field}: {each.description}" for each in error.violations)
        return f"{message}\n{faults}", ""
    if isinstance(error, Unavailable):
        return message, "Is the stack running? See `sartor status` and `sartor logs`."
    if isinstance(error, NotFound):
        return message, "List what there is with `sartor get KIND`."
    return message, ""


def _unexpected(error: Exception) -> tuple[str, str]:
    """A fault of Sartor itself: the trace goes into a file that can be sent to whoever maintains it."""
    home = Path(os.environ.get("SARTOR_HOME", ".sartor")) / "logs"
    folder = str(home) if home.is_dir() else None
    descriptor, path = tempfile.mkstemp(prefix="sartor-error-", suffix=".txt", dir=folder)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(traceback.format_exception(error))
    return f"Something unexpected went wrong: {type(error).__name__}: {error}", f"Its details are in {path}"


def _write(message: str, advice: str = "") -> None:
    errors.print("[bold red]Error:[/] ", end="")
    errors.print(message, markup=False, soft_wrap=True)
    if advice:
        errors.print(advice, markup=False, soft_wrap=True)
