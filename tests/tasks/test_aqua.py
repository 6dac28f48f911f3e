import json
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.tasks.aqua import problem, rationale

DATA = Path(__file__).parents[2] / "../shared/data/aqua"
ROW = {
    "question": "A pen costs 3.5 rupees. How much are two?",
    "options": ["A)6", "B)Rs. 7", "C)8", "D)9", "E)None of these"],
    "rationale": "Explanation :\nOne is Rs. 3.5 in the U.S. shop. Two are 2*3.5 = 7.\nAnswer : B",
    "correct": "B",
}


def test_a_row():
    got = problem(ROW)
    assert got.prompt.endswith("How much are two?\nAnswer Choices: (A) 6 (B) Rs. 7 (C) 8 (D) 9 (E) None of these")
    assert got.choices[1] == "Rs. 7"
    assert got.solution == "One is Rs. 3.5 in the U.S. shop.\nTwo are 2*3.5 = 7.\nThe answer is: B"
    assert got.labels == ()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("x = 7\nB", ("x = 7",)),
        ("x = 7\nthe correct option is (B).", ("x = 7",)),
        ("x = 7\nANS:B", ("x = 7",)),
        ("x = 7. Answer : B", ("x = 7.",)),
        ("it is 250 m. Answer D", ("it is 250 m.",)),
        ("x = 7 Answer :B", ("x = 7.",)),
        ("x = 7\nB is 3 more than A", ("x = 7", "B is 3 more than A")),
        ("Solution: x = 7", ("x = 7",)),
        ("Explanation of this: x", ("Explanation of this: x",)),
        ("Answer: B", ()),
        ("", ()),
    ],
)
def test_rationale(text, lines):
    assert rationale(text) == lines


@pytest.mark.parametrize(
    "change",
    [
        {"correct": "F"},
        {"correct": ""},
        {"options": ["A)6", "C)7"]},
        {"options": "A)6"},
        {"options": None},
        {"question": None},
    ],
)
def test_a_bad_row(change):
    with pytest.raises(DataError):
        problem({**ROW, **change})


def test_strict_and_compat(tmp_path):
    (tmp_path / "test.json").write_text(json.dumps(ROW) + "\n")
    strict, compat = (load_task("aqua", path=str(tmp_path), compat=c) for c in (False, True))
    (row,) = strict.splits["test"]
    for reply, there, here in (
        ("The answer is: B", 1, 1),
        ("The answer is: Bad luck", 1, 0),
        ("12 + 2", 0, 0),  # the prompt is scored there, its last letter is the E of "these"
        ("B", 1, 0),
    ):
        assert (compat.score(row, reply).value, strict.score(row, reply).value) == (there, here), reply


@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
def test_real_files(caplog):
    got = load_task("aqua", path=str(DATA))
    assert {name: len(rows) for name, rows in got.splits.items()} == {"train": 0, "dev": 254, "test": 254}
    assert "no training problems" in caplog.text
    check_disjoint(got)
    assert got.quarantined == 0
    for row in [*got.splits["dev"], *got.splits["test"]]:
        assert len(row.choices) == 5
        assert row.solution is None or got.score(row, row.solution).value == 1
    assert sum(row.solution is None for row in got.splits["test"]) <= 2
    assert load_task("aqua", path=str(DATA)).splits == got.splits
