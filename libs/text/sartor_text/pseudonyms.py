"""Replaces personal data by placeholders that stay the same for the same value: [EMAIL_1], [PHONE_2]."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sartor_text.pii import DEFAULT_REGIONS, NUMBERS_AND_ADDRESSES, Finding, PiiKind, find_pii

_PLACEHOLDER = re.compile(rf"\[({'|'.join(kind.value for kind in PiiKind)})_(\d{{1,6}})\]")


@dataclass(frozen=True, slots=True)
class Masked:
    """Texts with placeholders for personal data, how many of each kind, and the texts with it blotted out.

    `blotted` is for people who look at samples: it shows where something stood without showing what.
    """

    texts: tuple[str, ...]
    counts: Mapping[PiiKind, int]
    blotted: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return bool(self.counts)


def mask(
    texts: Sequence[str],
    kinds: frozenset[PiiKind] = NUMBERS_AND_ADDRESSES,
    regions: Iterable[str] = DEFAULT_REGIONS,
) -> Masked:
    """The texts of *one* record with the same placeholder for the same value in all of them.

    Numbering starts anew with each record: a model would learn numbers that ran through a whole data set.
    Placeholders that are there already keep their numbers to themselves.
    """
    regions = tuple(regions)
    findings = [find_pii(text, kinds, regions) for text in texts]
    if not any(findings):
        return Masked(tuple(texts), {}, tuple(texts))
    names = _placeholders(texts, [finding for found in findings for finding in found])
    counts = Counter(finding.kind for found in findings for finding in found)
    return Masked(
        texts=tuple(_replace(text, found, names) for text, found in zip(texts, findings, strict=True)),
        counts=dict(counts),
        blotted=tuple(_blot(text, found) for text, found in zip(texts, findings, strict=True)),
    )


def _placeholders(texts: Sequence[str], findings: Sequence[Finding]) -> dict[tuple[PiiKind, str], str]:
    taken: Counter[str] = Counter()
    for text in texts:
        for kind, number in _PLACEHOLDER.findall(text):
            taken[kind] = max(taken[kind], int(number))
    names: dict[tuple[PiiKind, str], str] = {}
    for finding in findings:
        key = finding.kind, finding.value
        if key not in names:
            taken[finding.kind.value] += 1
            names[key] = f"[{finding.kind.value}_{taken[finding.kind.value]}]"
    return names


def _replace(text: str, findings: Sequence[Finding], names: Mapping[tuple[PiiKind, str], str]) -> str:
    pieces: list[str] = []
    end = 0
    for finding in findings:
        pieces += (text[end : finding.start], names[finding.kind, finding.value])
        end = finding.end
    return "".join((*pieces, text[end:]))


def _blot(text: str, findings: Sequence[Finding]) -> str:
    characters = list(text)
    for finding in findings:
        for place in range(finding.start, finding.end):
            if characters[place].isalnum():
                characters[place] = "█"
    return "".join(characters)
