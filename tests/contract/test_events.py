"""What events look like on the wire, and who acts on which: what other systems and older versions rely on.

The files in events/ are the JSON of one event each, as it was first published. Changing one breaks whoever
reads or writes such events: add fields, never rename.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from sartor_platform.topics import Topic

SERVICES = ("ingestion", "curation", "training", "evaluation", "deployment")
EVENTS = Path(__file__).parent / "events"
FILES = sorted(EVENTS.glob("*.json"))

HANDLED_BY = {
    "sartor.ingestion.foreign": {"ingestion"},  # what comes without CloudEvents headers, on a source's topic
    "sartor.ingestion.v1.RecordsPublished": {"ingestion"},
    "sartor.ingestion.v1.ObjectPublished": {"ingestion"},
    "sartor.ingestion.v1.SnapshotRequested": {"ingestion"},
    "sartor.ingestion.v1.SnapshotCreated": {"curation"},
    "sartor.ingestion.v1.SnapshotUnchanged": {"deployment"},
    "sartor.curation.v1.CurationSucceeded": {"training", "evaluation", "deployment"},
    "sartor.curation.v1.CurationFailed": {"deployment"},
    "sartor.training.v1.TrainingJobFailed": {"deployment"},
    "sartor.training.v1.BaseModelReady": {"curation", "evaluation", "deployment"},
    "sartor.training.v1.ModelVersionCreated": {"evaluation", "deployment"},
    "sartor.evaluation.v1.ModelVersionApproved": {"training", "deployment"},
    "sartor.evaluation.v1.ModelVersionRejected": {"training", "deployment"},
    "sartor.evaluation.v1.ModelVersionReevaluated": {"deployment"},
    "sartor.evaluation.v1.EvaluationFailed": {"deployment"},
    "sartor.evaluation.v1.SuiteApplied": {"curation"},
    "sartor.deployment.v1.RevisionPromoted": {"evaluation"},
    "sartor.deployment.v1.EndpointRolledBack": {"evaluation"},
    "sartor.deployment.v1.RetrainingRequested": {"training"},
    "sartor.deployment.v1.ReevaluationRequested": {"evaluation"},
}


def event_messages() -> set[str]:
    """The full names of all messages in the services' events files."""
    names = set()
    for service in SERVICES:
        module = importlib.import_module(f"sartor.{service}.v1.{service}_events_pb2")
        names |= {message.full_name for message in module.DESCRIPTOR.message_types_by_name.values()}
    return names


def test_every_event_has_a_file() -> None:
    """A new event is written down here when it is made."""
    assert {file.stem for file in FILES} == event_messages()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_event_keeps_its_form(file: Path) -> None:
    """What was published once is read whole, and is written the same way."""
    event_messages()
    descriptor = descriptor_pool.Default().FindMessageTypeByName(file.stem)
    data = json.loads(file.read_text())
    message = ParseDict(data, GetMessageClass(descriptor)())
    assert MessageToDict(message) == data


@pytest.mark.parametrize("service", SERVICES)
def test_who_acts_on_what(service: str) -> None:
    """The handler tables say it; a handler that gets lost is no silent loss of a stage."""
    definition = importlib.import_module(f"sartor_{service}.__main__").DEFINITION
    runtime = SimpleNamespace(
        settings=definition.settings(s3_bucket="sartor", **_required(definition.settings))
    )
    handlers = set(definition.handlers(runtime))
    assert handlers == {type_ for type_, services in HANDLED_BY.items() if service in services}


@pytest.mark.parametrize("service", SERVICES[1:])
def test_every_handled_event_comes_on_a_topic_that_is_read(service: str) -> None:
    """An event of a service is published on that service's topic."""
    definition = importlib.import_module(f"sartor_{service}.__main__").DEFINITION
    topics = {each.name if isinstance(each, Topic) else each for each in definition.topics(SimpleNamespace())}
    wanted = {type_.rpartition(".")[0] for type_, services in HANDLED_BY.items() if service in services}
    assert wanted <= topics


def _required(settings: type) -> dict[str, str]:
    """Values for what a service cannot run without; no handler table depends on them."""
    names = ("database_url", "kafka_bootstrap_servers", "s3_endpoint", "s3_access_key", "s3_secret_key")
    return dict.fromkeys(names, "unused")
