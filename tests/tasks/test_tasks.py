import json
from pathlib import Path

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.scoring import numeric
from thinktwice.tasks import TASKS, check_disjoint, load_task
from thinktwice.types import Problem, Score, Task

DATA = Path(__file__).parents[2] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")


def task(**splits):
    return Task("t", {name: [Problem(*p) for p in rows] for name, rows in splits.items()}, lambda p, r: Score(0.0))


@needs_data
def test_gsm8k_real_files():
    got = load_task("gsm8k", path=str(DATA / "gsm8k"))
    assert {name: len(rows) for name, rows in got.splits.items()} == {"train": 6973, "dev": 500, "test": 1319}
    check_disjoint(got)
    first = got.splits["test"][0]
    assert (first.answer, first.level, first.solution.splitlines()[-1]) == ("18", 2, "#### 18")
    assert not any("<<" in p.solution for rows in got.splits.values() for p in rows)
    for problem in [*got.splits["dev"], *got.splits["test"]]:
        assert got.score(problem, problem.solution).value == 1.0, problem.id
    annotated = load_task("gsm8k", path=str(DATA / "gsm8k"), calculator_annotations=True)
    assert "<<16-3-4=9>>" in annotated.splits["test"][0].solution
    assert [p.id for p in annotated.splits["dev"]] == [p.id for p in got.splits["dev"]]


@pytest.mark.parametrize("answer", ["no marker 5", "#### five", "####", "5 ####"])
def test_gsm8k_without_a_final_number_is_quarantined(tmp_path, answer):
    rows = [{"question": f"q{i}", "answer": f"a\n#### {i},000"} for i in range(200)]
    for name in ("train", "test"):
        lines = (
            [*rows, {"question": name, "answer": answer}]
            if name == "train"
            else [{"question": "t", "answer": "#### 1"}]
        )
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    got = load_task("gsm8k", path=str(tmp_path), dev=10, quarantine=str(tmp_path / "bad"))
    assert len(got.splits["train"]) == 190
    assert json.loads((tmp_path / "bad/gsm8k-train.jsonl").read_text())["line"] == 201
    fewer = load_task("gsm8k", path=str(tmp_path), dev=10, train=7)
    assert fewer.splits["train"] == got.splits["train"][:7]
    assert fewer.splits["dev"] == got.splits["dev"]
    with pytest.raises(DataError, match=r"task\.train=191, but there are 190"):
        load_task("gsm8k", path=str(tmp_path), dev=10, train=191)
    assert {p.answer for p in got.splits["dev"]} <= {f"{i}000" for i in range(1, 200)} | {"0"}


