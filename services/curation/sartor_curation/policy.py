"""A curation policy as a value: what the steps are given, and the specification a standing order keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any


class PiiAction(StrEnum):
    """What happens to personal data."""

    MASK = "MASK"
    DROP = "DROP"
    REPORT = "REPORT"


class ContradictionAction(StrEnum):
    """What happens to equal questions with different answers."""

    DROP_MINORITY = "DROP_MINORITY"
    DROP_ALL = "DROP_ALL"
    REPORT = "REPORT"


class Preset(StrEnum):
    """What kind of data the policy is for: which steps run, and how strict they are."""

    INSTRUCTIONS = "INSTRUCTIONS"
    CLASSIFICATION = "CLASSIFICATION"
    PREFERENCE = "PREFERENCE"
    CORPUS = "CORPUS"


class Runtime(StrEnum):
    """Where the steps run."""

    LOCAL = "LOCAL"
    RAY = "RAY"


class MislabelledAction(StrEnum):
    """What happens to records whose label is probably wrong."""

    REPORT = "REPORT"
    DROP = "DROP"


DEFAULT_THRESHOLD = 0.8
DEFAULT_LEAST_SHARE = 0.05
DEFAULT_INSTRUCTION = "Classify the text. Answer with one of: {labels}.\n\n{text}"


OPTIONAL = (
    "normalise",
    "personal_data",
    "languages",
    "gopher_repetition",
    "gopher_quality",
    "c4_quality",
    "fineweb_quality",
    "contradictions",
    "exact_duplicates",
    "near_duplicates",
    "secrets",
    "boilerplate",
    "decontamination",
    "mislabelled",
    "representativeness",
    "poisoning",
)
"""Steps that a policy may leave out."""
_LISTS = ("languages", "represented", "skipped_steps", "evaluation_texts", "real_questions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the records of a dataset become training data; 0 is no bound on a length, no languages are all."""

    dataset: str
    base_model: str
    languages: tuple[str, ...] = ()
    min_characters: int = 0
    max_tokens: int = 0
    near_duplicate_threshold: float = DEFAULT_THRESHOLD
    pii_action: PiiAction = PiiAction.MASK
    contradiction_action: ContradictionAction = ContradictionAction.DROP_MINORITY
    validation_share: float = 0.0
    test_share: float = 0.0
    label_instruction: str = DEFAULT_INSTRUCTION
    preset: Preset = Preset.INSTRUCTIONS
    represented: tuple[str, ...] = ()
    """Attributes whose values should all be represented, such as language or region."""
    least_share: float = DEFAULT_LEAST_SHARE
    """Of a label, or of a value of a represented attribute: below it the report warns."""
    mislabelled_action: MislabelledAction = MislabelledAction.REPORT
    evaluation_texts: tuple[str, ...] = ()
    """What models are evaluated on elsewhere: nothing that shares long passages with it is trained on."""
    whole_sentences_only: bool = False
    """Of a corpus, whether lines must end in terminal punctuation: C4 asks it, FineWeb does not."""
    real_questions: tuple[str, ...] = ()
    """As people really ask them, besides the source's test set: what is trained on should cover them."""
    runtime: Runtime = Runtime.LOCAL
    skipped_steps: tuple[str, ...] = ()
    """Names of steps to leave out, of those that may be: see OPTIONAL."""

    def to_spec(self) -> dict[str, Any]:
        """The policy as plain JSON values."""
        return {
            **asdict(self),
            **{name: list(getattr(self, name)) for name in _LISTS},
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Policy:
        """The policy that `to_spec` wrote; a field that an older release did not know takes its default."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in spec.items() if name in known}
        return cls(
            **{
                **values,
                **{name: tuple(values.get(name, ())) for name in _LISTS},
                "mislabelled_action": MislabelledAction(
                    values.get("mislabelled_action", MislabelledAction.REPORT)
                ),
                "runtime": Runtime(values.get("runtime", Runtime.LOCAL)),
                "preset": Preset(values.get("preset", Preset.INSTRUCTIONS)),
                "pii_action": PiiAction(values.get("pii_action", PiiAction.MASK)),
                "contradiction_action": ContradictionAction(
                    values.get("contradiction_action", ContradictionAction.DROP_MINORITY)
                ),
            }
        )
