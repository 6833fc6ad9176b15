"""Charts as inline SVG, drawn from plain figures: bars, paired bars, a stacked bar, a histogram."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_ROW = 30
_VALUE = 70
_WIDTH = 760


@dataclass(frozen=True, slots=True)
class _Frame:
    """Width of a bar chart, of its labels and of the longest bar, in pixels at full size."""

    width: int
    label: int

    @property
    def longest(self) -> int:
        return self.width - self.label - 2 * _VALUE


_WHOLE_LINE = _Frame(_WIDTH, 190)
_HALF_LINE = _Frame(440, 120)


def bars(counts: Mapping[str, int], colour: str = "accent", title: str = "") -> str:
    """Horizontal bars, longest first, with their counts and share of the sum."""
    if not counts:
        return _nothing()
    total, most = sum(counts.values()), max(counts.values())
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    rows = [
        _label(_WHOLE_LINE, number, name)
        + _bar(_WHOLE_LINE, number, 4, 22, value / most, colour, f"{name}: {value:,}")
        + _value(_WHOLE_LINE, number, value / most, f"{value:,}", f"{value / total:.0%}")
        for number, (name, value) in enumerate(ordered)
    ]
    return _svg(len(rows) * _ROW, rows, title)


def paired_bars(before: Mapping[str, int], after: Mapping[str, int], title: str = "") -> str:
    """Two bars a name, one over the other: what came in, and what stayed. Half a line wide."""
    names = sorted({*before, *after}, key=lambda name: (-before.get(name, 0), name))
    if not names:
        return _nothing()
    most = max(*before.values(), *after.values(), 1)
    rows = []
    for number, name in enumerate(names):
        read, kept = before.get(name, 0), after.get(name, 0)
        rows += [
            _label(_HALF_LINE, number, name),
            _bar(_HALF_LINE, number, 4, 10, read / most, "faint", f"{name}, read: {read:,}"),
            _bar(_HALF_LINE, number, 15, 10, kept / most, "accent", f"{name}, kept: {kept:,}"),
            _value(_HALF_LINE, number, max(read, kept) / most, f"{kept:,}", f"of {read:,}"),
        ]
    return _svg(len(names) * _ROW, rows, title, _HALF_LINE.width)


def stacked_bar(parts: Sequence[tuple[str, int, str]], title: str = "") -> str:
    """One bar of (name, count, colour) parts, each labelled where there is room."""
    total = sum(count for _, count, _ in parts)
    if not total:
        return _nothing()
    pieces: list[str] = []
    left = 0.0
    for name, count, colour in parts:
        width = count / total * _WIDTH
        hint = f"{name}: {count:,} ({count / total:.1%})"
        pieces.append(_rect(colour, left, 0, max(width - 2, 0), 34, hint))
        if width > 9 * len(f"{name} {count:,}"):
            inside = f'{escape(name)} <tspan class="strong">{count:,}</tspan>'
            pieces.append(f'<text class="on-bar" x="{left + 12:.1f}" y="22">{inside}</text>')
        left += width
    return _svg(34, pieces, title)


def histogram(
    series: Sequence[tuple[str, Sequence[int], str]], edges: Sequence[float], unit: str, title: str = ""
) -> str:
    """Columns over `edges`; of several (name, counts, colour) series the first is drawn behind."""
    most = max((count for _, counts, _ in series for count in counts), default=0)
    if not most:
        return _nothing()
    height, base = 190, 160
    step = _WIDTH / (len(edges) - 1)
    pieces = [f'<line class="axis" x1="0" y1="{base}" x2="{_WIDTH}" y2="{base}"/>']
    for name, counts, colour in series:
        for number, count in enumerate(counts):
            tall = count / most * (base - 12)
            hint = f"{name}: {count:,} with {edges[number]:,.0f} to {edges[number + 1]:,.0f} {unit}"
            pieces.append(_rect(colour, number * step + 1, base - tall, step - 2, tall, hint))
    for number in range(0, len(edges), 4):
        anchor = "start" if number == 0 else "end" if number == len(edges) - 1 else "middle"
        more = " +" if number == len(edges) - 1 else ""
        pieces.append(
            f'<text class="tick" x="{number * step:.1f}" y="{base + 20}" text-anchor="{anchor}">'
            f"{edges[number]:,.0f}{more}</text>"
        )
    return _svg(height, pieces, title)


def _svg(height: float, pieces: Sequence[str], title: str, width: int = _WIDTH) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(pieces)}</svg>"
    )


def _label(frame: _Frame, row: int, name: str) -> str:
    fitting = frame.label // 7
    shown = escape(name if len(name) <= fitting else name[: fitting - 1] + "…")
    place = f'x="{frame.label - 12}" y="{row * _ROW + 20}" text-anchor="end"'
    return f'<text class="label" {place}>{shown}<title>{escape(name)}</title></text>'


def _bar(frame: _Frame, row: int, top: int, height: int, share: float, colour: str, hint: str) -> str:
    width = max(share * frame.longest, 2 if share else 0)
    return _rect(colour, frame.label, row * _ROW + top, width, height, hint)


def _value(frame: _Frame, row: int, share: float, strong: str, faint: str) -> str:
    left = frame.label + share * frame.longest + 10
    spans = f'<tspan class="strong">{escape(strong)}</tspan> <tspan class="note">{escape(faint)}</tspan>'
    return f'<text x="{left:.1f}" y="{row * _ROW + 20}">{spans}</text>'


def _rect(colour: str, left: float, top: float, width: float, height: float, hint: str) -> str:
    place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="3"'
    return f'<rect class="{colour}" {place}><title>{escape(hint)}</title></rect>'


def _nothing() -> str:
    return '<p class="none">Nothing to show.</p>'
