"""What users say of a device's answers: checked at once, with its revision and only the text that may go."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sartor_edge.bundle import BundleSettings, make_bundle
from sartor_edge.feedback import FeedbackBuffer
from sartor_edge.feedback_rule import RULE, FeedbackRule, Text
from sartor_edge.note import BadNote, keep_notes
from sartor_edge.signing import make_key

REVISION = "projects/desk/endpoints/support/revisions/r3"
ASKED = [{"role": "user", "content": "Where is a@example.org?"}]


def home(tmp_path: Path, text: Text = Text.CORRECTIONS, revision: str = REVISION) -> Path:
    """A device's folder that has this revision."""
    (tmp_path / "current").mkdir(exist_ok=True)
    FeedbackRule(revision, text).write(tmp_path / "current" / RULE)
    return tmp_path


def kept(folder: Path, note: dict[str, Any]) -> dict[str, Any]:
    """How a note is kept."""
    keep_notes(folder, [note])
    return FeedbackBuffer(folder / "feedback.jsonl").waiting()[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"request_id": " "}, "id is missing"),
        ({"request_id": 5}, "must be text"),
        ({"thumbs": "sideways"}, "thumbs are"),
        ({"score": 1}, "without a score"),
        ({"thumbs": None, "score": 1.5}, "from 0 to 1"),
        ({"thumbs": None, "score": True}, "from 0 to 1"),
        ({"thumbs": None, "comment": " "}, "say something"),
        ({"correction": "x" * 20_001}, "at most 20000"),
        ({"comment": "\ud800"}, "broken ones"),
        ({"stars": 5}, "'stars' is not known"),
        ({"messages": [{"role": "user"}]}, "a role and a content"),
        ({"messages": "Where?"}, "a list"),
    ],
)
def test_a_note_that_no_gateway_takes_is_told_at_once(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """Nothing is kept, of the notes beside it neither; so all can be given again."""
    good = {"request_id": "chatcmpl-1", "thumbs": "up"}
    with pytest.raises(BadNote, match=f"note 2: .*{said}"):
        keep_notes(home(tmp_path), [good, {**good, **changes}])
    assert FeedbackBuffer(tmp_path / "feedback.jsonl").waiting() == []


@pytest.mark.parametrize(
    ("text", "correction", "goes"),
    [
        (Text.NEVER, "In dock 3.", False),
        (Text.CORRECTIONS, None, False),
        (Text.CORRECTIONS, "In dock 3.", True),
        (Text.ALWAYS, None, True),
    ],
)
def test_text_goes_along_where_the_bundle_lets_it(
    tmp_path: Path, text: Text, correction: str | None, goes: bool
) -> None:
    """Masked on the device already, one number for one value; the revision goes along always."""
    note = {"request_id": "chatcmpl-1", "score": 0, "correction": correction}
    found = kept(home(tmp_path, text), {**note, "messages": ASKED, "answer": "a@example.org is away"})
    assert found["device"]["revision"] == REVISION
    assert ("messages" in found["device"]) is goes
    if goes:
        assert found["device"]["messages"][0]["content"] == "Where is [EMAIL_1]?"
        assert found["device"]["answer"] == "[EMAIL_1] is away"
    assert ASKED[0]["content"] == "Where is a@example.org?"


def test_a_bundle_that_does_not_tell_its_revision_sends_the_id_alone(tmp_path: Path) -> None:
    """As before there were rules; and the note says what will not come of it."""
    found = kept(home(tmp_path, revision=""), {"request_id": "chatcmpl-1", "thumbs": "down", "id": ""})
    assert set(found) == {"id", "request_id", "thumbs"}
    assert found["id"].startswith("fb-")
    assert "does not tell its revision" in keep_notes(tmp_path, [{"request_id": "1", "score": 1}]).hint


def test_a_note_is_about_what_serves_not_about_what_was_updated_to(tmp_path: Path) -> None:
    """An update changes `current`; the engine goes on until it is started again."""
    make_key(tmp_path / "private.pem", tmp_path / "public.pem")
    key, template = b"tokenizer.chat_template", b"{{ messages }}"
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(b"GGUF" + key + struct.pack("<IQ", 8, len(template)) + template)
    settings = BundleSettings("r3", "v3", 3, "support")
    rule = FeedbackRule(REVISION, Text.NEVER)
    make_bundle(tmp_path / "current", weights, settings, [], tmp_path / "private.pem", rule)
    call = [sys.executable, "-m", "sartor_edge", "--home", str(tmp_path)]
    serve = [*call[:3], "serve", *call[3:], "--public", str(tmp_path / "public.pem")]
    nothing = {**os.environ, "PATH": "/usr/bin:/bin", "PYTHON": "/nonexistent/python"}
    assert subprocess.run(serve, env=nothing, capture_output=True, check=False).returncode == 127
    FeedbackRule("projects/desk/endpoints/support/revisions/r4").write(tmp_path / "current" / RULE)
    notes = '{"request_id": "chatcmpl-1", "thumbs": "up"}\n\n{"request_id": "chatcmpl-2", "thumbs": "down"}\n'
    note = [*call[:3], "note", *call[3:], "--json"]
    done = subprocess.run(note, input=notes, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "KEPT 2, 2 wait\n")
    waiting = [json.loads(line) for line in (tmp_path / "feedback.jsonl").read_text().splitlines()]
    assert [each["device"]["revision"] for each in waiting] == [REVISION, REVISION]
