"""What makes a prompt valid, and the prompts an evaluation names, with every fault at once. Pure."""

from __future__ import annotations

from sartor_platform.errors import FieldViolation, InvalidArgument

from sartor_evaluation.names import CHOICES, MOST_PROMPTS, MOST_SHOTS, PROMPT, project_of
from sartor_evaluation.specs import EvaluationSpec, PromptSpec

PLACE = "{question}"


def check_prompt(name: str, spec: PromptSpec) -> None:
    """Raises InvalidArgument: BAD_PROMPT, with every fault."""
    PROMPT.parse(name)
    found = []
    if spec == PromptSpec():
        found.append(FieldViolation("prompt", "says nothing: give system, format, examples or shots"))
    if spec.format and spec.format.count(PLACE) != 1:
        found.append(FieldViolation("format", f"must have {PLACE} once, where the question stands"))
    if not 0 <= spec.shots <= MOST_SHOTS:
        found.append(FieldViolation("shots", f"must be 0 to {MOST_SHOTS}"))
    if spec.choice and spec.choice not in CHOICES:
        text = f"is {spec.choice!r}; known are {', '.join(CHOICES)}"
        found.append(FieldViolation("choice", text))
    if len(spec.examples) > MOST_SHOTS:
        found.append(FieldViolation("examples", f"are {len(spec.examples)}; give at most {MOST_SHOTS}"))
    for index, (question, answer) in enumerate(spec.examples):
        if not question or not answer:
            text = "needs a prompt and a reference"
            found.append(FieldViolation(f"examples[{index}]", text))
    if found:
        lines = "; ".join(f"{fault.field} {fault.description}" for fault in found)
        raise InvalidArgument(
            f"the prompt {name} is not usable: {lines}", reason="BAD_PROMPT", violations=found
        )


def prompt_violations(spec: EvaluationSpec, project: str) -> list[FieldViolation]:
    """What is wrong with the prompts that an evaluation and its candidates name."""
    found = []
    if len(spec.prompts) > MOST_PROMPTS:
        found.append(FieldViolation("prompts", f"are {len(spec.prompts)}; name at most {MOST_PROMPTS}"))
    named = [(f"prompts[{index}]", name) for index, name in enumerate(spec.prompts)]
    for index, candidate in enumerate(spec.candidates):
        path = f"candidates[{index}].prompt"
        if candidate.prompt and (candidate.shots or not (candidate.model or candidate.service)):
            text = "is for models and services, and says how many examples there are: leave shots out"
            found.append(FieldViolation(path, text))
        if candidate.prompt:
            named.append((path, candidate.prompt))
    ids = [candidate.id for candidate in spec.candidates]
    crossed = [f"{who.id}+{name.rpartition('/')[2]}" for who in spec.candidates for name in spec.prompts]
    if taken := sorted({*crossed} & {*ids}):
        text = f"would make {', '.join(taken)} a second time; give that candidate another id"
        found.append(FieldViolation("prompts", text))
    for path, name in named:
        if not PROMPT.matches(name) or project_of(name) != project:
            text = f"is {name!r}; must have the form projects/{project}/prompts/{{prompt}}"
            found.append(FieldViolation(path, text))
    return found
