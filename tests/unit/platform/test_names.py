"""Resource names and ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sartor_platform.errors import InvalidArgument
from sartor_platform.names import check_id, new_id, pattern

SOURCES = pattern("projects/{project}/sources/{source}")
IDS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@given(project=IDS, source=IDS)
def test_a_name_is_parsed_into_what_it_was_made_of(project: str, source: str) -> None:
    """For all ids that keep the rule."""
    name = SOURCES.format(project=project, source=source)
    assert SOURCES.parse(name) == {"project": project, "source": source}
    assert SOURCES.matches(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "projects/p",
        "projects/p/sources/",
        "projects/P/sources/s",
        "projects/p/sources/-s",
        "projects/p/sources/s-",
        "projects/p/sources/s/x",
        "projects/p/sources/s\n",
        "projects/../sources/s",
        f"projects/{'p' * 64}/sources/s",
    ],
)
def test_a_bad_name_is_refused_with_the_form_it_should_have(name: str) -> None:
    """The error names the field and the pattern."""
    with pytest.raises(InvalidArgument) as caught:
        SOURCES.parse(name, field="source")
    assert caught.value.reason == "BAD_RESOURCE_NAME"
    assert caught.value.metadata["pattern"] == SOURCES.template
    assert caught.value.violations[0].field == "source"


def test_a_name_is_not_made_of_bad_ids() -> None:
    """Else it could not be parsed again."""
    with pytest.raises(InvalidArgument):
        SOURCES.format(project="p", source="a/b")


def test_ids_sort_by_the_time_they_were_made_and_are_ids() -> None:
    """Also those of one millisecond."""
    made = [new_id() for _ in range(2000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {len(check_id(id_)) for id_ in made} == {26}
