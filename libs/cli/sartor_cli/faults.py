"""The one kind of error a command ends with: what happened and what to do next, never a stack trace."""

from __future__ import annotations


class CommandFailed(Exception):
    """Ends a command with a message for people.

    Args:
        message: what happened.
        advice: what to do next.
        status: exit status of the command.
    """

    def __init__(self, message: str, advice: str = "", status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.status = status
