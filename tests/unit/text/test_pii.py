"""Facts about personal data: what is found, what is left alone, and how it is replaced."""

import pytest
from sartor_text.checksums import card_issuer, iban_valid, luhn_valid
from sartor_text.pii import DEFAULT_REGIONS, PiiKind, find_pii, regions_of
from sartor_text.pseudonyms import mask


def kinds_and_text(text: str) -> list[tuple[str, str]]:
    return [(finding.kind.value, text[finding.start : finding.end]) for finding in find_pii(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Mail an anna.mueller@example.de bitte.", [("EMAIL", "anna.mueller@example.de")]),
        ("Write to <bob+shop@mail.example.co.uk>.", [("EMAIL", "bob+shop@mail.example.co.uk")]),
        ("jörg@müller-söhne.de ist neu", [("EMAIL", "jörg@müller-söhne.de")]),
        ("max (at) firma (punkt) de", [("EMAIL", "max (at) firma (punkt) de")]),
        ("Meine Nummer ist 0151 23456789.", [("PHONE", "0151 23456789")]),
        ("Tel.: 030/901820", [("PHONE", "030/901820")]),
        (
            "Call me on +49 30 901820 or 020 7946 0958",
            [("PHONE", "+49 30 901820"), ("PHONE", "020 7946 0958")],
        ),
        ("Reach me at (212) 555-2368 please", [("PHONE", "(212) 555-2368")]),
        ("Rückruf unter 0043 1 58858 0", [("PHONE", "0043 1 58858 0")]),
        ("IBAN DE89 3704 0044 0532 0130 00 danke", [("IBAN", "DE89 3704 0044 0532 0130 00")]),
        ("iban: de89370400440532013000.", [("IBAN", "de89370400440532013000")]),
        ("GB82 WEST 1234 5698 7654 32 and more", [("IBAN", "GB82 WEST 1234 5698 7654 32")]),
        ("Karte 4111 1111 1111 1111 gesperrt", [("CARD", "4111 1111 1111 1111")]),
        ("Amex 378282246310005", [("CARD", "378282246310005")]),
        (
            "a@b.example und DE89370400440532013000",
            [("EMAIL", "a@b.example"), ("IBAN", "DE89370400440532013000")],
        ),
    ],
)
def test_personal_data_is_found(text: str, found: list[tuple[str, str]]) -> None:
    assert kinds_and_text(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "Order 4711-0815-1234 of 2024-05-17 cost 1,299.00 EUR.",
        "Bestellnummer 0301234567 ist unterwegs.",
        "My order number is 2125552368.",
        "Ticket #0151234567",
        "Am 01.02.2024 um 10:30 Uhr, Version 10.4.12.2",
        "Postleitzahl 10115 Berlin, Hausnummer 12",
        "IBAN DE89 3704 0044 0532 0130 01 ist falsch",  # wrong check digits
        "Card 4111 1111 1111 1112",  # wrong check digit
        "Seriennummer 12345678901234567890",
        "Follow @sartor on the 5th floor",
        "Press Ctrl+Alt+Del, code E4711, 192.168.178.1",
        "Rechnung RE-2024-004711 über 89,90 Euro",
        "sendungsnummer 00340434161094042557",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert kinds_and_text(text) == []


def test_checksums_know_the_standards_own_examples() -> None:
    assert luhn_valid("79927398713")
    assert not luhn_valid("79927398710")
    assert iban_valid("GB82WEST12345698765432")
    assert not iban_valid("GB82WEST12345698765431")
    assert not iban_valid("DE8937040044053201300")  # a digit short
    assert card_issuer("5555555555554444") == "mastercard"
    assert card_issuer("9999999999999995") is None


def test_one_value_has_one_placeholder_in_all_texts_of_a_record() -> None:
    masked = mask(
        (
            "Ich bin Max@Example.de, mein Kollege ist eva@example.de.",
            "Wir schreiben an max@example.de und rufen 030 901820 an, also +49 30 901820.",
        )
    )
    assert masked.texts == (
        "Ich bin [EMAIL_1], mein Kollege ist [EMAIL_2].",
        "Wir schreiben an [EMAIL_1] und rufen [PHONE_1] an, also [PHONE_1].",
    )
    assert masked.counts == {PiiKind.EMAIL: 3, PiiKind.PHONE: 2}


def test_placeholders_that_are_there_keep_their_numbers() -> None:
    assert mask(("[EMAIL_1] schrieb an a@b.example",)).texts == ("[EMAIL_1] schrieb an [EMAIL_2]",)


def test_masking_is_idempotent() -> None:
    once = mask(("a@b.example, 0151 23456789, DE89370400440532013000",)).texts
    again = mask(once)
    assert again.texts == once
    assert not again.changed


def test_blotted_samples_show_no_letter_of_it() -> None:
    masked = mask(("Schreib an a.b@c.example!",))
    assert masked.blotted == ("Schreib an █.█@█.███████!",)


def test_only_the_wanted_kinds_are_masked() -> None:
    text = "a@b.example 0151 23456789"
    assert mask((text,), frozenset({PiiKind.PHONE})).texts == ("a@b.example [PHONE_1]",)


def test_regions_follow_from_languages() -> None:
    assert regions_of(["en", "fr"]) == ("GB", "US", "FR", "BE", "CH", "DE", "AT")
    assert regions_of(["eo"]) == regions_of([]) == DEFAULT_REGIONS
