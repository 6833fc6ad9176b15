"""Which steps a policy asks for, in their order."""

from __future__ import annotations

from sartor_text.pii import regions_of

from sartor_curation.policy import Policy
from sartor_curation.steps.languages import keep_languages
from sartor_curation.steps.lengths import drop_too_short
from sartor_curation.steps.missing_fields import drop_missing_fields
from sartor_curation.steps.normalisation import normalise_texts
from sartor_curation.steps.outcome import Step
from sartor_curation.steps.personal_data import handle_personal_data


def local_steps(policy: Policy) -> dict[str, Step]:
    """The steps that look at each record alone; those that compare records come after them.

    Texts are brought into one form first, since all others compare them. Personal data goes before
    duplicates are searched: what differs in a telephone number only is the same to a model that never sees
    it. Contradictions come before duplicates: three equal answers against one are a majority, and two answers
    that differ in one number would look like near duplicates. Tokens are counted of what training will see.
    """
    regions = regions_of(policy.languages)
    return {
        "normalise": normalise_texts,
        "missing_fields": drop_missing_fields,
        "personal_data": lambda batch: handle_personal_data(batch, policy.pii_action, regions),
        "languages": lambda batch: keep_languages(batch, policy.languages),
        "too_short": lambda batch: drop_too_short(batch, policy.min_characters),
    }
