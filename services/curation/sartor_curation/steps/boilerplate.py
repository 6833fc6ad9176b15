"""Step: takes headers, footers, menus and cookie notices out of pages and tickets.

Two signs, as in Kohlschütter et al., Boilerplate Detection using Shallow Text Features (2010), and in CCNet
(Wenzek et al., 2020): lines that the same dataset repeats from document to document, and phrases that every
web page has. Conversations are left alone: an answer that always ends the same is meant to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from sartor_curation.steps.batches import Rows, strings, with_columns
from sartor_curation.steps.excerpts import before_and_after, excerpt
from sartor_curation.steps.outcome import SAMPLES, Dropped, Outcome, Reason, Sample, without

SAMPLED = 5_000
"""Documents whose lines are counted: enough to find what is on one page of a hundred."""
LOOKED_AT = 20_000  # characters of a document
_LEAST = 5  # documents that repeat a line
_OF_A_RUN = 0.01  # of the documents repeat each line of a run
_ALONE = 0.1  # of the documents repeat a line that stands alone
_RUN = 3  # lines in the middle of a document; at its edges two are a run
_LONGEST = 300  # characters of a line that can be boilerplate by its words
_SHOWN = 20

KINDS = ("document", "labelled")
_DIGITS = str.maketrans("123456789", "000000000")
# Cheap to look for; a text without any of them holds none of the phrases.
_HINTS = tuple(
    """cookie,javascript,skip to,jump to,zum inhalt,zum hauptinhalt,zur navigation,zur suche,newsletter,
