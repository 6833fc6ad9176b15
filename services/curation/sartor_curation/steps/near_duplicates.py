"""Step: keeps one of records that say nearly the same, question and answer both."""

from collections import defaultdict
from collections.abc import Sequence

from sartor_text.minhash import near_duplicates
from sartor_text.shingles import fold, jaccard, shingle

from sartor_curation.steps.exact_duplicates import in_order_of_claim
from sartor_curation.steps.item import Item, answer, frame, question
from sartor_curation.steps.outcome import Dropped, Outcome, Reason


def drop_near_duplicates(items: Sequence[Item], threshold: float) -> Outcome:
    """Items of which no two of one partition and frame are near duplicates.

    Near duplicates have a Jaccard similarity of character 5-grams of at least `threshold` in the question
    *and* in the answer, and the same label. So a template filled with other values stays as long as its
    question or its answer really differs. A record is dropped only for one that stays itself: chains of
    similar records do not swallow each other.
    """
    order = in_order_of_claim(items)
    questions = shingle([fold(question(item.record)) for item in order])
    answers = shingle([fold(answer(item.record)) for item in order])
    similar: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    for pair in near_duplicates(questions.together_with(answers), threshold):
        if not _comparable(order[pair.first], order[pair.second]):
            continue
        likeness = min(
            jaccard(questions.of(pair.first), questions.of(pair.second)),
            jaccard(answers.of(pair.first), answers.of(pair.second)),
        )
        if likeness >= threshold:
            similar[pair.second].append((pair.first, likeness))
    gone: set[int] = set()
    dropped: list[Dropped] = []
    for number, item in enumerate(order):
        stays = [(likeness, -first) for first, likeness in similar.get(number, ()) if first not in gone]
        if stays:
            likeness, negated = max(stays)
            other = order[-negated].key
            gone.add(number)
            dropped.append(
                Dropped(
                    item,
                    Reason.NEAR_DUPLICATE,
                    f"says nearly the same as {other} ({likeness:.0%} alike)",
                    other,
                )
            )
    kept = [item for number, item in enumerate(order) if number not in gone]
    return Outcome(
        sorted(kept, key=lambda item: item.place),
        dropped,
        figures={"threshold": threshold, "pairs": sum(map(len, similar.values()))},
    )


def _comparable(first: Item, second: Item) -> bool:
    return (
        first.partition == second.partition
        and first.record.label == second.record.label
        and frame(first.record) == frame(second.record)
    )
