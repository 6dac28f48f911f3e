"""Types that need no fitting: labels that never shift, and operators that are operators."""

import json
import re
from pathlib import Path

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.planning.typers import Solution, build_typer, load_typer, type_names
from thinktwice.methods.planning.typers.given import operators

GSM8K = Path(__file__).parents[3] / "../shared/data/gsm8k/train.jsonl"


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("48/2 = 24 clips", "/"),
        ("100 - 50 - 30 - 15 = $5", "---"),
        ("5 x 3 = 15 and 6X2=12", "**"),
        ("$140 x 0.10= $14", "*"),
        ("$5*3=$15, £2×4 = £8, 9 ÷ 3 = 3", "**/"),
        ("65 – 51 = 14, 7 − 2 = 5", "--"),
        ("100 kilograms/2 kilograms = 50 days", "/"),
        ("10 minutes x 12 things = 120 minutes", "*"),
        ("30 x 1/3 = 10 students", "*/"),
        ("6/(1/4)=24 times", "//"),
        ("25%*120=$30", "*"),
        ("(3+4)*2=14", "+*"),
        ("Fay: Kim - 1 where Kim 7 = Fay 6", "-"),
        ("Ben: Hal + Fay where Hal 2, Fay 6 = Ben 8", "+"),
        # what the public code counts and what is none
        ("a 48-page book about a four-leaf clover, half-price", ""),
        ("the temperature is -5, then -3 = -3", ""),
        ("x = -2", ""),
        ("he needs 3/4 of them, 2-3 days, on 12/5/2020", ""),
        ("$6/burger and 8 birds/site", ""),
        ("fax 3, the x factor, 2x + 3 = 7", "+"),
        ("", ""),
    ],
)
def test_operators_of_a_line(step: str, found: str) -> None:
    assert operators(step) == tuple(found)


def test_where_calculations_are_marked_only_those_count() -> None:
    assert operators("a 2/3 share - half: 48/2 = <<48/2=24>>24, and <<24+3-1=26>>26") == ("/", "+", "-")
    assert operators("He has <<5=5>>5 - none") == ()
    assert operators("<<2*-3=-6>>") == ("*",)


def test_a_hostile_line_costs_no_more_than_its_length() -> None:
    assert operators("<<" * 50_000) == ()
    assert len(operators("1 + " * 25_000 + "1")) == 25_000


@pytest.mark.skipif(not GSM8K.is_file(), reason="GSM8K is not on this machine")
def test_on_gsm8k_the_text_says_what_the_marks_say() -> None:
    marks = re.compile(r"<<[^<>\n]*>>")
    rows = [json.loads(line)["answer"] for line in GSM8K.read_text(encoding="utf-8").splitlines()]
    lines = [line for row in rows for line in row.splitlines()[:-1] if "<<" in line]
    assert len(lines) == 23_716
    same = sum(operators(line) == operators(marks.sub("", line)) for line in lines)
    assert same / len(lines) > 0.965


def test_labels_stay_with_their_steps() -> None:
    typer = build_typer("labels", 0, ("memory", "reason"))
    solution = Solution("p", "q", ("a", "b", "c"), ("reason", "memory", "reason"))
    assert typer.fit([solution], None, 0).predict([solution], None) == [[("reason",), ("memory",), ("reason",)]]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (("reason", "[reason] and [rag]", "memory"), "problem p has the label"),  # upstream drops it: the rest shifts
        (("reason", "memory"), "3 steps and 2 labels"),
        ((), "3 steps and 0 labels"),
    ],
)
def test_a_label_that_is_no_type_is_refused_never_dropped(labels: tuple[str, ...], says: str) -> None:
    typer = build_typer("memory", 0, ("memory", "reason"))
    with pytest.raises(DataError, match=re.escape(says)):
        typer.predict([Solution("p", "q", ("a", "b", "c"), labels)], None)


def test_random_types_are_those_of_the_seed_whatever_else_is_read() -> None:
    solutions = [Solution(f"p{i}", "q", ("a", "b")) for i in range(40)]
    typer = build_typer("random", 3, ()).fit(solutions, None, 5)
    found = typer.predict(solutions, None)
    assert typer.predict(solutions[7:], None) == found[7:]
    assert {name for steps in found for step in steps for name in step} == {"random0", "random1", "random2"}
    assert build_typer("random", 3, ()).fit(solutions, None, 6).predict(solutions, None) != found


@pytest.mark.parametrize("kind", ["general", "+-*/", "memory", "random"])
def test_they_are_written_and_read_back(tmp_path: Path, kind: str) -> None:
    solutions = [Solution("p", "q", ("1 + 2 = 3", "so it is 3"), ("memory", "reason"))]
    typer = build_typer(kind, 4, ("memory", "reason")).fit(solutions, None, 3)
    typer.save(tmp_path / "typer")
    again = load_typer(tmp_path / "typer")
    assert again == typer
    assert again.types == (() if kind == "general" else type_names(kind, 4, ("memory", "reason")))
    assert [p.name for p in (tmp_path / "typer").iterdir()] == ["typer.json"]


def test_names_are_known_before_anything_is_fitted() -> None:
    assert type_names("kmeans", 3, ()) == ("kmeans0", "kmeans1", "kmeans2")
    assert type_names("sq-vae", 2, ()) == ("vae_0", "vae_1")
    assert type_names("tfidf", 2, ()) == ("tfidf0", "tfidf1")
    assert type_names("operators", 9, ()) == ("+", "-", "*", "/")
    assert type_names("none", 5, ()) == type_names("general", 5, ()) == ()
    with pytest.raises(ConfigError, match="Did you mean 'k-means'"):
        type_names("k-mean", 3, ())
    with pytest.raises(ConfigError, match="set 2 or more"):
        type_names("k-means", 1, ())
