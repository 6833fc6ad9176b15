"""`python -m sartor_edge keygen|publish|verify|update|serve|back|feedback`: for operators, and on devices."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sartor_edge.bundle import BadBundle, verify_bundle
from sartor_edge.channel import publish
from sartor_edge.download import NoNetwork, NoSpace
from sartor_edge.engine import NoEngine
from sartor_edge.feedback import FeedbackBuffer
from sartor_edge.signing import UnusableKey, WrongSignature, make_key
from sartor_edge.updater import Busy, Device, Outcome


def main(argv: Sequence[str] | None = None) -> int:
    """0 well, 1 refused or went back, 2 no network, space or engine: try again later."""
    given = _parser().parse_args(argv)
    try:
        return _run(given)
    except (NoNetwork, NoSpace, NoEngine, Busy) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (BadBundle, WrongSignature, UnusableKey, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(given: argparse.Namespace) -> int:
    if given.command == "keygen":
        make_key(given.private, given.public)
        return 0
    if given.command == "publish":
        head = publish(given.bundle, given.channel, given.private, given.public)
        return _say(Outcome("PUBLISHED", head.revision, f"sequence {head.sequence}"))
    if given.command == "verify":
        manifest = verify_bundle(given.bundle, given.public)
        return _say(Outcome("WHOLE", manifest.settings.revision, f"{manifest.size_bytes / 1e6:.1f} MB"))
    if given.command == "feedback":
        done = FeedbackBuffer(given.home / "feedback.jsonl").send(given.gateway, given.api_key)
        text = f"{done.sent} sent, {done.refused} refused, {done.waiting} wait"
        _say(Outcome("WAITING" if done.waiting else "SENT", "", f"{text}; {done.why}" if done.why else text))
        return 2 if done.waiting else 0
    device = Device(given.home, getattr(given, "channel_url", ""), given.public)
    if given.command == "update":
        return _say(device.update(again=given.again))
    if given.command == "back":
        return _say(device.go_back())
    outcome = device.ensure_whole()
    said = _say(outcome)
    if outcome.word == "REFUSED" or device.current is None:
        return said  # what is not as it was signed is never started
    sys.stdout.flush()
    return os.execv("/bin/sh", ["/bin/sh", str(device.current / "start.sh")])  # noqa: S606 - the bundle's own


def _say(outcome: Outcome) -> int:
    sys.stdout.write(f"{outcome.word} {outcome.revision} {outcome.message}".replace("  ", " ") + "\n")
    return 1 if outcome.word in ("REFUSED", "WENT_BACK") else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sartor_edge", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    arguments = {
        "keygen": ("private", "public"),
        "publish": ("bundle", "channel", "private", "public"),
        "verify": ("bundle", "public"),
        "update": ("home", "public"),
        "serve": ("home", "public"),
        "back": ("home", "public"),
        "feedback": ("home",),
    }
    for name, paths in arguments.items():
        command = commands.add_parser(name)
        for path in paths:
            command.add_argument(f"--{path}", type=Path, required=True)
    commands.choices["update"].add_argument("--channel-url", required=True)
    commands.choices["update"].add_argument(
        "--again", action="store_true", help="also what failed here before"
    )
    commands.choices["feedback"].add_argument("--gateway", required=True)
    commands.choices["feedback"].add_argument("--api-key", default=os.environ.get("SARTOR_API_KEY", ""))
    return parser


if __name__ == "__main__":
    sys.exit(main())
