"""Filters and exact match of generate_until tasks: what of an answer counts, and when it is right."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sartor_evaluation.harness.errors import BadTaskFile

Json = dict[str, Any]
Steps = tuple[tuple[str, Mapping[str, Any]], ...]
MOST_PIPELINES = 3
_OPTIONS = frozenset({"ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore"})
_ARGUMENTS = {
    "regex": {"regex_pattern", "group_select", "fallback"},
    "remove_whitespace": set(),
    "lowercase": set(),
    "uppercase": set(),
    "map": {"mapping_dict", "default_value"},
    "take_first": set(),
    "take_first_k": {"k"},
    "majority_vote": set(),
}


@dataclass(frozen=True, slots=True)
class Matching:
    """One filter pipeline, the targets of which any will do, and what does not count in comparing."""

    steps: Steps
    targets: tuple[str, ...]
    options: Mapping[str, Any]

    def matches(self, answer: str) -> bool:
        """Whether the filtered answer is one of the targets."""
        found = str(filtered(answer, self.steps))
        return self._plain(found) in {self._plain(target) for target in self.targets}

    def _plain(self, text: str) -> str:
        for pattern in self.options.get("regexes_to_ignore") or ():
            text = re.sub(pattern, "", text)
        if self.options.get("ignore_case"):
            text = text.lower()
        if self.options.get("ignore_punctuation"):
            text = text.translate(str.maketrans("", "", string.punctuation))
        if self.options.get("ignore_numbers"):
            text = text.translate(str.maketrans("", "", string.digits))
        return text


def filtered(answer: str, steps: Steps) -> Any:
    """An answer after a pipeline's filters."""
    found: Any = answer
    for name, options in steps:
        if name == "regex":
            found = _extracted(str(found), options)
        elif name == "remove_whitespace":
            found = str(found).strip()
        elif name == "lowercase":
            found = str(found).lower()
        elif name == "uppercase":
            found = str(found).upper()
        elif name == "map":
            found = (options.get("mapping_dict") or {}).get(found, options.get("default_value"))
    return found


def _extracted(text: str, options: Mapping[str, Any]) -> str:
    fallback = str(options.get("fallback", "[invalid]"))
    found = re.findall(options.get("regex_pattern", r"#### (\-?[0-9\.\,]+)"), text)
    if not found:
        return fallback
    try:
        match = found[int(options.get("group_select", 0))]
    except IndexError:
        return fallback
    if isinstance(match, tuple):
        match = next((part for part in match if part), fallback)
    return str(match).strip()


def pipelines(config: Json) -> list[tuple[Steps, Mapping[str, Any]]]:
    """The pipelines of a task's filter_list with the options of its exact match.

    Raises:
        BadTaskFile: a filter or an option is not known, or there are too many pipelines.
    """
    options: dict[str, Any] = {}
    for one in config.get("metric_list") or ():
        if one.get("metric") == "exact_match":
            options = {key: value for key, value in one.items() if key in _OPTIONS}
            known = _OPTIONS | {"metric", "aggregation", "higher_is_better"}
            if unknown := sorted(set(one) - known):
                raise BadTaskFile(f"exact_match knows no option {', '.join(unknown)}")
    listed = config.get("filter_list") or [{"name": "none", "filter": [{"function": "take_first"}]}]
    if len(listed) > MOST_PIPELINES:
        raise BadTaskFile(f"the task has {len(listed)} filter pipelines; at most {MOST_PIPELINES} can be run")
    return [(tuple(map(_step, one.get("filter") or ())), options) for one in listed]


def _step(given: Json) -> tuple[str, Mapping[str, Any]]:
    name = str(given.get("function"))
    options = {key: value for key, value in given.items() if key != "function"}
    if name not in _ARGUMENTS:
        raise BadTaskFile(f"the filter {name!r} is not known; known are {', '.join(_ARGUMENTS)}")
    if unknown := sorted(set(options) - _ARGUMENTS[name]):
        raise BadTaskFile(f"the filter {name} knows no option {', '.join(unknown)}")
    if "regex_pattern" in options:
        try:
            re.compile(options["regex_pattern"])
        except re.error as error:
            raise BadTaskFile(f"the filter's pattern is no regular expression: {error}") from error
    return name, options
