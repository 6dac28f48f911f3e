import base64
import gzip
import json
from typing import Any

import pytest

from thinktwice.records import Cell, Comparison, Summary
from thinktwice.report import figures
from thinktwice.report.assets import packed
from thinktwice.report.outcomes import Flips, flips, link, read_outcomes, table


def row(right: bool, *, level: int = 6, answer: str | None = "7", **more: Any) -> dict[str, Any]:
    step = {"token_ids": [1, 2, 3], "sampled": True, "kept": True}
    trace = {"stop": "done", "steps": [step, step | {"kept": False}, step | {"sampled": False}]}
    score = {"value": float(right), "answer": answer}
    return {"level": level, "question": "How many?", "reference": "7", "trace": trace, "score": score} | more


ROWS = {
    "a": {
        "p1": row(True),
        "p2": row(True),
        "p3": row(False),
        "p4": row(False),
        "p5": row(True),
        "q": row(True, level=4),
    },
    "b": {"p1": row(True), "p2": row(False), "p3": row(True), "p4": row(False), "q": row(False, level=4)},
}


def test_only_problems_that_both_have_answered_are_paired() -> None:
    found = flips(read_outcomes(ROWS), "a", "b", 6, None)
    assert found is not None
    assert (found.both, [f.key for f in found.gained], [f.key for f in found.lost], found.neither) == (
        1,
        ["p2"],
        ["p3"],
        1,
    )
    assert found.n == 4  # p5 is not among them
    assert found.p == 1.0
    assert flips(read_outcomes({"a": ROWS["a"]}), "a", "b", 6, None) is None


def test_the_packed_table_says_the_same_of_every_pair() -> None:
    cells = {6: Cell(4, 0.5, (0.1, 0.9))}
    stored = Comparison("b", "a", 6, -0.1, (-0.3, 0.1), 1.0)
    data = packed(table(read_outcomes(ROWS), ["a", "b", "absent"], Summary({"a": cells, "b": cells}, (stored,))))
    assert "<" not in data
    read = json.loads(gzip.decompress(base64.b64decode(data)))
    assert read["arms"] == ["a", "b"]
    level = next(level for level in read["levels"] if level["level"] == 6)
    assert dict(zip(level["keys"], zip(*level["right"], strict=True), strict=True)) == {
        "p1": ("1", "1"), "p2": ("1", "0"), "p3": ("0", "1"), "p4": ("0", "0"), "p5": ("1", "-"),
    }  # fmt: skip
    assert level["pairs"] == [[0, 1, 1.0, [0.1, -0.1, 0.3]]]  # turned round: a minus b


def test_tokens_are_counted_as_they_were_paid_for() -> None:
    spent = read_outcomes(ROWS).spent["a"][6]
    assert (spent.problems, spent.sampled, spent.dropped) == (5, 30, 15)


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"failure": "copied_wrong"}, "copied_wrong"),
        ({}, "wrong answer"),
        ({"failure": "", "score": {"value": 0.0, "answer": None}}, "no answer"),
        ({"trace": {"stop": "budget", "steps": []}}, "out of tokens"),
        ({"trace": {"stop": "length", "steps": []}}, "out of context"),
    ],
)
def test_an_older_run_is_told_its_kinds_of_failure(more: dict[str, Any], kind: str) -> None:
    assert read_outcomes({"a": {"p": row(False) | more}}).failures(6)["a"] == {kind: 1}


def test_a_link_survives_any_key() -> None:
    assert link("6/ä&arms=x #1", "a", "b") == "#trace=6%2F%C3%A4%26arms%3Dx%20%231&arms=a,b"


def test_a_huge_answer_is_cut_to_a_line() -> None:
    outcome = read_outcomes({"a": {"p": row(False, answer="9\n\x1b" + "x" * 100_000)}}).arms["a"][6]["p"]
    assert outcome.answer.startswith("9 \\x1bxx")
    assert len(outcome.answer) <= 40


def test_every_problem_is_one_square_until_there_are_too_many() -> None:
    svg = figures.waffle(Flips("a", "b", 6, 430, (), (), 171, 1.0, None))
    assert svg is not None
    assert svg.count("h8v8h-8z") == 601
    assert figures.waffle(Flips("a", "b", 6, 4000, (), (), 1, 1.0, None)) is None
