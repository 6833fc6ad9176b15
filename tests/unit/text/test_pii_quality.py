"""How much personal data is found, and how much of what is found is personal data, on a labelled set."""

from __future__ import annotations

import pytest
from sartor_text.pii import NUMBERS_AND_ADDRESSES, PERSONAL, PiiKind
from sartor_text.pseudonyms import mask
from sartor_text.secrets import secrets_in

from tests.unit.text.pii_scores import SETS, score


def test_what_is_known_by_its_form_is_all_found_and_nothing_else() -> None:
    for name in SETS:
        scores = score(name)
        for kind in NUMBERS_AND_ADDRESSES:
            if scores.wanted[kind.value]:
                assert (scores.recall(kind.value), scores.precision(kind.value)) == (1.0, 1.0), (name, kind)


@pytest.mark.parametrize(
    ("name", "names", "addresses"), [("first", 0.94, 0.9), ("mended with", 0.9, 0.9), ("unseen", 0.75, 1.0)]
)
def test_names_and_addresses_are_mostly_found_and_hardly_anything_else(
    name: str, names: float, addresses: float
) -> None:
    """The floors are what docs/curation.md promises."""
    scores = score(name)
    assert scores.recall("NAME") >= names
    assert scores.recall("ADDRESS") >= addresses
    assert scores.precision("NAME") >= 0.97
    assert scores.precision("ADDRESS") >= 0.97


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
