"""Charts as inline SVG: values with their intervals, also on either side of zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH = 760
_LABEL = 210
_LINE = 24
_GAP = 14


@dataclass(frozen=True, slots=True)
class Mark:
    """A value with its interval; `colour` is a class of the style sheet. Open ends are None."""

    name: str
    value: float
    lower: float | None
    upper: float | None
    colour: str
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Marks that share a label and a scale from `low` to `high`."""

    label: str
    marks: Sequence[Mark]
    low: float
    high: float


def intervals(groups: Sequence[Group], title: str, *, zero_line: bool = False, text_width: int = 150) -> str:
    """One line a mark: a dot at the value and a bar over its interval, on the scale of its group.

    Args:
        zero_line: mark zero, which must then lie on every group's scale.
        text_width: room for the marks' text on the right.
    """
    if not groups:
        return '<p class="none">Nothing to show.</p>'
    plot = _Plot(_WIDTH - _LABEL - text_width)
    pieces: list[str] = []
    top = 0.0
    for group in groups:
        height = len(group.marks) * _LINE
        pieces.append(
            f'<rect class="band" x="{_LABEL}" y="{top}" width="{plot.width}" height="{height}" rx="4"/>'
        )
        if zero_line:
            zero = f"{plot.place(group, 0.0):.1f}"
            pieces.append(f'<line class="zero" x1="{zero}" y1="{top}" x2="{zero}" y2="{top + height}"/>')
        pieces.append(_label(group.label, top + height / 2 + 5))
        for number, mark in enumerate(group.marks):
            pieces.append(plot.mark(group, mark, top + number * _LINE + _LINE / 2))
        top += height + _GAP
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {top - _GAP:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(pieces)}</svg>"
    )


@dataclass(frozen=True, slots=True)
class _Plot:
    """The middle part of a chart, `width` wide, between the labels and the text."""

    width: int

    def place(self, group: Group, value: float) -> float:
        span = group.high - group.low or 1.0
        share = min(max((value - group.low) / span, 0.0), 1.0)
        return _LABEL + 8 + share * (self.width - 16)

    def mark(self, group: Group, mark: Mark, middle: float) -> str:
        left = self.place(group, group.low if mark.lower is None else mark.lower)
        right = self.place(group, group.high if mark.upper is None else mark.upper)
        hint = f"<title>{escape(f'{mark.name}: {mark.text}')}</title>"
        bar = f'x="{left:.1f}" y="{middle - 4:.1f}" width="{max(right - left, 1):.1f}" height="8" rx="4"'
        dot = f'cx="{self.place(group, mark.value):.1f}" cy="{middle:.1f}" r="5.5"'
        strong, _, rest = mark.text.partition(" ")
        return (
            f'<rect class="{mark.colour} interval" {bar}>{hint}</rect>'
            f'<circle class="{mark.colour}" {dot}>{hint}</circle>'
            f'<text x="{_LABEL + self.width + 10}" y="{middle + 5:.1f}">'
            f'<tspan class="strong">{escape(strong)}</tspan> '
            f'<tspan class="note">{escape(rest)}</tspan></text>'
        )


def _label(text: str, baseline: float) -> str:
    shown = text if len(text) <= 26 else text[:25] + "…"
    return (
        f'<text class="label" x="{_LABEL - 12}" y="{baseline:.1f}" text-anchor="end">{escape(shown)}'
        f"<title>{escape(text)}</title></text>"
    )
