"""Short pieces of text for people to look at, without personal data."""

from sartor_text.pseudonyms import mask

WIDTH = 240


def excerpt(text: str, width: int = WIDTH) -> str:
    """The beginning of `text` on one line, personal data masked."""
    masked = mask((text[: 2 * width],)).texts[0]
    return _cut(" ".join(masked.split()), width)


def before_and_after(before: str, after: str, width: int = WIDTH) -> tuple[str, str]:
    """The place where two texts first differ, in both, with personal data blotted out."""
    same = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    start = max(0, same - width // 3)
    lead = "…" if start else ""
    blotted = mask((before, after)).blotted
    return lead + _cut(blotted[0][start:], width), lead + _cut(blotted[1][start:], width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"
