"""Finds tax and social security numbers: those that have check digits only with right ones."""

import re
from collections.abc import Iterator
from datetime import date

_TAX = re.compile(r"(?<![\w-])\d{2}[ /]?\d{3}[ /]?\d{3}[ /]?\d{3}(?![\w-])")
_PENSION = re.compile(r"(?<!\w)\d{2}[ -]?\d{6}[ -]?[A-Za-z][ -]?\d{2}[ -]?\d(?!\w)")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_SPACED_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3} (?!00)\d{2} (?!0000)\d{4}(?![\w-])")
_SSN_CUE = re.compile(r"(?:ssn|social(?: security)?)\W.{0,12}$", re.IGNORECASE)
_NINO = re.compile(
    r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)"
)
_AHV = re.compile(r"(?<![\w.])756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}(?![\w.]*\d)")
_AUSTRIAN = re.compile(r"(?<![\w-])[1-9]\d{3}[ -]?(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2}(?![\w-])")
_AUSTRIAN_CUE = re.compile(
    r"(?:svnr|sv-?n(?:umme)?r|sozialversicherung\w*|versicherungsnummer|e-?card)\W.{0,20}$", re.IGNORECASE
)
_AUSTRIAN_WEIGHTS = (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)
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
    """Start, end and canonical form: German pension, Austrian and Swiss social insurance, US social security,
    UK national insurance.

    An Austrian number is ten digits: it counts only where the text calls it one.
    """
    for match in _AHV.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if ahv_valid(digits):
            yield match.start(), match.end(), digits
    for match in _AUSTRIAN.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if austrian_valid(digits) and _AUSTRIAN_CUE.search(text[max(0, match.start() - 40) : match.start()]):
            yield match.start(), match.end(), digits
    for match in _PENSION.finditer(text):
        number = re.sub(r"[ -]", "", match.group()).upper()
        if pension_number_valid(number):
            yield match.start(), match.end(), number
    for match in _SPACED_SSN.finditer(text):
        if _SSN_CUE.search(text[max(0, match.start() - 32) : match.start()]):
            yield match.start(), match.end(), match.group().replace(" ", "")
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


def ahv_valid(digits: str) -> bool:
    """Whether these are 13 digits of the Swiss AHV with the check digit of EAN-13."""
    if len(digits) != 13:
        return False
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits[:12]))
    return -total % 10 == int(digits[12])


def austrian_valid(digits: str) -> bool:
    """Whether these are 10 digits of Austrian social insurance: the fourth is a rest modulo 11."""
    if len(digits) != 10:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(digits, _AUSTRIAN_WEIGHTS, strict=True))
    return total % 11 == int(digits[3])


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
