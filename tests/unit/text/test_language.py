"""Facts about language identification on short texts, where guessing wrongly would cost good records."""

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier
from sartor_text.language import MAIN, UNSURE, identify
from sartor_text.language_codes import LANGUAGE_CODES

from tests.unit.text.short_texts import other_texts, short_texts

GERMAN = """Wie setze ich mein Passwort zurück?
Wo ist meine Bestellung 48213?
Mein Monitor bleibt schwarz
Outlook startet nicht mehr
Der Drucker druckt nur leere Seiten
Bitte öffnen Sie die App, wählen Sie Einstellungen und dann Sicherheit.
Kündigung zum Monatsende
Ich moechte mein Abo kuendigen
Laptop gestohlen, was tun?
Ich habe zwei Rechnungen für denselben Monat bekommen.
Kann ich die Lieferadresse noch ändern?
Guten Tag, mein Paket [EMAIL_1] ist beschädigt angekommen.
Das Ladegerät wird nach fünf Minuten sehr heiß.
Wir erstatten den Betrag innerhalb von 14 Tagen auf Ihr Konto.
VPN geht nicht""".splitlines()

ENGLISH = """Where is my order 48213?
How do I reset my password?
VPN does not connect
My printer prints only blank pages
Please open the app, choose Settings, then Security, and tap Reset.
I was charged twice for the same month.
Can I still change the delivery address?
The charger gets very hot after five minutes.
We refund the amount to your account within 14 days.
My parcel arrived damaged, what should I do now?
Your subscription ends at the end of the month.
The screen stays black after the update""".splitlines()

OTHERS = {
    "fr": """Où est ma commande 12345 ? Je l'attends depuis deux semaines.
Bonjour, je voudrais savoir comment réinitialiser mon mot de passe.
Mon imprimante n'imprime que des pages blanches depuis hier.
Nous vous remboursons le montant dans un délai de quatorze jours.""",
    "es": """¿Dónde está mi pedido? Lo pedí hace dos semanas.
Quisiera cancelar mi suscripción a finales de este mes.
La pantalla se queda en negro después de la actualización.""",
    "it": """Vorrei sapere dove si trova il mio ordine, per favore.
Lo schermo rimane nero dopo l'ultimo aggiornamento.""",
    "pl": """Gdzie jest moje zamówienie? Czekam już dwa tygodnie.
Chciałbym zresetować hasło do mojego konta.""",
    "nl": """Waar is mijn bestelling? Ik wacht al twee weken.
Ik wil graag mijn abonnement opzeggen aan het einde van de maand.""",
    "sv": "Hur återställer jag mitt lösenord till kontot?",
    "tr": "Siparişim nerede? İki haftadır bekliyorum ve hiçbir haber alamadım.",
    "zh": "我的订单在哪里?我已经等了两个星期了。",
    "ja": "注文した商品はどこですか。もう二週間待っています。",
    "ru": "Где мой заказ? Я жду уже две недели и не получил ответа.",
}

NOT_ENOUGH = [
    "",
    "Hi",
    "Rechnung",
    "OK danke",
    "billing-team",
    "Reset 2FA token",
    "Ticket 99813?",
    "12345 67890",
    "[EMAIL_1] [PHONE_1]",
    "https://example.org/de/hilfe/passwort",
    "import os; print(os.getcwd())",
]


@pytest.mark.parametrize(
    ("text", "code"), [(text, "de") for text in GERMAN] + [(text, "en") for text in ENGLISH]
)
def test_an_expected_language_is_recognised(text: str, code: str) -> None:
    assert identify(text, ["en", "de"]).code == code


@pytest.mark.parametrize(
    ("text", "code"), [(line, code) for code, lines in OTHERS.items() for line in lines.splitlines()]
)
def test_a_wrong_language_is_found(text: str, code: str) -> None:
    assert identify(text, ["en", "de"]).code == code


@pytest.mark.parametrize("text", NOT_ENOUGH)
def test_too_little_text_is_unsure(text: str) -> None:
    assert identify(text, ["en", "de"]).code == UNSURE


def test_shouting_does_not_change_the_language() -> None:
    assert identify("WO BLEIBT MEIN PAKET DENN NUR?", ["en", "de"]).code == "de"


def test_a_wrong_language_is_wrong_only_where_it_is_not_expected() -> None:
    text = "Bonjour, je voudrais savoir comment réinitialiser mon mot de passe."
    assert identify(text, ["fr"]).code == "fr"


def test_an_unknown_code_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="ISO 639-1"):
        identify("Guten Tag", ["german"])


def test_the_listed_codes_are_those_of_the_model() -> None:
    assert frozenset(LanguageIdentifier.from_model_file(MODEL_FILE).labels) == LANGUAGE_CODES


@pytest.mark.parametrize("languages", [MAIN, ()])
def test_short_texts_are_named_or_left_open_but_not_confused(languages: tuple[str, ...]) -> None:
    """The figures that docs/curation.md gives."""
    found = [(identify(text, languages).code, language) for text, language in short_texts()]
    assert sum(code == language for code, language in found) >= 0.92 * len(found)
    assert [pair for pair in found if pair[0] not in (pair[1], UNSURE)] == []
    taken = [text for text in other_texts() if identify(text, languages).code in MAIN]
    assert taken == []


def test_where_two_languages_are_expected_the_others_are_not_taken_for_them() -> None:
    foreign = [text for text, language in short_texts() if language not in ("de", "en")] + other_texts()
    taken = [text for text in foreign if identify(text, ("de", "en")).code in ("de", "en")]
    assert len(taken) <= 2
