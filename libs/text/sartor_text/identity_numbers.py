"""Finds tax and social security numbers: those that have check digits only with right ones."""

import re
from collections.abc import Iterator
from datetime import date

_TAX = re.compile(r"(?<![\w-])\d{2}[ /]?\d{3}[ /]?\d{3}[ /]?\d{3}(?![\w-])")
_PENSION = re.compile(r"(?<!\w)\d{2}[ -]?\d{6}[ -]?[A-Za-z][ -]?\d{2}[ -]?\d(?!\w)")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_NINO = re.compile(
    r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)"
)
_OTHER_NUMBER = re.compile(
    r"(?:order|bestell\w*|ticket\w*|rechnung\w*|invoice|kunden\w*|customer|artikel\w*|sendung\w*|tracking|phone|tel\w*"
    r"|handy|mobil\w*)[\w\s.:#-]{0,12}$",
    re.IGNORECASE,
)
_WEIGHTS = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)


def tax_numbers(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and digits of German tax identification numbers (Steuer-IdNr.) in `text`."""
    for match in _TAX.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if tax_id_valid(digits) and not _OTHER_NUMBER.search(
            text[max(0, match.start() - 24) : match.start()]
        ):
            yield match.start(), match.end(), digits


def social_security_numbers(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and canonical form: German pension insurance, US social security, UK national insurance."""
    for match in _PENSION.finditer(text):
        number = re.sub(r"[ -]", "", match.group()).upper()
        if pension_number_valid(number):
            yield match.start(), match.end(), number
    for pattern in (_SSN, _NINO):
        for match in pattern.finditer(text):
            yield match.start(), match.end(), re.sub(r"[ -]", "", match.group())


def tax_id_valid(digits: str) -> bool:
    """Whether these are 11 digits as the German tax office gives them: § 139b AO, ISO 7064 mod 11,10.

    The first is not zero, and of the first ten exactly one digit occurs twice or three times.
    """
    if len(digits) != 11 or digits[0] == "0":
        return False
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    if counts[-1] not in (2, 3) or (len(counts) > 1 and counts[-2] != 1):
        return False
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def pension_number_valid(number: str) -> bool:
    """Whether this is a German pension insurance number: date of birth and check digit of § 147 SGB VI."""
    if len(number) != 12 or not number[8].isalpha() or not number[8].isascii():
        return False
    day, month, year = int(number[2:4]), int(number[4:6]), int(number[6:8])
    try:
        date(2000 + year, month, day if day <= 31 else day - 50)
    except ValueError:
        return False
    digits = f"{number[:8]}{ord(number[8]) - ord('A') + 1:02}{number[9:11]}"
    products = (int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=True))
    return sum(product // 10 + product % 10 for product in products) % 10 == int(number[11])
