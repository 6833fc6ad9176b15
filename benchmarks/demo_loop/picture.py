"""The endpoint's quality over time, with what the loop decided: one figure as PNG, and in an HTML page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.demo_loop.users import Answered

_SLIDING = 16
_COLOURS = {"good": "#1a7f37", "bad": "#cf222e", "plain": "#57606a"}
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem;
color:#1f2328}svg{width:100%;height:auto}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d0d7de;vertical-align:top}
td:first-child{white-space:nowrap;color:#57606a}
.good{color:#1a7f37}.bad{color:#cf222e}"""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that was decided. `tone` is good, bad or plain; `label` is short, for the figure."""

    seconds: float
    label: str
    text: str
    tone: str = "plain"


def write(
    folder: Path,
    answered: Sequence[Answered],
    moments: Sequence[Moment],
    began: float,
    summary: Sequence[str],
) -> tuple[Path, Path]:
    """The PNG and the HTML page."""
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(13, 6.2), dpi=110)
    _curves(axes, answered, began)
    _moments(axes, [each for each in moments if each.label])
    axes.set_xlabel("minutes since the first model went live")
    axes.set_ylabel(f"users' mean score (last {_SLIDING} answers)")
    axes.set_ylim(0, 1.42)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", frameon=False, ncols=3)
    figure.tight_layout()
    image = folder / "loop.png"
    figure.savefig(image)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    pyplot.close(figure)
    page = folder / "loop.html"
    page.write_text(_page(drawn.getvalue(), moments, summary), encoding="utf-8")
    return image, page


def _curves(axes: Axes, answered: Sequence[Answered], began: float) -> None:
    groups = {
        "all questions": (list(answered), "#0969da", 2.4),
        "known topics": ([each for each in answered if not each.question.new], "#8c959f", 1.2),
        "new topics": ([each for each in answered if each.question.new], "#bf8700", 1.2),
    }
    for name, (rows, colour, width) in groups.items():
        minutes = [(each.time - began) / 60 for each in rows]
        scores = [each.score for each in rows]
        means = [
            sum(scores[max(0, end - _SLIDING) : end]) / min(end, _SLIDING)
            for end in range(1, len(scores) + 1)
        ]
        axes.plot(minutes[3:], means[3:], color=colour, linewidth=width, label=name)


def _moments(axes: Axes, moments: Sequence[Moment]) -> None:
    """A line for each, with its label above the curves on one of four levels: neighbours do not meet."""
    for number, each in enumerate(moments):
        minutes = each.seconds / 60
        axes.axvline(minutes, color=_COLOURS[each.tone], linewidth=1, linestyle=":", alpha=0.8, ymax=0.74)
        axes.annotate(
            each.label,
            (minutes, 1.06 + 0.09 * (number % 4)),
            color=_COLOURS[each.tone],
            fontsize=8.5,
            ha="center",
        )


def _page(drawn: str, moments: Sequence[Moment], summary: Sequence[str]) -> str:
    rows = "".join(
        f"<tr><td>{each.seconds / 60:.1f} min</td><td class='{each.tone}'>{escape(each.text)}</td></tr>"
        for each in moments
    )
    told = "".join(f"<li>{escape(line)}</li>" for line in summary)
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>The loop</title>"
        f"<style>{_STYLE}</style><h1>An endpoint and its loop</h1>{drawn[drawn.index('<svg') :]}"
        f"<ul>{told}</ul><h2>What was decided</h2><table>{rows}</table></html>\n"
    )
