"""Resource names, such as `projects/{project}/sources/{source}`, and ids that sort by their time."""

from __future__ import annotations

import re
import secrets
import threading
import time
from dataclasses import dataclass, field

from sartor_platform.errors import FieldViolation, InvalidArgument

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ID_RULE = re.compile(_ID)
_VARIABLE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """The pattern of a resource's names; made by `pattern`."""

    template: str
    variables: tuple[str, ...]
    _regex: re.Pattern[str] = field(repr=False)

    def parse(self, name: str, *, field: str = "name") -> dict[str, str]:
        """The ids in a name, by variable.

        Raises:
            InvalidArgument: BAD_RESOURCE_NAME, with the pattern the name should have.
        """
        match = self._regex.fullmatch(name)
        if match is None:
            raise InvalidArgument(
                f"{name!r} is not a name of the form {self.template};"
                " ids are lower-case letters, digits and hyphens",
                reason="BAD_RESOURCE_NAME",
                metadata={"name": name, "pattern": self.template},
                violations=[FieldViolation(field, f"must have the form {self.template}")],
            )
        return match.groupdict()

    def matches(self, name: str) -> bool:
        """Whether the name has this form."""
        return self._regex.fullmatch(name) is not None

    def format(self, **ids: str) -> str:
        """The name with these ids.

        Raises:
            InvalidArgument: BAD_RESOURCE_NAME, an id breaks the rule.
        """
        for variable in self.variables:
            check_id(ids[variable], field=variable)
        return self.template.format(**ids)


def pattern(template: str) -> NamePattern:
    """The pattern of a template such as `projects/{project}/sources/{source}`."""
    variables = tuple(_VARIABLE.findall(template))
    parts = [
        re.escape(part) if i % 2 == 0 else f"(?P<{part}>{_ID})"
        for i, part in enumerate(_VARIABLE.split(template))
    ]
    return NamePattern(template, variables, re.compile("".join(parts)))


def check_id(value: str, *, field: str = "id") -> str:
    """The id itself if it keeps the rule: 1 to 63 of a-z, 0-9 and inner hyphens.

    Raises:
        InvalidArgument: BAD_RESOURCE_NAME.
    """
    if _ID_RULE.fullmatch(value) is None:
        raise InvalidArgument(
            f"{value!r} is not an id: 1 to 63 lower-case letters, digits and inner hyphens",
            reason="BAD_RESOURCE_NAME",
            metadata={"id": value},
            violations=[FieldViolation(field, "must be 1 to 63 of a-z, 0-9 and inner hyphens")],
        )
    return value


_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """26 lower-case base32 characters: 48 bits of milliseconds, 80 random.

    Later ids of one process sort after earlier ones.
    """
    global _last
    with _lock:
        _last = max((time.time_ns() // 1_000_000) << 80 | secrets.randbits(80), _last + 1)
        value = _last
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def new_run_id() -> str:
    """The id of a run: everything that follows from one cause."""
    return new_id()
