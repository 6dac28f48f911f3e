import json
import logging
from collections import Counter

import pytest

from thinktwice.errors import DataError
from thinktwice.tasks import check_disjoint, reading
from thinktwice.tasks.sources import Source, read_splits
from thinktwice.types import Problem, Score, Task

SOURCE = Source("toy", {"train": ("train.jsonl",), "dev": ("dev.jsonl",), "test": ("test.jsonl", "other.jsonl")})


def convert(row):
    question = reading.text_of(row, "question")
    return Problem(reading.content_id("toy", question), question, "1", row.get("solution"))


def write(path, questions, **more):
    path.write_text(
        "".join(json.dumps({"question": str(q), "solution": "s\nThe answer is: 1", **more}) + "\n" for q in questions)
    )


def prompts(problems):
    return [int(p.prompt) for p in problems]


def test_train_dev_and_test_never_meet(tmp_path, caplog):
    write(tmp_path / "train.jsonl", range(100))
    write(tmp_path / "test.jsonl", range(95, 140))
    with caplog.at_level(logging.WARNING):
        got = read_splits(SOURCE, convert, path=str(tmp_path), dev=20).problems
    assert {name: len(rows) for name, rows in got.items()} == {"train": 75, "dev": 20, "test": 45}
    check_disjoint(Task("toy", got, lambda p, r: Score(0.0)))
    assert "5 left out of train" in caplog.text  # never out of test
    assert sorted(prompts(got["test"])) == list(range(95, 140))


def test_the_first_n_are_a_sample_that_does_not_depend_on_the_order_of_the_file(tmp_path):
    """The public code draws its test subset with replacement: 1000 draws of 1319 hold about 701 questions."""
    write(tmp_path / "test.jsonl", range(1000))
    one = read_splits(SOURCE, convert, path=str(tmp_path)).problems["test"]
    write(tmp_path / "test.jsonl", reversed(range(1000)))
    other = read_splits(SOURCE, convert, path=str(tmp_path)).problems["test"]
    assert prompts(one) == prompts(other) != sorted(prompts(one))
    first = prompts(one)[:300]
    assert len(set(first)) == 300
    tenths = Counter(n // 100 for n in first)  # every part of the file is in it
    assert len(tenths) == 10
    assert max(tenths.values()) < 50


def test_dev_is_carved_by_hash_and_train_counts_from_the_first(tmp_path):
    write(tmp_path / "train.jsonl", range(60))
    write(tmp_path / "test.jsonl", [1000])
    got = read_splits(SOURCE, convert, path=str(tmp_path), dev=10).problems
    fewer = read_splits(SOURCE, convert, path=str(tmp_path), dev=10, train=7).problems
    assert fewer["dev"] == got["dev"]
    assert fewer["train"] == got["train"][:7]
    write(tmp_path / "train.jsonl", reversed(range(60)))
    again = read_splits(SOURCE, convert, path=str(tmp_path), dev=10).problems
    assert {p.id for p in again["dev"]} == {p.id for p in got["dev"]}
    with pytest.raises(DataError, match=r"train=51, but there are 50"):
        read_splits(SOURCE, convert, path=str(tmp_path), dev=10, train=51)


def test_a_dev_file_of_its_own(tmp_path):
    for name, rows in (("train", range(10)), ("dev", range(10, 13)), ("test", range(20, 22))):
        write(tmp_path / f"{name}.jsonl", rows)
    got = read_splits(SOURCE, convert, path=str(tmp_path)).problems
    assert [len(got[name]) for name in ("train", "dev", "test")] == [10, 3, 2]


def test_without_a_train_file_it_says_so_and_serves_what_is_there(tmp_path, caplog):
    write(tmp_path / "other.jsonl", range(30))
    got = read_splits(SOURCE, convert, path=str(tmp_path), dev=5).problems
    assert [len(got[name]) for name in ("train", "dev", "test")] == [0, 0, 30]
    assert "has no training problems; served: test" in caplog.text
    carved = read_splits(SOURCE, convert, path=str(tmp_path / "other.jsonl"), dev=5, train=10).problems
    assert [len(carved[name]) for name in ("train", "dev", "test")] == [10, 5, 15]


def test_problems_without_steps_are_counted(tmp_path, caplog):
    write(tmp_path / "train.jsonl", range(5), solution=None)
    write(tmp_path / "test.jsonl", [9])
    assert len(read_splits(SOURCE, convert, path=str(tmp_path)).problems["train"]) == 5
    assert "5 of 5 training problems have no worked solution" in caplog.text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere/at/all", "no file or directory"),
        ("./nowhere", "no file or directory"),
        (None, "is on no hub"),
        ("", "has no test problems"),
    ],
)
def test_what_is_not_there_is_one_sentence_with_the_file_names(tmp_path, path, message):
    path = str(tmp_path) if path == "" else path
    with pytest.raises(DataError, match=rf"{message}.*train\.jsonl and dev\.jsonl and test\.jsonl"):
        read_splits(SOURCE, convert, path=path)


def test_bad_rows_are_quarantined_and_counted(tmp_path):
    write(tmp_path / "train.jsonl", range(200))
    write(tmp_path / "test.jsonl", range(300, 500))
    with (tmp_path / "test.jsonl").open("a") as file:
        file.write("{}\n")
    got = read_splits(SOURCE, convert, path=str(tmp_path), quarantine=str(tmp_path / "aside"))
    assert got.quarantined == 1
    assert json.loads((tmp_path / "aside/toy-test.jsonl").read_text())["line"] == 201
