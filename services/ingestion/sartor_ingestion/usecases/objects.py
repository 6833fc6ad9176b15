"""Objects of other systems: what was written is imported, many at once; what was removed is withdrawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from sartor_platform import log
from sartor_platform.transaction import Transaction

from sartor_ingestion.adapters.messages import ObjectNotice
from sartor_ingestion.reach import Reach
from sartor_ingestion.store import datasets, known_objects
from sartor_ingestion.store.sources import SourceOnDuty
from sartor_ingestion.usecases.imports import Arriving, start_import, withdraw_removed

MOST_AT_ONCE = 500
"""Objects of one import: a child process a thousand objects would take longer to start than to read them."""
_BYTES_AT_ONCE = 256 << 20


@dataclass(slots=True)
class Notices:
    """What the messages of one transaction say of the objects of each source."""

    reach: Reach
    written: dict[str, dict[str, ObjectNotice]] = field(default_factory=lambda: defaultdict(dict))
    """By source and address: of several notices of one object the last counts."""
    sources: dict[str, SourceOnDuty] = field(default_factory=dict)
    created_by: dict[str, str] = field(default_factory=dict)

    def take(
        self,
        tx: Transaction,
        source: SourceOnDuty,
        notices: Iterable[ObjectNotice],
        position: str,
        topic: str,
    ) -> None:
        """Remember what was written; withdraw what was removed.

        Raises:
            InvalidArgument: BAD_OBJECT_URI.
            PermissionDenied: OBJECT_NOT_ALLOWED.
        """
        self.sources[source.name] = source
        self.created_by[source.name] = f"event:{topic}"[:200]
        for notice in notices:
            self.reach.check(notice.uri, source.name, source.spec.object_prefixes)
            if notice.removed:
                self._removed(tx, source, notice, position)
                continue
            version = notice.version or position
            if known_objects.is_new(tx, source.id, notice.uri, version):
                self.written[source.name][notice.uri] = notice
            else:
                log.get().info("object.known", uri=notice.uri, version=version)

    def _removed(self, tx: Transaction, source: SourceOnDuty, notice: ObjectNotice, position: str) -> None:
        known = known_objects.known(tx.connection, source.id, notice.uri).get(notice.uri)
        if notice.version and known not in (None, notice.version):
            log.get().info("object.old_version_removed", uri=notice.uri, version=notice.version)
            return
        self.written[source.name].pop(notice.uri, None)
        known_objects.is_new(tx, source.id, notice.uri, known_objects.REMOVED)
        if not source.spec.keep_lost_rows:
            datasets.lock(tx, [source.dataset_id])
            withdraw_removed(tx, source.id, source.dataset_id, [notice.uri], position)

    def start(self, tx: Transaction) -> None:
        """Start the imports of what was written: of one object, or of many below one folder."""
        for name, notices in self.written.items():
            for folder, several in _grouped(notices, self.sources[name].spec.object_prefixes):
                self._start(tx, name, folder, several)

    def _start(self, tx: Transaction, source: str, folder: str, notices: Sequence[ObjectNotice]) -> None:
        single = notices[0] if len(notices) == 1 else None
        arriving = Arriving(
            source=source,
            uri=single.uri if single else folder,
            sha256="",
            size_bytes=sum(notice.size_bytes for notice in notices),
            file_name=PurePosixPath(single.uri).name if single else f"{len(notices)} objects",
            objects=() if single else tuple((one.uri, one.version) for one in notices),
        )
        start_import(tx, arriving, self.created_by[source], self.reach)


def _grouped(
    notices: Mapping[str, ObjectNotice], prefixes: Sequence[str]
) -> Iterable[tuple[str, list[ObjectNotice]]]:
    """Objects below one folder that the source may read, as many as one import takes; others one by one."""
    groups: dict[str, list[ObjectNotice]] = defaultdict(list)
    for uri, notice in notices.items():
        prefix = next((one for one in prefixes if one.endswith("/") and uri.startswith(one)), "")
        groups[prefix or uri].append(notice)
    for folder, several in groups.items():
        held: list[ObjectNotice] = []
        for notice in several:
            full = len(held) == MOST_AT_ONCE or sum(one.size_bytes for one in held) > _BYTES_AT_ONCE
            if held and full:
                yield folder, held
                held = []
            held.append(notice)
        yield folder, held
