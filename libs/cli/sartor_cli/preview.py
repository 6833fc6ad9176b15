"""What an import would bring, as it is shown before anything is kept."""

from __future__ import annotations

from sartor.ingestion.v1.dataset_pb2 import Import, ImportPreview, PreviewRecord
from sartor.ingestion.v1.source_pb2 import DataFormat, RecordKind

from sartor_cli.output import Column, console, heading, table

_CELL = 70


def show_preview(done: Import) -> None:
    """Format, shape, mapping, counts, and the first records."""
    seen = done.preview
    form = DataFormat.Name(done.format).removeprefix("DATA_FORMAT_").lower()
    details = ", ".join(seen.details)
    console.print(f"{done.file_name}: [bold]{form}[/]" + (f" ({details})" if details else ""), soft_wrap=True)
    if seen.file_count > 1:
        console.print(f"{seen.file_count:,} files")
    shapes = ", ".join(f"{each.shape} {each.count:,}" for each in seen.shapes)
    console.print(f"Shape: {shapes or 'no rows'}")
    if seen.fields:
        console.print(f"Fields: {', '.join(seen.fields)}", soft_wrap=True, markup=False)
    console.print(
        f"Would bring [green]{done.accepted_count:,} records[/], "
        f"reject [{'red' if done.rejected_count else 'green'}]{done.rejected_count:,} rows[/]."
    )
    for reason, count in sorted(seen.rejected_by_reason.items(), key=lambda item: -item[1]):
        console.print(f"  {reason} {count:,}")
    for breach in seen.breaches:
        console.print(
            f"  contract {breach.rule}: {breach.count:,} rows; the last: {breach.message}", markup=False
        )
    _show_suggestion(seen, used=not done.accepted_count)
    if seen.records:
        heading(
            "The first records" + (", as the suggested mapping makes them" if not done.accepted_count else "")
        )
        console.print(table(list(seen.records), _RECORDS))
    if seen.rejected:
        heading("The first rejected rows")
        for row in seen.rejected[:5]:
            console.print(f"{row.position.partition('#')[2]}: {row.reason}: {row.message}", markup=False)
    console.print("\nNothing was kept. Run it without --preview to import.")


def _show_suggestion(seen: ImportPreview, *, used: bool) -> None:
    suggested = seen.suggested_mapping
    lines = []
    if suggested.kind:
        lines.append(f"kind: {RecordKind.Name(suggested.kind).removeprefix('RECORD_KIND_').lower()}")
    for name in ("prompt", "completion", "text", "label", "key", "subject"):
        if getattr(suggested, name):
            lines.append(f"{name}: {getattr(suggested, name)}")
    if suggested.attributes:
        lines.append(f"attributes: [{', '.join(suggested.attributes)}]")
    if lines:
        why = (
            "Its rows do not fit the source's mapping; this would" if used else "These fields would fit, too"
        )
        console.print(f"{why} (in the project file, below the source):")
        console.print("  mapping:\n" + "\n".join(f"    {line}" for line in lines), markup=False)


def _content(record: PreviewRecord) -> str:
    turns = [f"{turn.role}: {turn.content}" for turn in record.messages]
    turns += [
        f"{name}: {text}" for name, text in (("chosen", record.chosen), ("rejected", record.rejected)) if text
    ]
    return "\n".join(" ".join(each.split())[:_CELL] for each in turns or [record.text])


_RECORDS = (
    Column[PreviewRecord]("KIND", lambda each: each.op if each.op == "withdraw" else each.kind),
    Column[PreviewRecord]("CONTENT", _content),
    Column[PreviewRecord]("LABEL", lambda each: each.label),
    Column[PreviewRecord]("KEY", lambda each: each.record_key[:24]),
    Column[PreviewRecord](
        "ATTRIBUTES", lambda each: ", ".join(f"{k}={v[:24]}" for k, v in sorted(each.attributes.items()))
    ),
)
