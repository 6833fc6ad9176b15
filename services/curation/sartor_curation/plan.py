"""Which steps a policy asks for, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from sartor_text.pii import NUMBERS_AND_ADDRESSES, PERSONAL, PiiKind, regions_of

from sartor_curation.evaluation_texts import EvaluationTexts
from sartor_curation.policy import OPTIONAL, Policy, Preset
from sartor_curation.steps.boilerplate import take_out_boilerplate
from sartor_curation.steps.c4_quality import drop_lines_and_pages
from sartor_curation.steps.decontamination import drop_contaminated
from sartor_curation.steps.fineweb_quality import drop_lists_and_menus
from sartor_curation.steps.gopher_quality import drop_low_quality
from sartor_curation.steps.gopher_repetition import drop_repetition
from sartor_curation.steps.languages import keep_languages
from sartor_curation.steps.lengths import drop_too_short
from sartor_curation.steps.missing_fields import drop_missing_fields
from sartor_curation.steps.normalisation import normalise_texts
from sartor_curation.steps.outcome import Step
from sartor_curation.steps.personal_data import handle_personal_data

_Step = TypeVar("_Step")
_SECRETS = frozenset((PiiKind.SECRET,))


def local_steps(policy: Policy, repeated: Mapping[str, float], evaluated: EvaluationTexts) -> dict[str, Step]:
    """The steps that look at each record alone; those that compare records come after them.

    Args:
        repeated: lines that the dataset's documents repeat, as `boilerplate.repeated_lines` gives them.
        evaluated: what models are evaluated on.

    Texts are brought into one form first, since all others compare them. Personal data goes before
    duplicates are searched: what differs in a telephone number only is the same to a model that never sees
    it. Contradictions come before duplicates: three equal answers against one are a majority, and two answers
    that differ in one number would look like near duplicates. Tokens are counted of what training will see.
    Of a corpus, what is no prose goes first, in the order of FineWeb: masking and the like cost more.
    """
    regions = regions_of(policy.languages)
    kinds = NUMBERS_AND_ADDRESSES if policy.preset is Preset.CORPUS else PERSONAL
    start: dict[str, Step] = {
        "normalise": normalise_texts,
        "boilerplate": lambda batch: take_out_boilerplate(batch, repeated),
        "missing_fields": drop_missing_fields,
    }
    private: dict[str, Step] = {
        "secrets": lambda batch: handle_personal_data(batch, policy.pii_action, regions, _SECRETS),
        "personal_data": lambda batch: handle_personal_data(batch, policy.pii_action, regions, kinds),
    }
    language: dict[str, Step] = {"languages": lambda batch: keep_languages(batch, policy.languages)}
    end: dict[str, Step] = {}
    if len(evaluated):
        end["decontamination"] = lambda batch: drop_contaminated(batch, evaluated)
    end |= {"too_short": lambda batch: drop_too_short(batch, policy.min_characters)}
    if policy.preset is not Preset.CORPUS:
        return asked_for({**start, **private, **language, **end}, policy)
    pages: dict[str, Step] = {
        "gopher_repetition": drop_repetition,
        "gopher_quality": lambda batch: drop_low_quality(batch, policy.languages),
        "c4_quality": lambda batch: drop_lines_and_pages(batch, terminal=policy.whole_sentences_only),
        "fineweb_quality": drop_lists_and_menus,
    }
    return asked_for({**start, **language, **pages, **private, **end}, policy)


def asked_for(steps: dict[str, _Step], policy: Policy) -> dict[str, _Step]:
    """The steps that the policy does not leave out."""
    left_out = set(policy.skipped_steps).intersection(OPTIONAL)
    return {name: step for name, step in steps.items() if name not in left_out}