def write_gsm8k(directory):
    for name, numbers in (("train", range(30)), ("test", range(1000, 1010))):
        rows = [
            {"question": f"{n} and 1?", "answer": f"It is {n}+1 = <<{n}+1={n + 1}>>{n + 1}.\n#### {n + 1:,}"}
            for n in numbers
        ]
        (directory / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_gsm8k_with_another_answer_line(tmp_path):
    write_gsm8k(tmp_path)
    usual = load_task("gsm8k", path=str(tmp_path), dev=5)
    got = load_task("gsm8k", path=str(tmp_path), dev=5, answer_line="The answer is: {answer}")
    assert usual.splits["test"][0].solution == "It is 1000+1 = 1001.\n#### 1,001"
    assert got.splits["test"][0].solution == "It is 1000+1 = 1001.\nThe answer is: 1001"
    assert [p.id for p in got.splits["train"]] == [p.id for p in usual.splits["train"]]
    for p in got.splits["test"]:
        assert got.score(p, p.solution).value == usual.score(p, p.solution).value == 1
    assert usual.oracle is not None
    assert got.oracle is None  # it reads `#### N`
    with pytest.raises(ConfigError, match=r"has no \{answer\}"):
        load_task("gsm8k", path=str(tmp_path), dev=5, answer_line="####")


def test_gsm8k_and_svamp_as_the_public_code_scores_them(tmp_path):
    write_gsm8k(tmp_path)
    (tmp_path / "svamp.json").write_text(
        json.dumps([{"Body": "One", "Question": "Two?", "Equation": "( 1.0 + 2.0 )", "Answer": 3.0}])
    )
    for name, options, dotted, zeros in (
        ("gsm8k", {"path": str(tmp_path), "dev": 5}, 0, 0),
        ("svamp", {"path": str(tmp_path / "svamp.json")}, 1, 1),
    ):
        strict, compat = (load_task(name, **options, compat=c) for c in (False, True))
        p = strict.splits["test"][0]
        for reply, value in (
            (f"The answer is: {p.answer}", 1),
            (f"The answer is: {p.answer}.", dotted),
            (f"The answer is: {p.answer}.00", zeros),
            (f"#### {p.answer}", 0),
        ):
            assert strict.score(p, reply).value == 1
            assert compat.score(p, reply).value == value, (name, reply)


def test_svamps_equation_is_a_step(tmp_path):
    rows = [
        {"Body": "One", "Question": "Two?", "Equation": "( 1.0 + 2.0 )", "Answer": 3.0},
        {"Body": "A", "Question": "B?", "Answer": 3.0},
    ]
    (tmp_path / "svamp.json").write_text(json.dumps(rows))
    with_equation, without = load_task("svamp", path=str(tmp_path / "svamp.json")).splits["test"]
    assert with_equation.solution == "( 1.0 + 2.0 )\nThe answer is: 3"
    assert without.solution is None


@needs_data
@pytest.mark.parametrize(
    ("name", "path", "count", "first"),
    [
        ("svamp", "svamp/SVAMP.json", 1000, "51"),
        ("svamp", "pal/svamp.jsonl", 1000, "51"),
        ("addsub", "zero_shot_cot/AddSub_AddSub.json", 395, "43"),
        ("addsub", "pal/mawpsaddsub.jsonl", 395, "43"),
        ("multiarith", "zero_shot_cot/MultiArith_MultiArith.json", 580, "39"),
        ("singleop", "pal/mawpssingleop.jsonl", 531, "14"),
        ("asdiv", "pal/asdiv.jsonl", 2095, "9"),
        ("asdiv", "asdiv/ASDiv.xml", 2183, "9"),
        ("singleeq", "zero_shot_cot/SingleEq_questions.json", 508, "43"),
        ("simuleq", "alg514/testset.json", 52, "14; 24"),
    ],
)
def test_lila_real_files(name, path, count, first):
    got = load_task(name, path=str(DATA / path))
    assert {split: len(rows) for split, rows in got.splits.items()} == {"train": 0, "dev": 0, "test": count}
    assert got.splits["test"][0].answer == first
    for problem in got.splits["test"]:
        assert numeric.score(f"#### {problem.answer}".replace(";", " and"), problem.answer).value == 1.0, problem
    carved = load_task(name, path=str(DATA / path), train=10, dev=10)
    assert {split: len(rows) for split, rows in carved.splits.items()} == {"train": 10, "dev": 10, "test": count - 20}
    check_disjoint(carved)


@needs_data
def test_two_copies_of_svamp_have_the_same_ids():
    one, other = (load_task("svamp", path=str(DATA / p)) for p in ("svamp/SVAMP.json", "pal/svamp.jsonl"))
    shared = {p.id: p.answer for p in one.splits["test"]}
    assert all(shared.get(p.id) == p.answer for p in other.splits["test"])


@needs_data
def test_simuleq_directory_has_its_own_splits():
    got = load_task("simuleq", path=str(DATA / "alg514"))
    assert {split: len(rows) for split, rows in got.splits.items()} == {"train": 411, "dev": 51, "test": 52}
    check_disjoint(got)
    problem = got.splits["test"][0]
    assert got.score(problem, "so\n#### 24 and 14").value == 1.0
    assert got.score(problem, "so\n#### 24").value == 0.0
    with pytest.raises(ConfigError, match="own splits"):
        load_task("simuleq", path=str(DATA / "alg514"), dev=5)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (51.0, "51"),
        ("0.6666666666666666", "2/3"),
        ("-0.3333333333333333", "-1/3"),
        (0.1, "0.1"),
        (83.33333333, "83.33333333"),
        ("9 (apples); 2 (pears)", "9; 2"),
        (["43.0", "43"], "43"),
        (0, "0"),
        ([], None),
        (None, None),
        (True, None),
        ("", None),
        ("(apples)", None),
    ],
)
def test_lila_answers(value, answer):
    from thinktwice.tasks.lila import problem

    row = {"question": "How many?", "answer": value}
    if answer is None:
        with pytest.raises(DataError, match="the answer is"):
            problem(row, subset="svamp")
    else:
        assert problem(row, subset="svamp").answer == answer


def test_lila_words_are_left_out_not_quarantined(tmp_path):
    rows = [{"question": f"q{i}", "answer": "Yes" if i % 2 else "1"} for i in range(10)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert len(load_task("asdiv", path=str(tmp_path / "a.jsonl")).splits["test"]) == 5


def test_every_name_loads_lazily_and_refuses_unknown_options():
    import importlib

    for name, target in TASKS.items():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), name
        with pytest.raises(ConfigError, match="has no option 'pathh'"):
            load_task(name, pathh="x")


def test_unknown_task_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'gsm8k'"):
        load_task("gsm8")


def test_a_task_of_ones_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from thinktwice.types import Problem, Score, Task\n"
        "def load(n=1):\n"
        "    problems = {'test': [Problem('a', 'q', str(n))]}\n"
        "    return Task('mine', problems, lambda p, r: Score(float(r == p.answer)))\n"
        "def wrong(): return 5\n"
    )
    got = load_task(f"{file}:load", n=7)
    assert got.score(got.splits["test"][0], "7").value == 1.0
    for name, message in ((":wrong", "returned int"), (":lod", "Did you mean 'load'")):
        with pytest.raises(ConfigError, match=message):
            load_task(f"{file}{name}")
    with pytest.raises(ConfigError, match="there is no file"):
        load_task(f"{tmp_path}/no.py:load")


def test_disjoint_fails_closed():
    check_disjoint(task(train=[("a", "One?", "1")], dev=[("b", "Two?", "2")], test=[]))
    with pytest.raises(DataError, match=r"train and test share 1 ids \(a\)"):
        check_disjoint(task(train=[("a", "One?", "1")], test=[("a", "Two?", "2")]))
    with pytest.raises(DataError, match=r"dev and test share 1 texts \(a\)"):
        check_disjoint(task(dev=[("a", "How many  eggs ?", "1")], test=[("b", "how many\u00a0EGGS?", "2")]))
    with pytest.raises(DataError, match="'a' stands twice in test"):
        check_disjoint(task(test=[("b", "0", "0"), ("a", "1", "1"), ("a", "2", "2")]))
    check_disjoint(task(train=[("a", "5 - 3", "2")], test=[("b", "5 + 3", "8")]))
