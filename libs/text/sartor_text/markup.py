"""Takes HTML and BBCode out of text, leaving what only looks like it: code, comparisons, Markdown."""

import html
import re

# Only tags that occur in exported mails, tickets and wiki pages: "a < b and c > d" or "<your name>" is no
# markup.
_TAG_NAMES = (
    "a|abbr|address|article|aside|b|big|blockquote|body|br|button|center|cite|code|col|colgroup|dd|del|details|"
    "div|dl|dt|em|fieldset|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|"
    "label|legend|li|link|main|mark|meta|nav|noscript|object|ol|optgroup|option|p|param|pre|q|s|samp|section|"
    "select|small|span|strike|strong|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead|title|tr|tt|u|"
    "ul|var|video|o:p"
)
_TAG = re.compile(rf"</?(?P<name>{_TAG_NAMES})(?:\s[^<>]*|/)?>", re.IGNORECASE)
_HIDDEN = re.compile(
    r"<(script|style|head)\b[^>]*>.*?</\1\s*>|<!--.*?-->|<!doctype[^>]*>", re.IGNORECASE | re.DOTALL
)
_BBCODE = re.compile(
    r"\[/?(?:b|i|u|s|quote|url|img|size|color|code|list)(?:=[^\]\s]{1,200})?\]", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_LINE_BREAKING = re.compile(
    r"address|article|aside|blockquote|body|br|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|"
    r"header|hr|li|main|nav|ol|option|p|pre|section|table|td|th|title|tr|ul",
    re.IGNORECASE,
)
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_SPACES_AROUND_BREAK = re.compile(r"[ \t]*\n[ \t]*")


def strip_markup(text: str) -> str:
    """`text` without HTML tags, comments, scripts, entities and BBCode; the same object if there are none.

    Block tags become line breaks, so that list items and paragraphs stay apart. Text in Markdown code marks
    is left as it is, for there a tag is content.
    """
    if "<" not in text and "&" not in text and "[" not in text:
        return text
    pieces: list[str] = []
    end = 0
    for code in _CODE.finditer(text):
        pieces += (_strip(text[end : code.start()]), code.group())
        end = code.end()
    pieces.append(_strip(text[end:]))
    stripped = "".join(pieces)
    return text if stripped == text else _tidy(stripped)


def _strip(text: str) -> str:
    without_tags = _BBCODE.sub("", _TAG.sub(_replacement, _HIDDEN.sub(" ", text)))
    return _ENTITY.sub(lambda found: html.unescape(found.group()), without_tags)


def _replacement(tag: re.Match[str]) -> str:
    return "\n" if _LINE_BREAKING.fullmatch(tag["name"]) else ""


def _tidy(text: str) -> str:
    return _BLANK_LINES.sub("\n\n", _SPACES_AROUND_BREAK.sub("\n", text)).strip()
