"""Why an engine does not run, for those who cannot see its machine: no path and no stack trace."""

from __future__ import annotations

import re
import signal

_PATH = re.compile(r"(?<![\w:/.])/(?:[^\s'\"`|:;,()<>]+/)*([^\s'\"`|:;,()<>]*)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ENDED = re.compile(r"^(signal|status) (\d+)$")
_TRACE = ("Traceback (", 'File "', "During handling of", "The above exception")
NEXT = "`sartor logs deployment-agent` has all it said"


def in_words(message: str) -> str:
    """The engine's last words, or an error's, as a user may read them."""
    said: list[str] = []
    skipped = False
    for part in message.split(" | "):
        # Of a stack trace only its end says what was wrong: each place is followed by its line of code.
        if part.strip().startswith(_TRACE) or not part.strip(" ^~"):
            skipped = part.strip().startswith('File "')
            continue
        if not skipped:
            said.append(_PATH.sub(_without_folder, _ended(part)))
        skipped = False
    return ": ".join([said[0], " | ".join(said[1:])]) if len(said) > 1 else "".join(said)


def _without_folder(found: re.Match[str]) -> str:
    name = found[1]
    return "the weights" if _DIGEST.fullmatch(name) else name or "a folder"


def _ended(part: str) -> str:
    found = _ENDED.match(part)
    if found is None:
        return part
    number = int(found[2])
    if found[1] == "status":
        return f"it ended by itself (status {number})"
    if number == signal.SIGKILL:
        return "it was killed (signal 9): most often because the machine's memory was used up"
    return f"it crashed (signal {number})"
