"""Answers that the client already has: looked up, counted where missing, streamed where there are many."""

import json
import random
from pathlib import Path

import pytest
from sartor_evaluation import stream
from sartor_evaluation.evaluate import evaluate
from sartor_platform.errors import FailedPrecondition, InvalidArgument


def _report(fraction, **_):
    assert 0 <= fraction <= 1


def _task(folder, items, *answers, **more):
    folder.mkdir(exist_ok=True)
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")
    models, candidates = {}, []
    for number, one in enumerate(answers):
        given = folder / f"answers-{number}.jsonl"
        lines = [json.dumps({"item_id": item_id, "text": text}) + "\n" for item_id, text in one.items()]
        given.write_text("".join(lines), "utf-8")
        models[f"model-{number}"] = {"name": "answers of the client", "answers": str(given)}
        candidates.append({"id": f"c{number}", "model": f"model-{number}", "shots": 0})
    return {
        "candidates": candidates,
        "models": models,
        "curated": "",
        "items": str(path),
        "general_suite": "",
        "max_items": 0,
        "few_shot": {"shots": [], "choices": [], "items": 0},
        "rules": [],
        "reference_candidate": "",
        "about": {"evaluation": "e"},
        **more,
    }


def _data(count, seed=0):
    chance = random.Random(seed)
    items = [
        {"id": f"i{n}", "prompt": f"How {n}?", "reference": "yes of course", "cluster": f"k{n // 2}"}
        for n in range(count)
    ]
    items += [{"id": f"l{n}", "prompt": f"Which {n}?", "label": "ab"[n % 2]} for n in range(count // 4)]
    good = {i["id"]: chance.choice(["yes of course", "yes", "no"]) for i in items if "label" not in i}
    good |= {i["id"]: chance.choice("ab") for i in items if "label" in i}
    poor = {key: chance.choice([text, "no"]) for key, text in good.items()}
    return items, good, poor


def _scores(result):
    return {(s["metric"], s["candidate"]): s["estimate"] for s in result["findings"]["scores"]}


def test_a_missing_answer_is_a_failed_item_and_never_a_wrong_number(tmp_path):
    """The score is that of the answers that are there; what is missing is counted beside it."""
    items, good, _ = _data(20)
    del good["i0"], good["i1"]
    result = evaluate(_task(tmp_path / "in", items, good), tmp_path, _report)
    [f1] = [s for s in result["findings"]["scores"] if s["metric"] == "token_f1"]
    assert (f1["estimate"]["items"], f1["failed"]) == (18, 2)
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["failures"]["held_out"] == {"c0": {"no answer was given": 2}}
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "c0 gave no answer to 2 items" in page
    assert "Labels of c0" in page
    assert 'errors="1"' in (tmp_path / "junit.xml").read_text("utf-8")


def test_whoever_fails_at_most_items_is_not_scored(tmp_path):
    """Two answers of twenty say nothing of a candidate."""
    items, good, _ = _data(20)
    few = dict(list(good.items())[:2])
    with pytest.raises(FailedPrecondition, match="no answer was given") as caught:
        evaluate(_task(tmp_path / "in", items, few), tmp_path, _report)
    assert caught.value.reason == "CANDIDATE_FAILED"


@pytest.mark.parametrize(
    ("line", "words"),
    [("nonsense", "line 1 is not"), ('{"item_id": "a", "text": "x"}\n' * 2, "an item twice")],
)
def test_faulty_answers_are_told(tmp_path, line, words):
    """Nothing is guessed."""
    items, good, _ = _data(4)
    task = _task(tmp_path / "in", items, good)
    (tmp_path / "in" / "answers-0.jsonl").write_text(line, "utf-8")
    with pytest.raises(InvalidArgument, match=words):
        evaluate(task, tmp_path, _report)


def test_a_stream_finds_what_holding_everything_finds(tmp_path, monkeypatch):
    """Same values from the same answers, with missing ones; intervals as wide up to the bootstrap's noise."""
    items, good, poor = _data(300)
    del poor["i7"], good["i9"]
    wanted = {"metrics": ["token_f1", "exact_match", "label_accuracy", "micro_f1", "bleu"]}
    whole = evaluate(_task(tmp_path / "a", items, good, poor, **wanted), tmp_path / "a", _report)
    monkeypatch.setattr(stream, "STREAMED_FROM", 100)
    monkeypatch.setattr(stream, "_CHUNK", 64)
    streamed = evaluate(_task(tmp_path / "b", items, good, poor, **wanted), tmp_path / "b", _report)
    ours, theirs = _scores(streamed), _scores(whole)
    assert ours.keys() == theirs.keys()
    for key, found in theirs.items():
        assert ours[key]["value"] == pytest.approx(found["value"], abs=1e-12)
        assert ours[key]["items"] == found["items"]
        assert ours[key]["standard_error"] == pytest.approx(found["standard_error"], rel=0.25)
    for one, other in zip(
        sorted(streamed["findings"]["comparisons"], key=lambda c: c["metric"]),
        sorted(whole["findings"]["comparisons"], key=lambda c: c["metric"]),
        strict=True,
    ):
        assert one["difference"]["value"] == pytest.approx(other["difference"]["value"], abs=1e-12)
        assert one["difference"]["items"] == other["difference"]["items"]
    lines = (tmp_path / "b" / "results.jsonl").read_text("utf-8").splitlines()
    scores = [json.loads(line)["score"] for line in lines]
    assert scores == sorted(scores)
    assert len(lines) == 2 * len(items)


def test_helper_processes_find_what_one_process_finds(tmp_path, monkeypatch):
    """However many score; the order of the results too."""
    items, good, poor = _data(300)
    monkeypatch.setattr(stream, "STREAMED_FROM", 100)
    monkeypatch.setattr(stream, "_CHUNK", 64)
    made = {}
    for processes in (1, 2):
        monkeypatch.setattr(stream, "_processes", lambda size, count=processes: count)
        folder = tmp_path / str(processes)
        made[processes] = evaluate(_task(folder, items, good, poor, metrics=["bleu"]), folder, _report)
    alone, together = made.values()
    assert together["findings"] == alone["findings"]
    listed = [Path(one["item_results"]).read_text("utf-8") for one in (alone, together)]
    assert listed[0] == listed[1]


def test_a_stream_holds_a_bounded_number_of_items(tmp_path, monkeypatch):
    """However many pass, no more than a chunk of them is alive at a time."""
    items, good, _ = _data(4000)
    monkeypatch.setattr(stream, "STREAMED_FROM", 100)
    monkeypatch.setattr(stream, "_CHUNK", 50)
    monkeypatch.setattr(stream, "_LISTED", 30)
    sizes = []
    chunks = stream._chunks

    def watched(path, folder):
        for some, end in chunks(path, folder):
            sizes.append(len(some))
            yield some, end

    monkeypatch.setattr(stream, "_chunks", watched)
    evaluate(_task(tmp_path / "in", items, good, metrics=["exact_match"]), tmp_path, _report)
    assert (max(sizes), sum(sizes)) == (50, 5000)
    assert len((tmp_path / "results.jsonl").read_text("utf-8").splitlines()) == 30


def test_an_item_given_twice_is_refused_in_a_stream_too(tmp_path, monkeypatch):
    """It would count twice."""
    items, good, _ = _data(200)
    monkeypatch.setattr(stream, "STREAMED_FROM", 100)
    with pytest.raises(InvalidArgument, match="twice"):
        evaluate(_task(tmp_path / "in", [*items, items[0]], good), tmp_path, _report)
