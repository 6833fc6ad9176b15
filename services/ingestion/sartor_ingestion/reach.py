"""Which objects a source may read: what a forged address runs into. Nothing but s3:// is ever fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sartor_platform.errors import InvalidArgument, PermissionDenied

from sartor_ingestion.formats.archives import path_problem
from sartor_ingestion.settings import IngestionSettings

_OBJECT = re.compile(r"s3://([a-z0-9][a-z0-9._-]{1,62})/([^?#]*)")


@dataclass(frozen=True, slots=True)
class Reach:
    """What object addresses may be read in this installation."""

    own_bucket: str
    allowed: tuple[str, ...] = ()
    """Prefixes outside of our bucket; empty allows any that a source names."""

    @classmethod
    def of(cls, settings: IngestionSettings) -> Reach:
        """As the settings say."""
        prefixes = (part.strip() for part in settings.allowed_object_prefixes.split(","))
        return cls(settings.s3_bucket, tuple(prefix for prefix in prefixes if prefix))

    def check(self, uri: str, source: str, prefixes: Sequence[str]) -> None:
        """See that a source reads only its project's own objects and those under the prefixes it names.

        Raises:
            InvalidArgument: BAD_OBJECT_URI.
            PermissionDenied: OBJECT_OF_ANOTHER_PROJECT, OBJECT_NOT_ALLOWED.
        """
        if problem := object_problem(uri):
            raise InvalidArgument(
                f"{uri[:300]!r} is no object that can be read: it {problem}",
                reason="BAD_OBJECT_URI",
                metadata={"uri": uri[:300]},
            )
        project = source.split("/", 2)[1]
        ours = f"s3://{self.own_bucket}/"
        if uri.startswith(f"{ours}{project}/"):
            return
        if uri.startswith(ours):
            raise PermissionDenied(
                f"{uri} does not belong to project {project}: in this bucket a project reads only what lies"
                f" under {ours}{project}/; put the object there, or into a bucket of your own",
                reason="OBJECT_OF_ANOTHER_PROJECT",
                metadata={"uri": uri, "project": project},
            )
        if not any(uri.startswith(prefix) for prefix in prefixes):
            advice = "name its prefix in the source's object_prefixes"
            raise _not_allowed(uri, source, f"{source} does not read {uri}; {advice}")
        if self.allowed and not any(uri.startswith(prefix) for prefix in self.allowed):
            known = ", ".join(self.allowed)
            raise _not_allowed(
                uri, source, f"this installation does not read {uri}; its operator allows {known}"
            )


def object_problem(uri: str) -> str:
    """What is wrong with the address of an object or of a prefix; empty where nothing is."""
    match = _OBJECT.fullmatch(uri)
    if match is None:
        return "must be s3://bucket/key; nothing else is ever fetched"
    problem = path_problem(match.group(2)) if match.group(2) else ""
    return f"must be an honest key: {problem}" if problem else ""


def _not_allowed(uri: str, source: str, message: str) -> PermissionDenied:
    return PermissionDenied(message, reason="OBJECT_NOT_ALLOWED", metadata={"uri": uri, "source": source})
