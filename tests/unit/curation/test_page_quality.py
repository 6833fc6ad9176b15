"""Facts about the heuristics for pages: each published rule finds what it is for, prose passes them all."""

from __future__ import annotations

import pytest
from sartor_curation.pipeline import curate
from sartor_curation.steps.c4_quality import c4_quality
from sartor_curation.steps.fineweb_quality import fineweb_quality
from sartor_curation.steps.gopher_quality import gopher_quality
from sartor_curation.steps.gopher_repetition import gopher_repetition
from sartor_text.words import Lexicon

from tests.unit.curation.desk import count_words, policy, reasons, record

SENTENCES = [
    "The river that runs through the old town has been there for longer than anybody can tell.",
    "In spring it carries the snow of the mountains, and children have to be kept away from the bank.",
    "A mill stood at the bend until the great flood took its wheel and half of the miller's garden.",
    "Nobody rebuilt it, because by that time flour came by rail and cost a third of what he had asked.",
    "Today the place is a park with benches, and old people feed the ducks although a sign forbids it.",
    "What remains of the weir can be seen when the water is low, and the town is proud of it.",
]
PROSE = " ".join(SENTENCES[:3]) + "\n" + " ".join(SENTENCES[3:])


def rules_broken(text: str, language: str = "en") -> list[str]:
    lexicon = Lexicon()
    pieces = lexicon.split([text])
    found = [
        gopher_repetition([text], pieces),
        gopher_quality([text], pieces, [language]),
        c4_quality([text], lexicon, terminal=False)[1],
        fineweb_quality([text], pieces),
    ]
    return [one[0] for one in found if one]


def test_prose_breaks_no_rule() -> None:
    assert rules_broken(PROSE) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (SENTENCES[0], "fewer than 50 words"),
        ("a b c d e f " * 20, "words too short on average"),
        ("supercalifragilistic expialidocious " * 40, "words too long on average"),
        (PROSE.replace(" the ", " #### "), "too many hash signs"),
        ("\n".join(f"- {one}" for one in SENTENCES * 2), "most lines are bullet points"),
        (PROSE.replace(". ", "...\n").replace(".\n", "...\n"), "lines break off in ellipses"),
        ("1984 % 77 / 3.14 the of " * 20, "too few words with letters"),
        ("Kelvin mords quen folta brisk wendel arno tulp " * 12, "hardly any common words"),
        (PROSE + ("\n" + SENTENCES[0]) * 6, "repeated lines"),
        (
            " ".join(f"{one} Sign up here for more of the news." for one in SENTENCES * 2),
            "repeated phrases of 5 words",
        ),
        (PROSE + "\nif (x) { return; }", "a curly bracket, as in code"),
        (PROSE + "\nLorem ipsum dolor sit amet.", "placeholder text (lorem ipsum)"),
        ("\n".join(f"Entry {n}." for n in range(40)), "most lines are short"),
    ],
)
def test_a_page_that_breaks_a_rule_is_found(text: str, rule: str) -> None:
    assert any(rule in found or found.startswith(rule) for found in rules_broken(text)), rules_broken(text)


def test_c4_takes_out_lines_and_keeps_the_page() -> None:
    page = f"{PROSE}\nPlease enable Javascript.\nWe use cookies on this site, read the privacy policy.\nHome"
    texts, found = c4_quality([page], Lexicon(), terminal=False)
    assert texts == [PROSE]
    assert not found


def test_common_words_are_asked_in_the_language_of_the_text() -> None:
    german = "Der Fluss fließt in die Stadt und zu den alten Mühlen, von denen nur die Mauern stehen. " * 5
    assert "hardly any common words" in rules_broken(german, "en")
    assert "hardly any common words" not in rules_broken(german, "de")


def test_a_corpus_is_filtered_and_chats_are_not() -> None:
    pages = [record("good", "document", text=PROSE), record("bad", "document", text="buy now " * 60)]
    curated = curate(pages, policy(preset="CORPUS", languages=(), max_tokens=0), count_words)
    assert reasons(curated) == {"bad": "REPETITION"}
    assert reasons(curate(pages, policy(languages=(), max_tokens=0), count_words)) == {}
