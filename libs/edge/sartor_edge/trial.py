"""Tries a bundle on a device before it serves: its engine comes up and answers known prompts as it should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sartor_edge.bundle import Manifest
from sartor_edge.channel import Head
from sartor_edge.engine import Check, EngineFailed, check, running
from sartor_edge.outcome import Outcome
from sartor_edge.state import State

_MOST_TRIES = 3


def try_bundle(
    home: Path,
    folder: Path,
    manifest: Manifest,
    head: Head,
    state: State,
    before: Callable[[str, str], None],
) -> tuple[Outcome | None, Check | None]:
    """What is wrong with it here, or None, and what the known prompts showed.

    The try is written down before it begins, so that what takes the whole machine down is not tried for ever.

    Args:
        before: told revision and manifest when the engine is about to be started.
    Raises:
        NoEngine: that is no fault of the bundle.
    """
    died = state.tries if state.trying == head.manifest_sha256 else 0
    if died >= _MOST_TRIES:
        state.trying, state.tries = "", 0
        why = f"the update ended {died} times without a word while its engine was tried"
        return _went_back(head, why, "DIED_TRYING", None), None
    state.trying, state.tries = head.manifest_sha256, died + 1
    state.write(home)
    before(head.revision, head.manifest_sha256)
    try:
        why, reason, found = _fault(folder, manifest)
    finally:
        state.trying, state.tries = "", 0
        state.write(home)
    return (_went_back(head, why, reason, found) if why else None), found


def _went_back(head: Head, why: str, reason: str, found: Check | None) -> Outcome:
    return Outcome("WENT_BACK", head.revision, why, reason, found)


def _fault(folder: Path, manifest: Manifest) -> tuple[str, str, Check | None]:
    """What is wrong with a bundle's engine on this device, or "", and what the known prompts showed."""
    try:
        with running(folder) as port:
            found = check(folder, port)
    except EngineFailed as error:
        return str(error), "ENGINE_FAILED", None
    if found.share >= manifest.settings.least_agreement:
        return "", "", found
    why = (
        f"it answered {found.agreed} of {found.probes} known prompts as where it was built,"
        f" {manifest.settings.least_agreement:.0%} are needed"
    )
    return why, "WRONG_ANSWERS", found