all rights,alle rechte,aller au,ir al,vai al,passa al,share ,teilen,sent from,gesendet,datenschutz,privacy,
impressum,terms of,toggle nav""".replace("\n", "").split(",")
)
# A line that consists of one of these says nothing about the page it is on.
_PHRASES = re.compile(
    r"[-*•|»›\s]*(?:"
    + "|".join(
        (
            r"(?:skip|jump) to (?:main |the )?(?:content|navigation|search).{0,20}",
            r"(?:direkt )?zu[mr] (?:haupt)?(?:inhalt|navigation|suche)(?: (?:springen|wechseln).{0,10})?",
            r"(?:aller au contenu|ir al contenido|(?:vai|passa) al contenuto).{0,12}",
            r"(?:(?:this|our|the) (?:web)?site uses?|we (?:and our \w+ )?use) (?:\w+ ){0,3}cookies.*",
            r"by (?:continuing|using|browsing).{0,60} cookies.*",
            r"(?:accept|reject|allow|manage|decline) (?:all )?(?:\w+ )?cookies.{0,40}",
            r"cookie[- ](?:settings|preferences|policy|notice|einstellungen|richtlinie|hinweis).{0,30}",
            r"(?:wir|(?:diese|unsere) (?:web)?se?ite) (?:verwend|nutz|setz)e?[nt] (?:\w+ ){0,4}cookies.*",
            r"(?:alle (?:cookies )?|cookies )(?:akzeptieren|ablehnen|zulassen|verwalten).{0,20}",
            r"(?:nous utilisons|ce site utilise) (?:des )?cookies.*",
            r"(?:utilizamos|este sitio (?:web )?utiliza) cookies.*",
            r"(?:utilizziamo|questo sito (?:web )?utilizza) (?:i )?cookie.*",
            r"please enable javascript.*",
            r"(?:bitte (?:aktivieren sie )?)?javascript (?:muss|ist (?:deaktiviert|erforderlich)).*",
            r"(?:subscribe|sign up) (?:to|for) (?:our|the) (?:\w+ )?newsletter.{0,60}",
            r"(?:jetzt )?(?:den |unseren )?newsletter (?:abonnieren|bestellen).{0,40}",
            r"(?:(?:©|\(c\)|copyright).{0,60} )?(?:all rights reserved|alle rechte vorbehalten)\W*",
            r"share (?:on|via) .{0,50}|share this (?:page|post|article|story).{0,30}",
            r"(?:auf \w+ |per e-mail )teilen",
            r"toggle navigation",
            r"sent from my .{1,30}",
            r"von meinem .{1,30} gesendet|gesendet von .{1,40}",
            r"(?:privacy policy|terms of use|datenschutz|impressum)(?: ?[|·•/] ?\w[\w ]{0,28}\w)+",
        )
    )
    + r")\s*",
    re.IGNORECASE,
)


def repeated_lines(texts: Iterable[str]) -> dict[str, float]:
    """Folded lines that occur in enough of the documents, each with the share of the documents that has it.

    Digits are folded, so that "Page 3 of 8" and "© 2024" are the same on every page.
    """
    counts: Counter[str] = Counter()
    documents = 0
    for text in texts:
        documents += 1
        counts.update({_fold(line) for line in text[:LOOKED_AT].splitlines()} - {""})
    least = max(_LEAST, _OF_A_RUN * documents)
    return {line: count / documents for line, count in counts.items() if count >= least}


def take_out_boilerplate(batch: pa.RecordBatch, repeated: Mapping[str, float]) -> Outcome:
    """Documents and labelled texts without their boilerplate; a document of which nothing is left is dropped.

    Args:
        repeated: of the whole dataset, as `repeated_lines` gives them.
    Taken out are lines that consist of a known phrase, wherever they are; repeated lines at the beginning and
    the end, one alone only where a tenth of the documents has it; and in the middle runs of three and more.
    A labelled text that is nothing else stays as it is: people do ask the same in the same words.
    """
    rows = Rows.of(batch)
    keys = strings(batch, "record_key")
    dropped: list[Dropped] = []
    samples: list[Sample] = []
    lines: Counter[str] = Counter()
    texts = list(rows.texts)
    lengths = frozenset(map(len, repeated))
    changed: Counter[str] = Counter()
    for row, text in enumerate(rows.texts):
        if rows.kinds[row] not in KINDS:
            continue
        kept, gone = _parted(text, repeated, lengths)
        if not gone or (not kept and rows.kinds[row] == "labelled"):
            continue
        lines.update({line.strip() for line in gone} - {""})
        if kept:
            texts[row] = kept
            changed["boilerplate"] += 1
            if len(samples) < SAMPLES:
                samples.append(Sample("boilerplate", keys[row], *before_and_after(text, kept)))
        else:
            detail = f"nothing but lines such as “{excerpt(gone[0], 60)}”"
            dropped.append(Dropped(row, Reason.BOILERPLATE, detail))
    if not lines:
        return Outcome(batch)
    after = with_columns(batch, {"text": pa.array(texts, pa.string())})
    shown = {excerpt(line, 100): count for line, count in lines.most_common(_SHOWN)}
    return Outcome(without(after, dropped), dropped, changed, samples, {"lines": shown})


def _parted(text: str, repeated: Mapping[str, float], lengths: frozenset[int]) -> tuple[str, list[str]]:
    """What stays of a text, and the lines that do not."""
    lowered = text.lower()
    phrases = any(hint in lowered for hint in _HINTS)
    if not phrases and not repeated:
        return text, []
    lines = text.split("\n")
    shares = [repeated.get(_fold(line), 0.0) if len(line.strip()) in lengths else 0.0 for line in lines]
    out = [bool(phrases and len(line) <= _LONGEST and _PHRASES.fullmatch(line)) for line in lines]
    if any(shares):
        blank = [not line.strip() for line in lines]
        _mark_runs(shares, blank, out)
    if not any(out):
        return text, []
    kept = "\n".join(line for line, gone in zip(lines, out, strict=True) if not gone)
    return re.sub(r"\n{3,}", "\n\n", kept).strip(), [
        line for line, gone in zip(lines, out, strict=True) if gone
    ]


def _mark_runs(shares: Sequence[float], blank: Sequence[bool], out: list[bool]) -> None:
    """Mark the runs of repeated lines that are long enough for where they stand; blank lines part none."""
    written = [place for place, empty in enumerate(blank) if not empty]
    start = 0
    while start < len(written):
        end = start
        while end < len(written) and (shares[written[end]] or out[written[end]]):
            end += 1
        run = written[start:end]
        edge = start == 0 or end == len(written)
        if len(run) >= (2 if edge else _RUN) or (edge and run and shares[run[0]] >= _ALONE):
            for place in run:
                out[place] = True
        start = max(end, start + 1)


def _fold(line: str) -> str:
    return line.strip().lower().translate(_DIGITS)
