"""`python -m sartor_training server|worker|migrate`: the wiring."""

from __future__ import annotations

import sys

from sartor_platform.service import ServiceDefinition, main

from sartor_training import events, service, worker
from sartor_training.settings import TrainingSettings
from sartor_training.store import training_jobs

DEFINITION = ServiceDefinition(
    name="training",
    package="sartor_training",
    settings=TrainingSettings,
    servicers=service.servicers,
    topics=events.topics,
    handlers=events.handlers,
    job_kinds=worker.job_kinds,
    named_objects=training_jobs.checkpoint_uris,
)


if __name__ == "__main__":
    sys.exit(main(DEFINITION))
