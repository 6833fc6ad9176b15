"""What must hold for any bytes from outside: a parser answers, or refuses with an error of ours.

`test_properties.py` tries each a little in every test run; `make fuzz MINUTES=10` tries them for long.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sartor.ingestion.v1 import ingestion_events_pb2
from sartor_cli.project_file import ProjectFileFaults, parse_project_file
from sartor_datasets import manifests
from sartor_datasets.strict_json import ManifestInvalid
from sartor_ingestion import events as data_events
from sartor_ingestion.formats import detection
from sartor_ingestion.formats.rows import FileUnreadable
from sartor_platform import events, listing, names
from sartor_platform.dead_letters import Record
from sartor_platform.errors import InvalidArgument, SartorError
from sartor_platform.partitions import decoded

PROPERTIES: dict[str, Callable[[], Callable[[], None]]] = {}
"""By name, what makes a fresh test of the property: settings and a seed may be given to each but once."""


def holds_for(**strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds a property: the function must come through for whatever these strategies make."""

    def add(check: Callable[..., None]) -> Callable[..., None]:
        PROPERTIES[check.__name__] = lambda: given(**strategies)(check)
        return check

    return add


@contextmanager
def refused_only(kind: type[Exception], *reasons: str) -> Iterator[None]:
    """Lets an error of this kind pass, and of these reasons where any are given."""
    try:
        yield
    except kind as error:
        if reasons and getattr(error, "reason", "") not in reasons:
            raise


