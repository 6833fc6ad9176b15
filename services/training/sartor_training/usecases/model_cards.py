"""Model cards say what the gates said: each rule with its numbers."""

from __future__ import annotations

import hashlib

from sartor_platform import log
from sartor_platform.errors import DataLoss, NotFound
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction

from sartor_training.model_card import with_verdicts
from sartor_training.resources import MODEL_VERSION, Verdict
from sartor_training.store import models, verdicts

_AT_ONCE = 20


def version_judged(tx: Transaction, version: str, verdict: Verdict) -> None:
    """A gate let a version pass or stopped it; its card is written again soon."""
    MODEL_VERSION.parse(version, field="model_version")
    if not verdicts.keep(tx, version, verdict):
        log.get().info("model_card.version_unknown", version=version)


def rewrite(runtime: Runtime) -> None:
    """Write the cards that lack a verdict again. The old ones stay: somebody may be reading them."""
    with runtime.database.read() as connection:
        waiting = verdicts.not_in_card(connection, _AT_ONCE)
    for name in waiting:
        with runtime.database.read() as connection:
            version, shown = models.find_version(connection, name), verdicts.of_version(connection, name)
        if version is None:
            continue
        try:
            card = with_verdicts(runtime.objects.get_bytes(version.model_card).decode(), shown).encode()
        except (NotFound, DataLoss) as error:  # asking again changes nothing, and others wait behind it
            log.get().error("model_card.unreadable", version=name, error=error.message)
            written = version.model_card
        else:
            key = f"{name}/cards/{hashlib.sha256(card).hexdigest()[:16]}.md"
            written = runtime.objects.put_bytes(key, card)
        with runtime.database.transaction() as tx:
            verdicts.put_in_card(tx, name, written, shown)
