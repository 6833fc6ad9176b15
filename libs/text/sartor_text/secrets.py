"""Finds keys, tokens and passwords that a model could learn by heart."""

import math
import re
from collections import Counter
from collections.abc import Iterator

_KNOWN = re.compile(
    r"(?:"
    r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"  # AWS access key
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}"  # GitHub, GitLab
    r"|xox[abeoprs]-[\w-]{10,}"  # Slack
    r"|AIza[\w-]{35}"  # Google
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}"  # Stripe
    r"|sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{40,}|dop_v1_[a-f0-9]{64}"
    r"|SG\.[\w-]{20,}\.[\w-]{20,}"  # SendGrid
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{5,}"  # JSON web token
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\Z)"
    r")"
)
# What the patterns cannot match without; to look for it takes a tenth of their time.
_SIGNS = (
    *("AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "AIza"),
    *("k_live_", "k_test_", "sk-", "hf_", "npm_", "pypi-", "dop_v1_", "SG.", "eyJ", "-----BEGIN "),
)
_NAMES = ("key", "secret", "token", "bearer", "passwor", "passwd", "kennwort", "pwd")
_IN_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,64}:(?P<secret>[^\s/@]{3,128})@")
_ASSIGNED = re.compile(
    r"(?:api[_ -]?key|secret(?:[_ -]?key)?|access[_ -]?token|auth[_ -]?token|bearer|token|passwor[dt]|passwd"
    r"|kennwort|pwd)[\"']?\s*(?:[:=]|is|ist|lautet)\s*[\"']?(?P<secret>[^\s\"'<>,;]{6,200})",
    re.IGNORECASE,
)
_LEAST_ENTROPY = 2.7  # bits a character: words and placeholders stay below, made-up strings above
_PLACEHOLDER = re.compile(r"^[\[<{$(%*x]|^(?:your|ihr|dein|example|changeme)", re.IGNORECASE)


def secrets_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and value of secrets: of known forms, in addresses, or assigned to what says so."""
    if any(sign in text for sign in _SIGNS):
        for match in _KNOWN.finditer(text):
            yield match.start(), match.end(), match.group()
    if "://" in text and "@" in text:
        for match in _IN_ADDRESS.finditer(text):
            yield match.start("secret"), match.end("secret"), match["secret"]
    folded = text.casefold()
    if not any(name in folded for name in _NAMES):
        return
    for match in _ASSIGNED.finditer(text):
        value = match["secret"].rstrip(".!?)")
        if _looks_made_up(value):
            yield match.start("secret"), match.start("secret") + len(value), value


def _looks_made_up(value: str) -> bool:
    """Whether this is no word: digits among letters, or signs, and characters that hardly repeat."""
    if len(value) < 6 or _PLACEHOLDER.match(value):
        return False
    kinds = [any(map(test, value)) for test in (str.isdigit, str.islower, str.isupper)]
    kinds.append(any(not sign.isalnum() for sign in value))
    return sum(kinds) >= 2 and kinds != [False, True, True, False] and _entropy(value) >= _LEAST_ENTROPY


def _entropy(value: str) -> float:
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
