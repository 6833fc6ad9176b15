"""`python -m sartor_edge COMMAND`: update, serve, back, report, feedback on devices; else for their owner."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sartor_edge import note_command, owner
from sartor_edge.bundle import BadBundle, verify_bundle
from sartor_edge.download import NoNetwork, NoSpace
from sartor_edge.engine import NoEngine
from sartor_edge.feedback import FeedbackBuffer
from sartor_edge.feedback_rule import remember_served
from sartor_edge.identity import device_id
from sartor_edge.memory import NoMemory, Service
from sartor_edge.outcome import Outcome
from sartor_edge.report import TRYING, Journal, ask_serving, send
from sartor_edge.rings import BadRings
from sartor_edge.signing import UnusableKey, WrongSignature, make_key
from sartor_edge.updater import Busy, Device

_LATER = {NoNetwork: "NO_NETWORK", NoSpace: "NO_SPACE", NoMemory: "NO_MEMORY", NoEngine: "NO_ENGINE"}
_DAY_SECONDS = 86400.0


def main(argv: Sequence[str] | None = None) -> int:
    """0 well, 1 refused or went back, 2 no network, space, memory, engine or passed rule: try again later."""
    given = _parser().parse_args(argv)
    try:
        return _COMMANDS[given.command](given)
    except (*_LATER, Busy) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (BadBundle, BadRings, WrongSignature, UnusableKey) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n" if error.filename else f"{error}\n")
        return 1


def _keygen(given: argparse.Namespace) -> int:
    make_key(given.private, given.public)
    return 0


def _verify(given: argparse.Namespace) -> int:
    manifest = verify_bundle(given.bundle, given.public)
    return _say(Outcome("WHOLE", manifest.settings.revision, f"{manifest.size_bytes / 1e6:.1f} MB"))


def _feedback(given: argparse.Namespace) -> int:
    done = FeedbackBuffer(given.home / "feedback.jsonl").send(given.gateway, given.api_key)
    text = f"{done.sent} sent, {done.refused} refused, {done.waiting} wait"
    _say(Outcome("WAITING" if done.waiting else "SENT", "", f"{text}; {done.why}" if done.why else text))
    return 2 if done.waiting else 0


def _update(given: argparse.Namespace) -> int:
    def before(revision: str, manifest_sha256: str) -> None:
        journal.note(Outcome(TRYING, revision, ""), manifest_sha256)
        _send(given, device, journal)

    journal = Journal(given.home)
    service = Service(*given.make_room) if given.make_room else None
    device = Device(
        given.home, given.channel_url, given.public, ring=given.ring, before_try=before, service=service
    )
    try:
        outcome = device.update(again=given.again)
    except (*_LATER, UnusableKey, OSError) as error:
        reason = _LATER.get(type(error), "NOT_READABLE")
        journal.note(Outcome("WAITING", "", str(error), reason))
        _send(given, device, journal)
        raise
    journal.note(outcome)
    _send(given, device, journal, fresh=outcome.word == "UPDATED")
    return _say(outcome)


def _report(given: argparse.Namespace) -> int:
    device = Device(given.home, "", given.public, ring=given.ring)
    if _send(given, device, Journal(given.home)):
        return 2
    return _say(Outcome("REPORTED", "", f"as device {device_id(given.home)}"))


def _send(given: argparse.Namespace, device: Device, journal: Journal, *, fresh: bool = False) -> str:
    """Send what is so, where the owner said whither. What serves is asked unless it is not started yet."""
    if given.reports is None:
        return ""
    facts, current, found, unhealthy = device.facts(), device.current, None, ""
    if given.port and not fresh and facts.runs is not None and current is not None:
        found, unhealthy = ask_serving(current, given.port, given.public)
    value = journal.report(facts, found, unhealthy)
    waits = send(given.home, given.reports, value, given.authorization)
    sys.stderr.write(f"{waits}\n" if waits else "")
    return waits


def _back(given: argparse.Namespace) -> int:
    outcome = Device(given.home, "", given.public).go_back()
    Journal(given.home).note(outcome)
    return _say(outcome)


def _serve(given: argparse.Namespace) -> int:
    device = Device(given.home, "", given.public)
    outcome = device.ensure_whole()
    if outcome.word != "CURRENT":
        Journal(given.home).note(outcome)
    said = _say(outcome)
    if outcome.word == "REFUSED" or device.current is None:
        return said  # what is not as it was signed is never started
    remember_served(given.home, device.current)
    sys.stdout.flush()
    return os.execv("/bin/sh", ["/bin/sh", str(device.current / "start.sh")])  # noqa: S606 - the bundle's own


def _say(outcome: Outcome) -> int:
    sys.stdout.write(f"{outcome.word} {outcome.revision} {outcome.message}".replace("  ", " ") + "\n")
    return 1 if outcome.word in ("REFUSED", "WENT_BACK") else 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "keygen": _keygen,
    "verify": _verify,
    "publish": lambda given: _say(owner.publish_bundle(given)),
    "rings": owner.rings,
    "promote": owner.promote,
    "recall": owner.recall,
    "fleet": owner.fleet,
    "update": _update,
    "report": _report,
    "serve": _serve,
    "back": _back,
    "note": note_command.run,
    "feedback": _feedback,
}
_PATHS = {
    "keygen": ("private", "public"),
    "publish": ("bundle", "channel", "private", "public"),
    "verify": ("bundle", "public"),
    "rings": ("channel", "public"),
    "promote": ("channel", "private", "public"),
    "recall": ("channel", "private", "public"),
    "fleet": ("channel", "public", "reports"),
    "update": ("home", "public"),
    "report": ("home", "public"),
    "serve": ("home", "public"),
    "back": ("home", "public"),
    "note": ("home",),
    "feedback": ("home",),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sartor_edge", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    made = {name: commands.add_parser(name) for name in _PATHS}
    for name, paths in _PATHS.items():
        for path in paths:
            made[name].add_argument(f"--{path}", type=Path, required=True)
    made["update"].add_argument("--channel-url", required=True)
    made["update"].add_argument("--again", action="store_true", help="also what failed here before")
    made["update"].add_argument(
        "--make-room", nargs=2, metavar=("STOP", "START"), help="commands for `serve`, if memory is short"
    )
    for name in ("update", "report"):
        made[name].add_argument("--ring", default="", help="the ring of this device; else by its id")
        made[name].add_argument("--reports", required=name == "report", help="URL for PUT, or a folder")
        made[name].add_argument("--port", type=int, help="where `serve` listens: its answers are reported")
        made[name].add_argument(
            "--authorization", default=os.environ.get("SARTOR_REPORTS_AUTHORIZATION", ""), help="HTTP header"
        )
    made["publish"].add_argument("--ring", default="", help="the ring that gets it; else the first")
    made["rings"].add_argument("--set", nargs="+", metavar="RING=PERCENT", help="each with those before it")
    made["rings"].add_argument("--private", type=Path)
    made["recall"].add_argument("--revision", required=True)
    _add_promotion(made["promote"])
    made["fleet"].add_argument("--json", action="store_true")
    made["fleet"].add_argument("--silent-seconds", type=float, default=_DAY_SECONDS)
    for name in ("fleet", "promote"):
        made[name].add_argument("--devices", type=Path, help="ids that count, one a line, each with a name")
    note_command.add_arguments(made["note"])
    made["feedback"].add_argument("--gateway", required=True)
    made["feedback"].add_argument("--api-key", default=os.environ.get("SARTOR_API_KEY", ""))
    return parser


def _add_promotion(command: argparse.ArgumentParser) -> None:
    command.add_argument("--ring", default="", help="only this ring's bundle, to the next ring")
    command.add_argument(
        "--when", nargs="+", metavar="RULE", help="devices=3 share=90%% healthy=1h failures=0"
    )
    command.add_argument("--reports", type=Path, help="the folder of the devices' reports")
    command.add_argument("--or-recall", action="store_true", help="call back what too many devices refuse")


if __name__ == "__main__":
    sys.exit(main())
