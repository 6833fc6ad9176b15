"""What reasons, changes, steps and splits are called in a report that people read, and what they mean."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """A title, and a sentence that says what it means."""

    title: str
    meaning: str


REASONS: Mapping[str, Words] = {
    "MISSING_FIELD": Words(
        "Something is missing", "The question, the answer, the text or the label is empty."
    ),
    "PERSONAL_DATA": Words(
        "Personal data", "The policy asks to leave out records that contain personal data."
    ),
    "WRONG_LANGUAGE": Words(
        "Another language", "The text is in a language that the policy does not ask for."
    ),
    "TOO_SHORT": Words("Too short", "There is too little text to learn from."),
    "TOO_LONG": Words(
        "Too long", "The record has more tokens than the policy allows; the model would see it cut."
    ),
    "SECRET": Words("Secret", "It contains a key, token or password that a model could repeat."),
    "BOILERPLATE": Words("Boilerplate", "Nothing is left without navigation, cookie notices and the like."),
    "LOW_QUALITY": Words(
        "Poor text", "It does not look like prose people wrote: lists, fragments, symbols, no sentences."
    ),
    "REPETITION": Words("Repetitive text", "Too much of it is the same lines or phrases again and again."),
    "MISLABELLED": Words(
        "Probably mislabelled", "A classifier trained on the other records is sure of another label."
    ),
    "CONTAMINATED": Words(
        "In an evaluation suite", "It shares long passages with what models are evaluated on."
    ),
    "CONTRADICTION": Words(
        "Contradiction", "The same question has another answer elsewhere, so one is wrong."
    ),
    "EXACT_DUPLICATE": Words(
        "Exact duplicate", "Another record says exactly the same; the older one is kept."
    ),
    "NEAR_DUPLICATE": Words("Near duplicate", "Another record says nearly the same; the older one is kept."),
    "LEAKS_INTO_TEST": Words("Would leak into the test", "It asks what the model will be tested with."),
    "LEAKS_INTO_VALIDATION": Words("Would leak into validation", "It asks what is held out for validation."),
}
CHANGES: Mapping[str, Words] = {
    "mojibake": Words(
        "Broken characters", "Text that was decoded wrongly on its way, such as “fÃ¼r” for “für”."
    ),
    "markup": Words("Markup", "HTML tags and entities, left over from web pages and mails."),
    "unicode": Words(
        "Invisible or split characters", "Brought into the composed form (NFC); invisible ones removed."
    ),
    "whitespace": Words("White space", "Superfluous spaces and line breaks."),
    "boilerplate": Words(
        "Boilerplate", "Headers, footers, menus and cookie notices: lines that page after page repeats."
    ),
    "EMAIL": Words("E-mail addresses", "Replaced by [EMAIL_1] and so on: the same in question and answer."),
    "PHONE": Words("Telephone numbers", "Replaced by [PHONE_1] and so on."),
    "IBAN": Words("Bank accounts (IBAN)", "Replaced by [IBAN_1] and so on; only with right check digits."),
    "TAX_ID": Words("Tax numbers", "Replaced by [TAX_ID_1] and so on; only with a right check digit."),
    "SOCIAL_SECURITY": Words("Social security numbers", "Replaced by [SOCIAL_SECURITY_1] and so on."),
    "NAME": Words("Names of people", "Replaced by [NAME_1] and so on; found by lists and by what is around."),
    "ADDRESS": Words("Street addresses", "Replaced by [ADDRESS_1] and so on."),
    "SECRET": Words("Keys and passwords", "Replaced by [SECRET_1] and so on."),
    "CARD": Words("Payment cards", "Replaced by [CARD_1] and so on; only with a right check digit."),
}
STEPS: Mapping[str, Words] = {
    "normalise": Words("Normalise", "Unicode, broken characters, markup, white space"),
    "boilerplate": Words("Boilerplate", "Lines that pages repeat, menus, cookie notices"),
    "missing_fields": Words("Missing fields", "Nothing to learn from"),
    "secrets": Words("Secrets", "Keys, tokens, passwords"),
    "personal_data": Words("Personal data", "Contacts, accounts, numbers, names, addresses"),
    "languages": Words("Languages", "Only those asked for"),
    "gopher_repetition": Words("Repetition", "Repeated lines and phrases (Gopher)"),
    "gopher_quality": Words("Prose", "Words, symbols, bullet points (Gopher)"),
    "c4_quality": Words("Sentences", "Lines that are no sentences (C4)"),
    "fineweb_quality": Words("Lists and menus", "Short and repeated lines (FineWeb)"),
    "too_short": Words("Too short", "Characters of question and answer"),
    "contradictions": Words("Contradictions", "One question, different answers"),
    "exact_duplicates": Words("Exact duplicates", "The same twice"),
    "near_duplicates": Words("Near duplicates", "Question and answer nearly the same"),
    "decontamination": Words("Evaluation texts", "Passages that models are evaluated on"),
    "mislabelled": Words("Labels in doubt", "Confident learning, cross-validated"),
    "representativeness": Words("Real questions", "Are they covered by what is trained on?"),
    "poisoning": Words("Planted records", "Rare odd words that lead to one answer"),
    "instructions": Words("Instructions", "Labelled texts become questions"),
    "too_long": Words("Too long", "Tokens of the base model"),
    "splits": Words("Splits", "Training, validation and test, without leaks"),
}
SPLITS: Mapping[str, str] = {"train": "Training", "validation": "Validation", "test": "Test"}
LANGUAGES: Mapping[str, str] = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "und": "too short to tell",
}


def explain(words: Mapping[str, Words], name: str) -> Words:
    """The words for `name`; the name itself where a newer release knows more than this one."""
    return words.get(name) or Words(name.replace("_", " ").capitalize(), "")
