"""`python -m sartor_training server|worker|migrate`: the wiring."""

from __future__ import annotations

import sys

from sartor_platform.runtime import Runtime
from sartor_platform.service import ServiceDefinition, main
from sartor_platform.ticks import Tick

from sartor_training import events, service, worker
from sartor_training.settings import TrainingSettings
from sartor_training.store import training_jobs
from sartor_training.usecases import model_cards

_CARD_SECONDS = 2.0


def _ticks(_runtime: Runtime) -> list[Tick]:
    return [Tick("model_cards", _CARD_SECONDS, model_cards.rewrite)]


DEFINITION = ServiceDefinition(
    name="training",
    package="sartor_training",
    settings=TrainingSettings,
    servicers=service.servicers,
    topics=events.topics,
    handlers=events.handlers,
    job_kinds=worker.job_kinds,
    ticks=_ticks,
    named_objects=training_jobs.checkpoint_uris,
)


if __name__ == "__main__":
    sys.exit(main(DEFINITION))
