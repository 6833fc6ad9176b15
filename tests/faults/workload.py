"""What the outside world does in a round: datasets with standing orders, records in two waves."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sartor_cli.apply import apply_project
from sartor_cli.client import Sartor
from sartor_cli.project_file import read_project_file
from sartor_platform.errors import SartorError

from tests.faults.ledger import DatasetLedger, Ledger, Row, records_event
from tests.faults.plan import LOOP, MODEL
from tests.faults.producer import OutsideProducer

_PATIENCE_SECONDS = 90.0
T = TypeVar("T")

BASE_MODEL = """
project: {project}
base_models:
  - name: tiny
    reference: file:{model}
"""
_DATASETS = """
sources:
{sources}
curation:
{policies}
"""
_SOURCE = """\
  - name: {name}
    dataset: {name}
    mapping: {{kind: auto, prompt: question, completion: answer, key: id, attributes: [version]}}
    snapshot: {{quiet_seconds: 0.7}}
"""
_POLICY = """\
  - name: {name}
    dataset: {name}
    base_model: tiny
    length: {{min_characters: 3, max_tokens: 256}}
    near_duplicates: {{threshold: 1.0}}
    split: {{validation: 0.15, test: 0.15}}
"""
_MODELS = """
training:
{plans}
evaluation:
{gates}
deployment:
{endpoints}
"""
_PLAN = """\
  - name: {name}
    curation: {name}
    model: {name}
    base_model: tiny
    recipe: {{method: sft, rank: 4, epochs: 2, tokens_per_batch: 256, checkpoint_every_steps: 4}}
"""
_BY_LOOP = "    trigger: loop\n"
_GATE = """\
  - name: {name}
    model: {name}
    general_suite: ""
    max_items: 4
    few_shot: {{shots: [1], choices: [fixed], items: 2}}
    rules:
      - {{metric: loss, compared_to: base, at_most: 5.0}}
      # What a model of random weights knows is chance: the verdict must not hang on it.
      - {{suite: general, metric: choice_accuracy, compared_to: base, at_least: -1.0}}
"""
_ENDPOINT = """\
  - name: {name}
    model: {name}
    parity: {{loss_margin: 1.0, top1_agreement: 0.1}}
    engine: {{context_length: 256, slots: 1, threads: 1}}
"""
CORRECTIONS = 3
_CORRECTED = """\
  - name: {name}-corrections
    dataset: {name}
    mapping: {{kind: chat, messages: messages, key: id}}
    snapshot: {{quiet_seconds: 0.7}}
"""
_LOOP = """\
    watching: {{sample_share: 1}}
    loop:
      training: {name}
      curation: {name}
      source: {name}-corrections
      dataset: {name}
      min_corrections: {corrections}
      cool_down_seconds: 0
"""


def asked(call: Callable[[], T]) -> T:
    """A client that asks again while the answer is that it may: servers are being killed."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return call()
        except SartorError as error:
            if not error.transient or time.monotonic() > until:
                raise
        time.sleep(0.2)


def apply_text(sartor: Sartor, text: str) -> None:
    """Apply a project file; again where an answer was lost, which changes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "project.yaml"
        path.write_text(text)
        project = read_project_file(path)
    asked(lambda: apply_project(sartor, project))


def data_orders(project: str, model: Path, names: list[str], kind: str) -> str:
    """The project file of a round's datasets, with what follows curation as the kind of the round asks."""
    loop = kind == LOOP
    source = _SOURCE + (_CORRECTED if loop else "")
    plan = _PLAN + (_BY_LOOP if loop else "")
    endpoint = _ENDPOINT + (_LOOP if loop else "")
    text = BASE_MODEL.format(project=project, model=model)
    text += _DATASETS.format(
        sources="".join(source.format(name=name) for name in names),
        policies="".join(_POLICY.format(name=name) for name in names),
    )
    if kind in (MODEL, LOOP):
        text += _MODELS.format(
            plans="".join(plan.format(name=name) for name in names),
            gates="".join(_GATE.format(name=name) for name in names),
            endpoints="".join(endpoint.format(name=name, corrections=CORRECTIONS) for name in names),
        )
    return text


class Feed:
    """Sends one dataset's records, event after event, each acknowledged before the next."""

    def __init__(
        self, ledger: Ledger, page: DatasetLedger, producer: OutsideProducer, rng: random.Random
    ) -> None:
        self._ledger = ledger
        self.page = page
        self._producer = producer
        self._rng = rng
        self._number = 0
        self._versions: dict[str, int] = {}

    def first_wave(self, events: int, rows: int) -> None:
        """New records."""
        for event in range(events):
            self.send([self._upsert(f"{event}-{row}") for row in range(rows)])

    def second_wave(self, events: int) -> None:
        """Corrections, withdrawals and a few new ones, mixed."""
        for event in range(events):
            known = sorted(self._versions)
            rows = [self._upsert(key) for key in self._rng.sample(known, min(4, len(known)))]
            rows.append(Row(self._rng.choice(known), 0))
            rows.append(self._upsert(f"late-{event}"))
            self.send(rows)

    def closing(self) -> None:
        """One more record: once it is in a snapshot, all that was sent before it was handled."""
        self.send([self._upsert(f"closing-{self._number}")])

    def send(self, rows: list[Row]) -> None:
        """Send one event until it is acknowledged."""
        self._number += 1
        event = records_event(self.page, self._number, rows)
        self._producer.send(event)
        self._ledger.acknowledged(self.page, event, rows)

    def _upsert(self, key: str) -> Row:
        self._versions[key] = self._versions.get(key, 0) + 1
        return Row(key, self._versions[key])
