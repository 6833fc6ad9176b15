"""A task file of lm-evaluation-harness (YAML) and its local data become items.

Follows version 0.4.13 of the harness. What would run code (`!function`, process_docs) or sample is refused,
and so is any metric or filter that is not known here: a task is run as it is, or not at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml
from sartor_datasets.records import Message

from sartor_evaluation.harness.data import read_documents
from sartor_evaluation.harness.errors import BadTaskFile
from sartor_evaluation.harness.matching import Matching, pipelines
from sartor_evaluation.harness.templates import Fields, joined
from sartor_evaluation.items import Item, ItemKind

__all__ = ["BadTaskFile", "Task", "read_task"]

EXAMPLES_SEED = 1234
_MOST_NEW_TOKENS = 256
_MOST_INCLUDES = 8
Json = dict[str, Any]

_KINDS = {
    "multiple_choice": ItemKind.CHOICE,
    "loglikelihood": ItemKind.CLOZE,
    "loglikelihood_rolling": ItemKind.TEXT,
    "generate_until": ItemKind.ANSWER,
}
_METRICS = {
    ItemKind.CHOICE: {
        "acc": "choice_accuracy_sum",
        "acc_norm": "choice_accuracy",
        "acc_bytes": "choice_accuracy_bytes",
    },
    ItemKind.CLOZE: {"acc": "cloze_accuracy", "perplexity": "item_perplexity"},
    ItemKind.TEXT: {
        "word_perplexity": "word_perplexity",
        "byte_perplexity": "byte_perplexity",
        "bits_per_byte": "bits_per_byte",
    },
    ItemKind.ANSWER: {"exact_match": "task_exact_match", "bleu": "bleu"},
}
_DEFAULT_METRICS = {
    ItemKind.CHOICE: ("acc", "acc_norm"),
    ItemKind.CLOZE: ("perplexity", "acc"),
    ItemKind.TEXT: ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    ItemKind.ANSWER: ("exact_match",),
}
_KNOWN = frozenset(
    [
        "task",
        "task_alias",
        "tag",
        "group",
        "group_alias",
        "aggregate_metric_list",
        "dataset_path",
        "dataset_name",
        "dataset_kwargs",
        "training_split",
        "validation_split",
        "test_split",
        "fewshot_split",
        "doc_to_text",
        "doc_to_target",
        "doc_to_choice",
        "description",
        "target_delimiter",
        "fewshot_delimiter",
        "fewshot_config",
        "num_fewshot",
        "metric_list",
        "output_type",
        "generation_kwargs",
        "repeats",
        "filter_list",
        "should_decontaminate",
        "doc_to_decontamination_query",
        "gen_prefix",
        "metadata",
        "include",
    ]
)


@dataclass(frozen=True, slots=True)
class Task:
    """The items of a task or of all tasks of a group, and the metrics they ask for."""

    items: tuple[Item, ...]
    metrics: tuple[str, ...]


def read_task(text: str, data: Mapping[str, Path], suite: str) -> Task:
    """Items from a task file.

    Args:
        data: the files that it names, by these names or their last part; included task files too.
    Raises:
        BadTaskFile: what cannot be run, and why.
    """
    items: list[Item] = []
    metrics: dict[str, None] = {}
    for config in _tasks(_load(text), data):
        found = _Task(config, data, suite)
        items += found.items()
        metrics |= dict.fromkeys(found.metrics())
    if not items:
        raise BadTaskFile("the task has no documents: look at its data files")
    return Task(tuple(items), tuple(metrics))


class _Loader(yaml.SafeLoader):
    """Plain values only."""


def _no_function(_loader: yaml.SafeLoader, suffix: str, _node: yaml.Node) -> None:
    raise BadTaskFile(
        f"the task file uses !{suffix}: code is not run; write it as a template or prepare the data"
    )


_Loader.add_multi_constructor("!", _no_function)


def _load(text: str) -> Json:
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise BadTaskFile(f"the task file is not YAML: {error}") from error
    if not isinstance(value, dict):
        raise BadTaskFile("the task file does not hold a mapping")
    return value


def _tasks(config: Json, data: Mapping[str, Path], depth: int = 0) -> Iterator[Json]:
    """The tasks of a file: itself, or those of its group."""
    if depth > _MOST_INCLUDES:
        raise BadTaskFile("task files include each other without end")
    if "include" in config:
        included = _load(file_of(str(config["include"]), data).read_text("utf-8"))
        own = {key: value for key, value in config.items() if key != "include"}
        yield from _tasks({**included, **own}, data, depth + 1)
        return
    if not isinstance(config.get("task"), list):
        yield config
        return
    for one in config["task"]:
        if isinstance(one, str):
            named = file_of(one if one.endswith((".yaml", ".yml")) else f"{one}.yaml", data)
            yield from _tasks(_load(named.read_text("utf-8")), data, depth + 1)
        elif isinstance(one, dict):
            yield from _tasks(one, data, depth + 1)
        else:
            raise BadTaskFile(f"{one!r} in a group is neither a task nor the name of one")


def file_of(name: str, data: Mapping[str, Path]) -> Path:
    """The staged file of this name."""
    last = name.rsplit("/", 1)[-1]
    found = data.get(name) or data.get(last)
    if found is None:
        known = f"given are {', '.join(sorted(data))}" if data else "no file is given"
        raise BadTaskFile(f"the task names the file {name!r}; {known}. Add it to the suite's data")
    return found


class _Task:
    """One task: its documents as items."""

    def __init__(self, config: Json, data: Mapping[str, Path], suite: str) -> None:
        self._config, self._suite = config, suite
        self._name = str(config.get("task") or "task")
        if unknown := sorted(set(config) - _KNOWN):
            raise BadTaskFile(f"task {self._name}: {', '.join(unknown)} cannot be run here")
        self.kind = self._kind()
        self._documents = read_documents(config, lambda name: file_of(name, data))
        names = {name for split in self._documents.values() for one in split[:1] for name in one}
        self._fields = Fields(config, names)
        self._shots = int(config.get("num_fewshot") or 0)
        self._matching = pipelines(config) if self.kind is ItemKind.ANSWER else ()
        self._chance = Random(EXAMPLES_SEED)
        if int(config.get("repeats") or 1) != 1:
            raise BadTaskFile(f"task {self._name}: repeats must be 1; answers here are greedy")

    def _kind(self) -> ItemKind:
        named = str(self._config.get("output_type") or "generate_until")
        if named not in _KINDS:
            raise BadTaskFile(f"task {self._name}: output_type {named!r} is none of {', '.join(_KINDS)}")
        return _KINDS[named]

    def metrics(self) -> list[str]:
        """Our names of the task's metrics."""
        listed = self._config.get("metric_list") or [{"metric": name} for name in _DEFAULT_METRICS[self.kind]]
        found = []
        for one in listed:
            name = one.get("metric")
            if name not in _METRICS[self.kind]:
                known = ", ".join(_METRICS[self.kind])
                raise BadTaskFile(
                    f"task {self._name}: metric {name!r} is not known for its output_type; known are {known}"
                )
            ours = _METRICS[self.kind][name]
            found.append(ours)
            if ours == "task_exact_match":
                found += [f"{ours}_{number + 1}" for number in range(1, len(self._matching))]
        return found

    def items(self) -> list[Item]:
        """One item a document of the asked split, in its order: the order decides the examples."""
        split = self._config.get("test_split") or self._config.get("validation_split")
        documents = self._split(split)
        return [self._item(str(number), document) for number, document in enumerate(documents)]

    def _split(self, name: Any) -> Sequence[Json]:
        if name not in self._documents:
            raise BadTaskFile(
                f"task {self._name} has no split {name!r}; its data has {', '.join(self._documents)}"
            )
        return self._documents[name]

    def _item(self, number: str, document: Json) -> Item:
        item_id = f"{self._name}/{number}"
        if self.kind is ItemKind.TEXT:
            return self._made(item_id, "", str(self._fields.target(document)))
        context = self._context(document)
        if self.kind is ItemKind.CLOZE:
            return self._made(item_id, context, str(self._fields.target(document)))
        if self.kind is ItemKind.CHOICE:
            delimiter = self._config.get("target_delimiter", " ")
            plain = self._fields.choices(document)
            answer = self._fields.gold(document, plain)
            return self._made(
                item_id,
                context,
                f"{delimiter}{plain[answer]}",
                tuple(f"{delimiter}{one}" for one in plain),
                answer,
            )
        target = self._fields.target(document)
        return self._generated(item_id, context, target, document)

    def _generated(self, item_id: str, context: str, target: Any, document: Json) -> Item:
        given = dict(self._config.get("generation_kwargs") or {})
        if given.get("do_sample") or float(given.get("temperature") or 0):
            raise BadTaskFile(f"task {self._name} samples; answers here are greedy: set do_sample to false")
        if self._config.get("doc_to_choice") is not None:
            choices = self._fields.choices(document)
            target = choices[self._fields.gold(document, choices)]
        targets = tuple(map(str, target)) if isinstance(target, list) else (str(target),)
        until = given.get("until", [self._config.get("fewshot_delimiter", "\n\n")])
        stops = (until,) if isinstance(until, str) else tuple(map(str, until or ()))
        return Item(
            item_id=item_id,
            suite=self._suite,
            kind=ItemKind.ANSWER,
            messages=(Message("user", context),),
            reference=targets[0] or " ",
            cluster=item_id,
            attributes={"task": self._name},
            context=context,
            stops=tuple(stop for stop in stops if stop),
            most_tokens=int(given.get("max_gen_toks") or given.get("max_new_tokens") or _MOST_NEW_TOKENS),
            matching=tuple(Matching(steps, targets, options) for steps, options in self._matching),
        )

    def _made(
        self, item_id: str, context: str, reference: str, choices: tuple[str, ...] = (), answer: int = 0
    ) -> Item:
        delimiter = str(self._config.get("target_delimiter", " ")) if choices else ""
        return Item(
            item_id=item_id,
            suite=self._suite,
            kind=self.kind,
            messages=(Message("user", context or reference),),
            reference=reference,
            choices=choices,
            cluster=item_id,
            attributes={"task": self._name},
            context=context,
            choice_sizes=tuple(one.removeprefix(delimiter) for one in choices),
        )

    def _context(self, document: Json) -> str:
        """Description, examples and question, put together as the harness does."""
        text = self._fields.render(self._config.get("description") or "", document)
        delimiter = str(self._config.get("target_delimiter", " "))
        between = str(self._config.get("fewshot_delimiter", "\n\n"))
        for example in self._examples(document):
            answer = self._fields.answer(example)
            question = self._fields.question(example)
            prefix = self._fields.render(self._config.get("gen_prefix") or "", example)
            gap = delimiter if not prefix or joined(question, prefix, "|") == f"{question}|{prefix}" else ""
            text += f"{question}{gap}{joined(prefix, answer, ' ')}{between}"
        question = self._fields.question(document)
        prefix = self._fields.render(self._config.get("gen_prefix") or "", document)
        return text + (joined(question, prefix, delimiter) if prefix else question)

    def _examples(self, document: Json) -> list[Json]:
        if not self._shots:
            return []
        config = self._config.get("fewshot_config") or {}
        sampler = config.get("sampler", "default")
        if unknown := sorted(set(config) - {"sampler", "samples", "split", "fewshot_indices"}):
            raise BadTaskFile(f"task {self._name}: fewshot_config.{unknown[0]} cannot be run here")
        asked = self._config.get("test_split") or self._config.get("validation_split")
        split = config.get("split") or self._config.get("fewshot_split") or self._config.get("training_split")
        split = split or self._config.get("validation_split") or asked
        pool = list(config["samples"]) if "samples" in config else list(self._split(split))
        if "fewshot_indices" in config:
            pool = [pool[place] for place in config["fewshot_indices"]]
        same = split == self._config.get("test_split") and "samples" not in config
        try:
            return self._sampled(sampler, pool, document if same else None)
        except ValueError as error:
            raise BadTaskFile(
                f"task {self._name}: {self._shots} examples of {len(pool)} cannot be taken"
            ) from error

    def _sampled(self, sampler: str, pool: list[Json], document: Json | None) -> list[Json]:
        if sampler == "first_n":
            others = [one for one in pool if document is None or one != document]
            if len(others) < self._shots:
                raise ValueError("too few")
            return others[: self._shots]
        if sampler != "default":
            raise BadTaskFile(
                f"task {self._name}: the sampler {sampler!r} is not known; known are default and first_n"
            )
        if document is None:
            return self._chance.sample(pool, self._shots)
        drawn = [one for one in self._chance.sample(pool, self._shots + 1) if one != document][: self._shots]
        if len(drawn) == self._shots:
            return drawn
        return self._chance.sample([one for one in pool if one != document], self._shots)
