"""Facts about normalisation and markup."""

import pytest
from sartor_text.markup import strip_markup
from sartor_text.normalise import Change, normalise


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("FÃ¼r RÃ¼ckgaben gilt: 30 Tage.", "Für Rückgaben gilt: 30 Tage."),
        ("Itâ€™s on its way â€“ really.", "It’s on its way – really."),
        ("Die GebÃ¼hr betrÃ¤gt 5 â‚¬.", "Die Gebühr beträgt 5 €."),
        ("Größe ist richtig.\nGrÃ¶ÃŸe ist es nicht.", "Größe ist richtig.\nGröße ist es nicht."),
    ],
)
def test_mojibake_is_repaired(broken: str, mended: str) -> None:
    result = normalise(broken)
    assert result.text == mended
    assert result.changes == {Change.MOJIBAKE}


@pytest.mark.parametrize(
    "sound",
    [
        "Für Größe, Öl und Übermut – „so“ steht es da.",
        "Ça va très bien, merci à tous.",
        "a < b and c > d; x<y",
        "Use List<String> and <your name> here.",
        "R&D and AT&T; cats & dogs",
        "if (a && b) return;",
        "**bold**, `<b>code</b>` and [a link](https://example.org)",
        "```html\n<p>Hallo</p>\n```",
        "- one\n- two\n  - three",
        "Order [EMAIL_1] and [1] stay.",
        "😀 👨‍👩‍👧 bleiben",
    ],
)
def test_sound_text_stays_as_it_is(sound: str) -> None:
    result = normalise(sound)
    assert result.text == sound
    assert result.changes == frozenset()


def test_markup_becomes_text() -> None:
    page = (
        "<style>p {color: red}</style><p>Guten&nbsp;Tag,</p><p>Ihr <b>Paket</b> ist da.<br/>Gru&szlig;</p>"
        "<!-- tracking --><ul><li>eins</li><li>zwei</li></ul>"
    )
    result = normalise(page)
    assert result.text == "Guten Tag,\n\nIhr Paket ist da.\nGruß\n\neins\n\nzwei"
    assert Change.MARKUP in result.changes


def test_double_escaped_entities_are_undone_once() -> None:
    assert strip_markup("&amp;lt;b&amp;gt; is how to write a tag") == "&lt;b&gt; is how to write a tag"


def test_decomposed_letters_are_composed_and_invisible_ones_go() -> None:
    result = normalise("U\u0308ber\u200b\u00adweisung\ufeff \x07ok")
    assert result.text == "Überweisung ok"
    assert result.changes == {Change.UNICODE}


def test_white_space_is_plain() -> None:
    result = normalise("  eins\u00a0zwei   drei \r\n\r\n\r\n\r\nvier\t \n")
    assert result.text == "eins zwei drei\n\nvier"
    assert result.changes == {Change.WHITESPACE}


def test_code_keeps_its_indentation() -> None:
    code = "Try this:\n```python\nif ready:\n    go(  1 )\n```"
    assert normalise(code).text == code


def test_normalising_twice_changes_nothing_more() -> None:
    once = normalise("<p>FÃ¼r  Sie&nbsp;&ndash; heute\r\n</p>").text
    assert normalise(once).text == once
    assert normalise(once).changes == frozenset()


def test_only_what_is_wanted_is_done() -> None:
    assert normalise("<b>x</b>  y", frozenset({Change.MARKUP})).text == "x  y"
