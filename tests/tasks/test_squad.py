import json
from pathlib import Path

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.scoring import squad as scoring
from thinktwice.tasks import check_disjoint, load_task, passages
from thinktwice.tasks.squad import problem

DATA = Path(__file__).parents[2] / "../shared/data/squad"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
PASSAGE = " Ida was born in 1843. Otto was not.\n"


def asked(n, *answers, **changes):
    found = [{"text": text, "answer_start": PASSAGE.index(text)} for text in answers]
    return {"id": f"q{n}", "question": f"When, {n}?", "answers": found, "is_impossible": not answers} | changes


def document(*questions, context=PASSAGE, version="v2.0"):
    return {"version": version, "data": [{"title": "Ida", "paragraphs": [{"context": context, "qas": questions}]}]}


def test_a_question_with_answers():
    got = problem({"context": PASSAGE, **asked(1, "1843", "in 1843", "1843")})
    assert (got.id, got.kind, got.answer, got.answers) == ("q1", "answerable", "1843", ("1843", "in 1843"))
    assert got.references == ("1843", "in 1843")
    assert got.solution == "The answer is: 1843"
    assert got.prompt == f"{PASSAGE}\nWhen, 1?"
    assert passages.question(got) == "When, 1?"
    assert problem({"context": PASSAGE, **asked(1, "1843")}).references == ("1843",)


def test_a_question_without_an_answer():
    got = problem({"context": PASSAGE, **asked(1), "plausible_answers": [{"text": "1843", "answer_start": 17}]})
    assert (got.kind, got.answer, got.answers, got.references) == ("unanswerable", "", (), ("",))
    assert got.solution == "The answer is: unanswerable"


def test_the_hubs_columns_say_the_same():
    for answers in (("1843", "in 1843"), ()):
        official = {"context": PASSAGE, **asked(1, *answers)}
        hub = {key: value for key, value in official.items() if key != "is_impossible"}
        listed = hub["answers"]
        hub["answers"] = {"text": [a["text"] for a in listed], "answer_start": [a["answer_start"] for a in listed]}
        assert problem(hub) == problem(official)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answers": [{"text": "1843", "answer_start": 16}]}, "does not stand at 16"),
        ({"answers": [{"text": "1843", "answer_start": None}]}, "does not stand at None"),
        ({"answers": [{"text": "", "answer_start": 0}]}, "does not stand at 0"),
        ({"answers": [{"text": "1843"}]}, "no list of {text, answer_start}"),
        ({"answers": {"text": ["1843"], "answer_start": []}}, "no list of {text, answer_start}"),
        ({"answers": None}, "no list of {text, answer_start}"),
        ({"is_impossible": True}, "'is_impossible' is True, and there are 1 answers"),
        ({"answers": []}, "'is_impossible' is False, and there are 0 answers"),
        ({"context": " "}, "'context' is empty"),
        ({"question": None}, "'question' is None"),
    ],
)
def test_a_bad_row_says_what_is_wrong(changes, words):
    with pytest.raises(DataError, match=words):
        problem({"context": PASSAGE, **asked(1, "1843")} | changes)


def test_bad_rows_are_counted_and_another_shape_is_refused(tmp_path):
    rows = [asked(n, "1843") for n in range(300)]
    whole = document(*rows, "no question", asked(300, "1843", is_impossible=True))
    (tmp_path / "dev-v2.0.json").write_text(json.dumps(whole))
    got = load_task("squad", path=str(tmp_path), quarantine=str(tmp_path / "bad"))
    assert (len(got.splits["test"]), got.quarantined) == (300, 2)
    aside = (tmp_path / "bad/squad-test.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in aside] == [301, 302]
    (tmp_path / "other.json").write_text(json.dumps({"data": [{"paragraphs": "none"}]}))
    with pytest.raises(DataError, match=r"is no SQuAD file\. Expected"):
        load_task("squad", path=str(tmp_path / "other.json"))


def test_both_versions_in_a_directory(tmp_path):
    for version in ("v1.1", "v2.0"):
        for number, name in enumerate(("train", "validation", "dev")):
            kinds = ((), ("1843",)) if version == "v2.0" else (("1843",),)
            rows = [asked(100 * number + 10 * i + len(kind), *kind) for i in range(9) for kind in kinds]
            (tmp_path / version).mkdir(exist_ok=True)
            (tmp_path / version / f"{name}-{version}.json").write_text(json.dumps(document(*rows, version=version)))
    one, two = (load_task("squad", path=str(tmp_path / version), dev=None) for version in ("v1.1", "v2.0"))
    assert {name: len(found) for name, found in one.splits.items()} == {"train": 9, "dev": 9, "test": 9}
    assert {name: len(found) for name, found in two.splits.items()} == {"train": 18, "dev": 18, "test": 18}
    assert {p.kind for p in one.splits["test"]} == {"answerable"}
    assert {p.kind for p in two.splits["test"]} == {"answerable", "unanswerable"}
    check_disjoint(two)


def test_a_file_of_rows_will_do_too(tmp_path):
    rows = [{"context": PASSAGE, **asked(n, "1843")} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    lines, array = (load_task("squad", path=str(tmp_path / name)) for name in ("rows.jsonl", "rows.json"))
    assert lines.splits == array.splits
    assert len(lines.splits["test"]) == 3


@needs_data
def test_the_real_files():
    two = load_task("squad", path=str(DATA / "dev-v2.0.cs224n-split.json"))
    one = load_task("squad", path=str(DATA / "derived-v1.1-format.json"), measure="em")
    assert (two.measure, one.measure) == ("F1", "EM")
    assert (two.quarantined, one.quarantined) == (0, 0)
    test = two.splits["test"]
    assert (len(test), sum(p.kind == "answerable" for p in test)) == (6078, 2910)
    by_id = {p.id: p for p in test}
    assert all(by_id[p.id] == p for p in one.splits["test"])
    assert len(one.splits["test"]) == 2910
    for p in test:
        assert two.score(p, p.solution).value == one.score(p, p.solution).value == 1
        assert (p.answer == "") == (p.kind == "unanswerable")


@needs_data
@pytest.mark.parametrize("measure", ["em", "f1"])
def test_scores_are_the_official_ones_and_a_mute_model_has_none(measure):
    got = load_task("squad", path=str(DATA / "dev-v2.0.cs224n-split.json"), measure=measure)
    test = got.splits["test"]
    predictions = json.loads((DATA / "golden_predictions.json").read_text())
    # "no answer" as a prediction of the official script is a wrong answer; said by a model it means that there is none.
    said = {name: "" if text in scoring.NO_ANSWER else text for name, text in predictions.items()}
    official = scoring.evaluate({p.id: p.references for p in test}, said).all
    replies = {p.id: f"The answer is: {said[p.id] or 'unanswerable'}" for p in test}
    values = [got.score(p, replies[p.id]).value for p in test]
    assert 100 * sum(values) / len(values) == pytest.approx(getattr(official, measure))
    assert sum(got.score(p, "").value for p in test) == 0  # the official script: 52.12 %
    assert sum(got.score(p, "Answer: unanswerable").value for p in test) == 3168


def test_an_unknown_measure_names_the_known():
    with pytest.raises(ConfigError, match="must be 'em' or 'f1'"):
        load_task("squad", measure="accuracy")
