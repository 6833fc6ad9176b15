"""`python -m sartor_curation server|worker|migrate`: the wiring."""

from __future__ import annotations

import sys

from sartor_platform.service import ServiceDefinition, main

from sartor_curation import events, service, worker
from sartor_curation.settings import CurationSettings

DEFINITION = ServiceDefinition(
    name="curation",
    package="sartor_curation",
    settings=CurationSettings,
    servicers=service.servicers,
    topics=events.topics,
    handlers=events.handlers,
    job_kinds=worker.job_kinds,
)


if __name__ == "__main__":
    sys.exit(main(DEFINITION))
