"""Records for tests of curation: a small support desk, and ways to make a record with a fault."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sartor_curation.pipeline import Curated
from sartor_curation.policy import Policy
from sartor_datasets.records import Message, Record, content_id

TIME = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
DATASET = "projects/desk/datasets/support"

TOPICS = [
    ("How do I reset the password of my account?", "Open the sign-in page and choose “Forgot password”."),
    (
        "Which ways of paying do you accept?",
        "Card, PayPal and bank transfer; invoices from the second order on.",
    ),
    (
        "Can I return shoes that I have worn outside?",
        "Only unworn shoes can be returned, within thirty days.",
    ),
    (
        "Wo finde ich die Rechnung zu meiner Bestellung?",
        "Im Kundenkonto unter Bestellungen, als PDF zum Laden.",
    ),
    (
        "Wie lange dauert der Versand nach Österreich?",
        "In der Regel drei bis fünf Werktage ab Versandbestätigung.",
    ),
    ("Der Akku lädt nicht mehr, was kann ich tun?", "Bitte das Kabel tauschen und das Gerät neu starten."),
    ("Is the lamp safe to be used in a bathroom?", "Yes, it is protected against splashing water (IP44)."),
    (
        "Kann ich einen Gutschein in Raten einlösen?",
        "Ja, der Rest bleibt als Guthaben auf dem Gutschein stehen.",
    ),
    (
        "What does the blinking red light on the router mean?",
        "It has lost the connection; switch it off and on.",
    ),
    ("Gibt es die Jacke auch in anderen Farben?", "Derzeit in Blau und Oliv, ab Frühjahr auch in Grau."),
]


def chat(key: str, question: str, answer: str, **attributes: str) -> Record:
    messages = (Message("user", question), Message("assistant", answer))
    return record(key, "chat", messages=messages, attributes=attributes)


def ticket(key: str, text: str, label: str, **attributes: str) -> Record:
    return record(key, "labelled", text=text, label=label, attributes=attributes)


def record(
    key: str,
    kind: str,
    *,
    messages: Sequence[Message] = (),
    text: str = "",
    label: str = "",
    attributes: dict[str, str] | None = None,
) -> Record:
    attributes = attributes or {}
    return Record(
        record_id=content_id(kind=kind, messages=messages, text=text, label=label, attributes=attributes),
        record_key=key,
        kind=kind,
        messages=tuple(messages),
        text=text,
        label=label,
        attributes=attributes,
        source="projects/desk/sources/tickets",
        position=f"test#{key}",
        event_time=TIME,
    )


def desk() -> list[Record]:
    """Twenty sound records without a fault: ten chats and ten tickets of three teams."""
    chats = [chat(f"chat-{number}", *topic) for number, topic in enumerate(TOPICS)]
    teams = ("billing", "shipping", "technical")
    subjects = [
        "Customer was charged twice for one order and wants the money back",
        "Das Paket liegt seit einer Woche in der Filiale und kommt nicht weiter",
        "The app closes by itself as soon as the camera is opened",
        "Auf der Rechnung fehlt die Umsatzsteuernummer der Firma",
        "Delivery man left the parcel in the rain, content is wet",
        "Nach dem Update bleibt der Bildschirm des Tablets schwarz",
        "Buyer asks for a discount because the price dropped a day later",
        "Die Lieferadresse soll noch auf die Arbeitsstelle geändert werden",
        "Headphones do not connect to the television any more",
        "Kunde möchte von Lastschrift auf Kreditkarte umstellen",
    ]
    tickets = [ticket(f"ticket-{i}", text, teams[i % 3]) for i, text in enumerate(subjects)]
    return chats + tickets


def policy(**changes: object) -> Policy:
    values: dict[str, object] = {
        "dataset": DATASET,
        "base_model": "projects/desk/baseModels/tiny",
        "languages": ("en", "de"),
        "min_characters": 8,
        "max_tokens": 200,
        "validation_share": 0.2,
        "test_share": 0.2,
        "label_instruction": "Which team of {labels}?\n{text}",
    }
    return Policy.from_spec({**values, **changes})


def count_words(texts: Sequence[str]) -> list[int]:
    """Stands for a tokenizer: a token is a word."""
    return [len(text.split()) for text in texts]


def reasons(curated: Curated) -> dict[str, str]:
    """Reason of each dropped record by its key."""
    return {one.record_key: one.reason for one in curated.dropped}


def splits(curated: Curated) -> dict[str, str]:
    """Split of each kept record by its key."""
    return {one.record.record_key: one.split for one in curated.records}
