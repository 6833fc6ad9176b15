"""Draws the JSON report as one self-contained HTML page for people: no scripts, no fonts, nothing fetched."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from sartor_evaluation.charts import Group, Mark, intervals
from sartor_evaluation.cost_suites import clients_of
from sartor_evaluation.report_warnings import label_tables, warnings
from sartor_evaluation.report_words import Words

Json = Mapping[str, Any]
_SUITES = {"held_out": "Held-out questions", "general": "General questions"}
_BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "neither is better"}
_MAIN = ("token_f1", "label_accuracy", "choice_accuracy", "exact_match", "loss")
_COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5")


def render(report: Json) -> str:
    """The page for a report as `Report.to_json` makes it."""
    words = Words(report)
    sections = [
        _header(report, words),
        warnings(report),
        _verdict(report),
        _short_answer(words),
        _scores(report, "held_out"),
        _differences(report, words),
        _slices(report),
        *(_scores(report, suite) for suite in report["suites"] if suite != "held_out"),
        label_tables(report),
        _prompts(report),
        _examples(report),
        _how_to_read(report, words),
    ]
    style = files("sartor_evaluation").joinpath("report_style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(words.title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _header(report: Json, words: Words) -> str:
    names = "".join(
        f"<span>{escape(name.replace('_', ' '))} <b>{escape(value)}</b></span>"
        for name, value in report["about"].items()
        if value
    )
    tiles = "".join(
        f'<div class="tile"><div class="figure">{escape(figure)}</div>'
        f'<div class="what">{escape(what)}</div></div>'
        for figure, what in words.tiles()
    )
    return (
        f'<h1>{escape(words.title)}</h1><p class="lead">{escape(words.lead)}</p>'
        f'<div class="names">{names}</div><div class="tiles">{tiles}</div>'
    )


def _verdict(report: Json) -> str:
    verdict = report["verdict"]
    if verdict is None:
        return ""
    head = (
        '<p class="verdict pass">✓ The gate lets this model pass: every rule holds.</p>'
        if verdict["passed"]
        else '<p class="verdict stop">✗ The gate stops this model: not every rule holds.</p>'
    )
    rows = "".join(
        f"<tr><td class='{'ok' if result['passed'] else 'no'}'>{'✓' if result['passed'] else '✗'}</td>"
        f"<td>{escape(result['explanation'])}</td></tr>"
        for result in verdict["rules"]
    )
    return _section("The gate", "", f"{head}<table class='rules'>{rows}</table>")


def _short_answer(words: Words) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in words.short_answer())
    return _section("In short", "", f"<ul>{lines}</ul>") if lines else ""


def _scores(report: Json, suite: str) -> str:
    if suite not in report["suites"]:
        return ""
    groups, notes = [], []
    for name, info in report["metrics"].items():
        lines = [s for s in report["scores"] if s["suite"] == suite and s["metric"] == name]
        lines = [line for line in lines if line["estimate"]["value"] is not None]
        if lines:
            marks = [_score_mark(report, line, info) for line in lines]
            groups.append(Group(info["title"], marks, 0.0, _highest(info, marks)))
            better = _BETTER[info["better"]]
            notes.append(
                f"<dt>{escape(info['title'])}</dt><dd>{escape(info['explanation'])} <i>{better}</i></dd>"
            )
    lead = (
        "The same questions, asked of every candidate. The dot is what was measured; the bar is where the "
        "true value lies with 95 % confidence."
    )
    if clients_of(suite) is not None:
        lead = (
            "What an answer of up to 32 tokens costs on the machine where this was measured, with so many "
            "requests at the same time. What else the machine did meanwhile is in it too."
        )
    elif suite == "general":
        lead = (
            "Short questions that have nothing to do with the task. A tuned model that does worse here than "
            "its base has forgotten something."
        )
    body = _key(report, suite) + intervals(groups, f"Scores, {suite}") + f"<dl>{''.join(notes)}</dl>"
    return _section(_heading(suite), lead, body)


def _heading(suite: str) -> str:
    clients = clients_of(suite)
    if clients is not None:
        return "Cost at one client" if clients == 1 else f"Cost at {clients} clients"
    return _SUITES.get(suite, f"Suite {suite}")


def _differences(report: Json, words: Words) -> str:
    charts = []
    for suite in report["suites"]:
        found = [
            line
            for line in report["comparisons"]
            if (line["suite"], line["candidate"]) == (suite, words.subject)
            and line["difference"]["value"] is not None
        ]
        moved = [line for line in found if not line["verdict"].startswith("the same on every item")]
        groups = [
            _difference_group(_label(report, line), line, report["metrics"][line["metric"]]) for line in moved
        ]
        same = ", ".join(_label(report, line) for line in found if line not in moved)
        heading = f"<h3>{escape(_heading(suite))}</h3>" if found else ""
        chart = intervals(groups, "Paired differences", zero_line=True, text_width=350) if groups else ""
        charts.append(heading + chart + (f"<p>The same on every item: {escape(same)}.</p>" if same else ""))
    lead = (
        f"The difference between {words.subject} and each of the others on the same questions. Right of the "
        "line is better, left of it is worse; a bar that crosses the line could be chance. Each row has its "
        "own scale. With fewer than twenty independent questions an interval is a rough guide only."
    )
    return _section("Is it really better?", lead, "".join(charts)) if any(charts) else ""


def _label(report: Json, line: Json) -> str:
    return f"{report['metrics'][line['metric']]['title']} vs {line['baseline']}"


def _difference_group(label: str, line: Json, info: Json) -> Group:
    sign = 1.0 if info["better"] == "higher" else -1.0
    found, digits = line["difference"], info["digits"]
    ends = [None if found[end] is None else sign * found[end] for end in ("lower", "upper")]
    lower, upper = ends if sign > 0 else reversed(ends)
    verdict = line["verdict"].split(" ")[0]
    colour = {"better": "good", "worse": "bad"}.get(verdict, "unclear")
    said = line["verdict"].partition(" (only")[0].partition(": one of")[0]
    text = f"{found['value']:+.{digits}f} {said}"
    reach = max((abs(end) for end in (lower, upper, found["value"]) if end is not None), default=1.0) or 1.0
    mark = Mark(label, sign * found["value"], lower, upper, colour, text)
    return Group(label, [mark], -1.1 * reach, 1.1 * reach)


def _slices(report: Json) -> str:
    parts = []
    main = next((name for name in _MAIN if any(s["metric"] == name for s in report["slices"])), None)
    for field in dict.fromkeys(line["field"] for line in report["slices"]):
        lines = [s for s in report["slices"] if s["field"] == field and s["suite"] == "held_out"]
        metrics = list(dict.fromkeys(line["metric"] for line in lines))
        metric = main if main in metrics else next((name for name in _MAIN if name in metrics), None)
        lines = [line for line in lines if line["metric"] == metric and line["estimate"]["value"] is not None]
        if not lines or metric is None:
            continue
        info = report["metrics"][metric]
        groups = []
        for value in dict.fromkeys(line["value"] for line in lines):
            marks = [_score_mark(report, line, info) for line in lines if line["value"] == value]
            items = next(line["estimate"]["items"] for line in lines if line["value"] == value)
            groups.append(Group(f"{value} ({items})", marks, 0.0, 0.0))
        high = max(_highest(info, group.marks) for group in groups)
        groups = [Group(group.label, group.marks, 0.0, high) for group in groups]
        heading = f"<h3>By {escape(field.replace('_', ' '))}: {escape(info['title'])}</h3>"
        parts.append(heading + intervals(groups, f"{info['title']} by {field}"))
    lead = "The same scores for parts of the questions; the number of questions is in brackets."
    return (
        _section("Where it is strong, and where weak", lead, _key(report, "held_out") + "".join(parts))
        if parts
        else ""
    )


def _prompts(report: Json) -> str:
    rows = "".join(
        f"<tr><td><i class='dot {_colour(report, one['id'])}'></i>{escape(one['id'])}</td>"
        f"<td><code>{escape(one['model'])}</code></td><td>{escape(one['prompt']['description'])}</td></tr>"
        for one in report["candidates"]
    )
    body = f"<table><tr><th>Candidate</th><th>Model</th><th>Prompt</th></tr>{rows}</table>"
    for one in report["candidates"]:
        if one["search"]:
            body += _search(one)
    lead = "What each candidate is: a model, and what it is shown before each question."
    return _section("The candidates", lead, body)


def _search(candidate: Json) -> str:
    search = candidate["search"]
    rows = "".join(
        f"<tr><td>{escape(tried['description'])}</td><td class='n'>{_number(tried['score'])}</td>"
        f"<td class='n'>{_number(tried['loss'])}</td></tr>"
        for tried in search["tried"]
    )
    return (
        f"<h3>How the prompt of {escape(candidate['id'])} was found</h3><p>Tried on {search['items']} "
        "validation questions; the best is first. Only the finalists wrote answers.</p>"
        "<table><tr><th>Prompt</th><th class='n'>Mean score of the answers</th><th class='n'>Loss</th></tr>"
        f"{rows}</table>"
    )


def _examples(report: Json) -> str:
    asked = [suite for suite in report["examples"] if clients_of(suite) is None]
    found = report["examples"]["held_out" if "held_out" in asked else asked[0]] if asked else None
    if not found:
        return ""
    parts = []
    for kind, heading in (
        ("worst", "Where it does worst"),
        ("lost", "Where it lost most against the first candidate"),
        ("gained", "Where it gained most"),
    ):
        cards = "".join(_card(report, example) for example in found[kind])
        if cards:
            opened = " open" if kind == "worst" else ""
            summary = f"<summary>{heading} <span>({len(found[kind])})</span></summary>"
            parts.append(f"<details{opened}>{summary}{cards}</details>")
    lead = "Single questions with every candidate's answer: numbers tell how much, examples tell what."
    return _section("Questions and answers", lead, "".join(parts))


def _card(report: Json, example: Json) -> str:
    tags = "".join(
        f"<span class='tag'>{escape(example[f])}</span>" for f in ("language", "label") if example[f]
    )
    answers = "".join(
        f"<div class='answer'><small><i class='dot {_colour(report, one['candidate'])}'></i>"
        f"{escape(one['candidate'])} <b>{one['score']:.2f}</b></small>"
        f"{escape(one['answer']) or '<em>nothing</em>'}</div>"
        for one in example["answers"]
    )
    return (
        f"<div class='card'><div class='question'>{tags}{escape(example['question'])}</div>"
        f"<div class='answer reference'><small>right answer</small>{escape(example['reference'])}</div>"
        f"{answers}</div>"
    )


def _how_to_read(report: Json, words: Words) -> str:
    skipped = report["items_too_long"]
    seen = "None of the held-out questions was seen in training. " if words.held_out else ""
    too_long = ""
    if skipped:
        count = "1 question is" if len(skipped) == 1 else f"{len(skipped)} questions are"
        told = f"{count} longer than the model's context and left out."
        too_long = f"<p class='warning'>{told}</p>"
    return _section(
        "How this was measured",
        "",
        f"{too_long}<p>{seen}Answers are the most likely words (greedy), and "
        "may be half as long again as the right answer, for every candidate alike. Intervals come from 4,000 "
        "bootstrap resamples in which near duplicates stay together; differences are paired, question by "
        "question. A label or a choice counts as given if the model finds it the most probable one. The "
        f"evaluation took {report['seconds']:.0f} seconds.</p>",
    )


def _score_mark(report: Json, line: Json, info: Json) -> Mark:
    found, digits = line["estimate"], info["digits"]
    ends = " to ".join(
        "?" if found[end] is None else f"{found[end]:.{digits}f}" for end in ("lower", "upper")
    )
    text = f"{found['value']:.{digits}f} {ends}"
    colour = _colour(report, line["candidate"])
    return Mark(line["candidate"], found["value"], found["lower"], found["upper"], colour, text)


def _highest(info: Json, marks: Sequence[Mark]) -> float:
    if info["highest"] is not None:
        return float(info["highest"])
    return max(max(mark.value, mark.upper or 0.0) for mark in marks) * 1.05 or 1.0


def _key(report: Json, suite: str) -> str:
    names = "".join(
        f"<span><i class='{_colour(report, name)}'></i>{escape(name)}</span>"
        for name in report["suites"][suite]["candidates"]
    )
    return f'<div class="key">{names}</div>'


def _colour(report: Json, candidate: str) -> str:
    names = [one["id"] for one in report["candidates"]]
    return _COLOURS[names.index(candidate) % len(_COLOURS)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _section(heading: str, lead: str, body: str) -> str:
    intro = f"<p>{escape(lead)}</p>" if lead else ""
    return f"<section><h2>{escape(heading)}</h2>{intro}{body}</section>"
