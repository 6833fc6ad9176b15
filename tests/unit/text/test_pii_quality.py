"""How much personal data is found, and how much of what is found is personal data, on a labelled set."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from sartor_text.pii import NUMBERS_AND_ADDRESSES, PERSONAL, PiiKind, find_pii
from sartor_text.pseudonyms import mask
from sartor_text.secrets import secrets_in

from tests.unit.text.labelled_pii import CLEAN, MARKED

_MARK = re.compile(r"\{([A-Z_]+):([^}]+)\}")


def sentences() -> list[tuple[str, list[tuple[str, str]]]]:
    """Each sentence without marks, and its marked data."""
    lines = [line for line in MARKED.splitlines() if line]
    marked = [(_MARK.sub(lambda mark: mark[2], line), _MARK.findall(line)) for line in lines]
    return marked + [(line, []) for line in CLEAN.splitlines() if line]


def scores() -> dict[str, tuple[float, float]]:
    """Recall and precision by kind; a finding is right if it overlaps data of its kind."""
    wanted, found, right = Counter[str](), Counter[str](), Counter[str]()
    for text, marks in sentences():
        findings = find_pii(text, PERSONAL)
        for kind, value in marks:
            wanted[kind] += 1
            start, end = text.index(value), text.index(value) + len(value)
            right[kind] += any(f.kind.value == kind and f.start < end and start < f.end for f in findings)
        for finding in findings:
            found[finding.kind.value] += 1
    return {kind: (right[kind] / wanted[kind], right[kind] / max(found[kind], 1)) for kind in wanted}


def test_what_is_known_by_its_form_is_all_found_and_nothing_else() -> None:
    found = scores()
    for kind in NUMBERS_AND_ADDRESSES:
        if kind.value in found:
            assert found[kind.value] == (1.0, 1.0), kind


def test_names_and_addresses_are_mostly_found_and_hardly_anything_else() -> None:
    found = scores()
    recall, precision = found["NAME"]
    assert recall >= 0.8, found
    assert precision >= 0.95, found
    assert found["ADDRESS"][0] >= 0.85, found
    assert found["ADDRESS"][1] >= 0.95, found


def test_a_name_has_one_pseudonym_however_it_is_written() -> None:
    masked = mask(("Hier schreibt Thomas Weber.", "Guten Tag, Herr Weber, gern."), PERSONAL)
    assert masked.texts == ("Hier schreibt [NAME_1].", "Guten Tag, Herr [NAME_1], gern.")


@pytest.mark.parametrize(
    "text",
    [
        "Der Schlüssel ist AKIAIOSFODNN7EXAMPLE, bitte nicht weitergeben.",
        "token: ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "export API_KEY=9f8b3c1e7a2d4f60",
        "Das Passwort lautet Tr0ub4dor&3xyz, bitte ändern.",
        "postgres://app:s3cr3tPw9@db.example:5432/shop",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_secrets_are_found(text: str) -> None:
    assert list(secrets_in(text))
    assert "SECRET" in mask((text,), frozenset((PiiKind.SECRET,))).texts[0]


@pytest.mark.parametrize(
    "text",
    [
        "Ich habe mein Passwort vergessen, wie setze ich es zurück?",
        "The password is required to have twelve characters.",
        "Set API_KEY=<your key> in the file.",
        "A token: what is it good for?",
    ],
)
def test_talk_about_secrets_is_none(text: str) -> None:
    assert list(secrets_in(text)) == []
