"""Facts about the resources of ingestion."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from sartor_ingestion.mapping import Mapping
from sartor_ingestion.resources import SnapshotRule, SourceSpec, check_source, project_of
from sartor_platform.errors import InvalidArgument

NAME = "projects/p/sources/s"
SPEC = SourceSpec(dataset="projects/p/datasets/d")


def test_a_specification_comes_back_from_its_revision() -> None:
    spec = replace(
        SPEC,
        mapping=Mapping(kind="labelled", key="id", attributes=("a", "b")),
        snapshot_rule=SnapshotRule(at_records=5, quiet_seconds=1.5),
    )
    assert SourceSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_plain_source_has_no_fault() -> None:
    check_source(NAME, SPEC)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (replace(SPEC, dataset="d"), "source.dataset"),
        (replace(SPEC, dataset="projects/other/datasets/d"), "source.dataset"),
        (replace(SPEC, topic="a b"), "source.topic"),
        (replace(SPEC, topic="sartor.curation.v1"), "source.topic"),
        (replace(SPEC, topic="sartor.data.dlq"), "source.topic"),
        (replace(SPEC, format="xml"), "source.format"),
        (replace(SPEC, mapping=Mapping(kind="poem")), "source.mapping.kind"),
        (replace(SPEC, mapping=Mapping(attributes=("a", ""))), "source.mapping.attributes"),
        (replace(SPEC, mapping=Mapping(subject="name", attributes=("name",))), "source.mapping.attributes"),
        (
            replace(SPEC, snapshot_rule=SnapshotRule(quiet_seconds=float("nan"))),
            "source.snapshot_rule.quiet_seconds",
        ),
    ],
)
def test_a_fault_is_named_by_its_field(spec: SourceSpec, field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        check_source(NAME, spec)
    assert [violation.field for violation in error.value.violations] == [field]


def test_the_project_of_a_name() -> None:
    assert project_of("projects/p/datasets/d/snapshots/1") == "p"


def test_server_and_worker_start_without_arrow_and_without_torch() -> None:
    code = """
import sys, sartor_ingestion.__main__
sys.exit(bool({"pyarrow", "numpy", "torch", "transformers", "alembic"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
