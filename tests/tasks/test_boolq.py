import json
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.tasks import check_disjoint, load_task, passages
from thinktwice.tasks.boolq import problem, verdict

DATA = Path(__file__).parents[2] / "../shared/data/boolq"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")


def row(n, answer=True):
    return {"question": f"is {n} so", "title": "So", "answer": answer, "passage": f"All of {n} is so.\nIt is."}


def write(directory, **files):
    for name, rows in files.items():
        (directory / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(directory)


def test_the_prompt_is_the_passage_and_the_question():
    got = problem(row(5, False))
    assert got.prompt == "All of 5 is so.\nIt is.\nis 5 so"
    assert (got.context, passages.question(got)) == (("All of 5 is so.\nIt is.",), "is 5 so")
    assert (got.answer, got.solution) == ("False", "The answer is: False")
    assert got.id == problem(row(5, True)).id != problem(row(6)).id


@pytest.mark.parametrize("answer", [None, "True", 1, "yes"])
def test_an_answer_is_a_truth_value(answer):
    with pytest.raises(DataError, match="neither true nor false"):
        problem(row(1, answer))


def test_dev_is_carved_from_train_or_is_its_own_file(tmp_path, caplog):
    rows = [row(n, n % 2 == 0) for n in range(60)]
    path = write(tmp_path, train=rows[:40], validation=rows[40:45], dev=rows[45:])
    carved, own = (load_task("boolq", path=path, dev=dev) for dev in (10, None))
    assert {name: len(found) for name, found in carved.splits.items()} == {"train": 30, "dev": 10, "test": 15}
    assert "has 5 dev problems; not used, dev=10" in caplog.text
    assert {name: len(found) for name, found in own.splits.items()} == {"train": 40, "dev": 5, "test": 15}
    check_disjoint(carved)
    check_disjoint(own)
    assert [p.id for p in carved.splits["test"]] == [p.id for p in own.splits["test"]]


def test_one_question_with_two_answers_is_quarantined(tmp_path):
    rows = [row(n) for n in range(150)]
    path = write(tmp_path, dev=[*rows, rows[3], row(7, False)])
    got = load_task("boolq", path=path, quarantine=str(tmp_path / "bad"))
    assert (len(got.splits["test"]), got.quarantined) == (150, 1)
    assert "says something else" in (tmp_path / "bad/boolq-test.jsonl").read_text()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("The answer is: True", "True"),
        ("It freezes.\nThe answer is: false.", "False"),
        ("The answer is: yes", "True"),
        ("**Answer:** No", "False"),
        ("The answer is: True\nNo: it thaws. The answer is: False", "False"),  # the last one counts
        ("True", "True"),
        (" yes.\n", "True"),
        ("**No**", "False"),
        ("No, it is not true that it freezes.", "False"),
        ("True\nbecause it freezes", "True"),
        ("The answer is: True or False", "True or False"),
        ("", None),
        ("I cannot tell.", None),
        ("no one knows", None),
        ("Yes/No", None),
        ("Yes, no", None),
        ("True or False?", None),
        ("It is false that it freezes", None),  # a word somewhere is no verdict
        ("The answer is: unclear", None),
        ("The answer is: truest", None),
    ],
)
def test_a_verdict_must_be_stated(reply, said):
    assert verdict(reply) == said


@needs_data
def test_a_mute_model_scores_nothing_on_the_real_file():
    got = load_task("boolq", path=str(DATA))
    test = got.splits["test"]
    assert (len(test), got.quarantined) == (3270, 0)
    assert sum(p.answer == "True" for p in test) / 3270 == pytest.approx(0.6217, abs=1e-4)
    for reply in ("", "I do not know.", "The passage speaks of it."):
        scores = [got.score(p, reply) for p in test]
        assert sum(score.value for score in scores) == 0  # the public code: 62.17 %
        assert all(score.answer is None and score.scored and score.why.startswith("unparsed") for score in scores)
    assert sum(got.score(p, "The answer is: True").value for p in test) == 2033
    for p in test:
        assert got.score(p, p.solution).value == 1
        assert p.prompt == passages.ask(p.context, passages.question(p))
