"""`python -m sartor_edge note`: what a user or an application says of an answer, kept until it is sent."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sartor_edge.feedback import FeedbackBuffer
from sartor_edge.note import BadNote, BufferFull, keep_notes, read_notes


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes beside the device's folder."""
    command.add_argument("--id", default="", help="the answer's id, as the engine gave it")
    command.add_argument("--thumbs", choices=("up", "down"))
    command.add_argument("--score", type=float, help="0 to 1, instead of thumbs")
    command.add_argument("--correction", help="what the answer should have been")
    command.add_argument("--comment")
    command.add_argument("--question", help="what was asked; with it a correction can be learned from")
    command.add_argument("--answer", help="what was answered")
    command.add_argument(
        "--json",
        action="store_true",
        help="notes from standard input instead, one JSON object a line:"
        ' {"request_id", "thumbs" or "score", "correction", "comment", "messages", "answer"}',
    )


def run(given: argparse.Namespace) -> int:
    """0 kept, 1 of a wrong form, 2 what waits fills the buffer."""
    try:
        kept = keep_notes(given.home, read_notes(sys.stdin) if given.json else [_note(given)])
    except BadNote as error:
        sys.stderr.write(f"nothing was kept: {error}\n")
        return 1
    except BufferFull as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stderr.write(f"{kept.hint}\n" if kept.hint else "")
    waiting = len(FeedbackBuffer(given.home / "feedback.jsonl").waiting())
    sys.stdout.write(f"KEPT {kept.count}, {waiting} wait\n")
    return 0


def _note(given: argparse.Namespace) -> dict[str, Any]:
    note = {
        "request_id": given.id,
        "thumbs": given.thumbs,
        "score": given.score,
        "correction": given.correction,
        "comment": given.comment,
        "answer": given.answer,
    }
    if given.question:
        note["messages"] = [{"role": "user", "content": given.question}]
    return note