RECORDS = ingestion_events_pb2.RecordsPublished.DESCRIPTOR.full_name
OBJECT = ingestion_events_pb2.ObjectPublished.DESCRIPTOR.full_name
_NAMES = st.sampled_from(
    ["ce_id", "ce_source", "ce_type", "ce_specversion", "ce_time", "ce_subject", "ce_sartorrun",
     "ce_sartorgeneration", "ce_traceparent", "content-type", "CE_ID"]
)  # fmt: skip
_TEXTS = st.sampled_from(
    ["1.0", "1", "/s", RECORDS, OBJECT, "application/json", "application/cloudevents+json",
     "application/protobuf", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59-14:00", "9" * 30, "-1", "\0", ""]
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_data = (
    st.binary(max_size=300)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {},
        optional={
            "source": st.sampled_from(["projects/p/sources/s", "", "projects/../sources/s", "\ud800"])
            | json_values,
            "records": st.lists(json_values, max_size=3) | json_values,
            "object": json_values | st.fixed_dictionaries({"uri": st.text(), "sizeBytes": json_values}),
            "format": json_values,
        },
    ).map(lambda value: json.dumps(value).encode())
    | st.integers(1, 100_000).map(lambda depth: b"[" * depth)
    | st.integers(1, 100_000).map(lambda depth: b'{"a":' * depth)
)
_headers = st.lists(
    st.tuples(_NAMES | st.text(max_size=10), _TEXTS.map(str.encode) | st.binary(max_size=40)), max_size=12
)
_complete = st.builds(
    lambda type_, more: [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"),
                         ("ce_type", type_.encode()), *more],
    st.sampled_from([RECORDS, OBJECT]), _headers,
)  # fmt: skip
_envelopes = st.dictionaries(
    st.sampled_from(["specversion", "id", "source", "type", "time", "subject", "data", "data_base64",
                     "datacontenttype", "sartorgeneration"]) | st.text(max_size=8),
    _TEXTS | json_values, max_size=12,
).map(lambda value: json.dumps(value).encode())  # fmt: skip
_STRUCTURED = [("content-type", b"application/cloudevents+json")]


@holds_for(
    headers=_headers | _complete | st.just(_STRUCTURED),
    value=_data | _envelopes | st.none(),
    timestamp=st.integers(-(2**63), 2**63 - 1),
)
def cloud_events(headers: list[tuple[str, bytes]], value: bytes | None, timestamp: int) -> None:
    """A message is an event or has a fault that says why not; what it holds can be kept by the database."""
    pending = decoded(Record("t", 0, 0, timestamp, b"k", value, headers))
    if pending.fault is not None:
        assert pending.fault.reason == "BAD_CLOUD_EVENT"
        assert "cannot be read" not in pending.fault.message, "the decoder itself broke"
        return
    event = pending.event
    for text in (event.id, event.source, event.type, event.subject, event.run, event.traceparent):
        assert "\0" not in text
        text.encode()
    assert 0 <= event.generation < 2**63
    with refused_only(events.BadEvent, "BAD_EVENT_DATA"):
        pending.parse()


@holds_for(headers=_complete, value=_data)
def data_event_handlers(headers: list[tuple[str, bytes]], value: bytes) -> None:
    """What ingestion makes of an event's data before it asks the database: rows, or an error of ours."""
    pending = decoded(Record("sartor.data", 0, 0, 0, b"k", value, headers))
    if pending.fault is not None:
        return
    try:
        pending.parse()
        if pending.type == RECORDS:
            list(data_events._delivery(pending.event).rows)
    except SartorError:
        return


_files = (
    st.binary(max_size=2000)
    | st.lists(json_values, max_size=8).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
    | st.lists(json_values, max_size=8).map(lambda rows: json.dumps(rows).encode())
    | st.lists(st.lists(st.text(max_size=12), min_size=1, max_size=4), max_size=6).map(
        lambda rows: "\n".join(",".join(cells) for cells in rows).encode("utf-8", "replace")
    )
    | st.sampled_from([b"PAR1", b"PK\x03\x04", b"%PDF-1.7", b"\x1f\x8b", b"<html>", b"\xff\xfe"]).flatmap(
        lambda magic: st.binary(max_size=500).map(lambda rest: magic + rest)
    )
    | st.integers(1, 50_000).map(lambda depth: b'{"a":' * depth + b"\n")
)


@holds_for(
    data=_files,
    name=st.sampled_from(
        ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.txt", "a.md", "a.pdf", "a.docx", "a.html", "a"]
    ),
)
def uploads(data: bytes, name: str) -> None:
    """A file is rows, rejected rows, or unreadable with a reason."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        with refused_only(FileUnreadable):
            data_format = detection.decide(path, file_name=name)
            for _ in detection.read(path, data_format):
                pass


_yaml = st.text(max_size=300) | json_values.map(json.dumps) | st.lists(
    st.sampled_from(
        ["project: shop\n", "sources:\n", "  - name: a\n", "    dataset: d\n", "    mapping: {prompt: q}\n",
         "curation:\n", "  - &a [*a]\n", "? [x]\n", "<<: *a\n", "!!python/object:os.system x\n", "\t",
         "gates: 3\n", "endpoints: {a: {b: c}}\n", "plans:\n  - name: !!binary x\n", "- " * 50, "{" * 90,
         "a: &x [*x, *x]\n"]
    ), max_size=12,
).map("".join)  # fmt: skip


@holds_for(text=_yaml)
def project_files(text: str) -> None:
    """A project file is read, or all its faults are told."""
    with refused_only(ProjectFileFaults):
        parse_project_file(text, Path("project.yaml"))


_PATTERN = names.pattern("projects/{project}/sources/{source}")


@holds_for(
    text=st.text(max_size=200)
    | st.from_regex(r"projects/[a-z0-9-]{1,70}/sources/[a-z0-9-]{1,70}", fullmatch=True)
)
def resource_names(text: str) -> None:
    """A name is parsed into ids that make the same name again, or refused."""
    with refused_only(InvalidArgument, "BAD_RESOURCE_NAME"):
        assert _PATTERN.format(**_PATTERN.parse(text)) == text


@holds_for(token=st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.hex()) | json_values.map(
    lambda v: listing.base64.urlsafe_b64encode(json.dumps(["f", v]).encode()).decode()
))  # fmt: skip
def page_tokens(token: str) -> None:
    """A token that we did not give is refused."""
    with refused_only(InvalidArgument, "BAD_PAGE_TOKEN"):
        assert len(listing._decode(token, "f", 2)) == 2


@holds_for(text=st.text(max_size=300) | st.text('abc =AND"\\', max_size=60))
def filters(text: str) -> None:
    """A filter is read, or refused; it takes no longer for being long."""
    with refused_only(InvalidArgument, "BAD_FILTER"):
        listing.parse_filter(text, ["a", "b", "c"])


@holds_for(data=_data)
def stored_manifests(data: bytes) -> None:
    """A manifest is whole, or invalid with the path of its fault."""
    for kind in (manifests.SnapshotManifest, manifests.CuratedManifest, manifests.BaseModelManifest):
        with refused_only(ManifestInvalid):
            kind.from_json(data)
