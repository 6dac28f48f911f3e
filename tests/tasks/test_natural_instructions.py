import json
import logging
from pathlib import Path

import pytest

from thinktwice.config import parse, to_dict
from thinktwice.errors import ConfigError, DataError
from thinktwice.tasks import check_disjoint, load_task, passages
from thinktwice.tasks.natural_instructions import Shown, read_task
from thinktwice.types import Problem

pytest.importorskip("rouge_score")

DATA = Path(__file__).parents[2] / "../shared/data"
ONE, TWO = DATA / "natural_instructions_v1", DATA / "natural_instructions_v2"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")


def one(count=5, start=0, **changes):
    """A task as v1 writes it."""
    return {
        "Title": "t",
        "Definition": " Write the number. ",
        "Emphasis & Caution": "Digits only.",
        "Things to Avoid": "-",
        "Prompt": "Which number?",
        "Examples": {
            "Positive Examples": [{"input": "one", "output": "1", "reason": "One is 1."}],
            "Negative Examples": [{"input": "two", "output": "3", "reason": "Three is 3.", "suggestion": "Write 2."}],
        },
        "Instances": [{"input": f"n {i}", "output": [f"{i}", f"the {i}", f"{i}"]} for i in range(start, start + count)],
    } | changes


def two(**changes):
    """The same task as v2 writes it."""
    told, examples = one(), one()["Examples"]
    v2 = {
        "Contributors": ["C"],
        "Definition": [told["Definition"]],
        "Instances": [{"id": f"task1-{i}", **row} for i, row in enumerate(told["Instances"])],
    }
    for kind, listed in examples.items():
        v2[kind] = [{"input": e["input"], "output": e["output"], "explanation": e["reason"]} for e in listed]
    return v2 | changes


def write(directory, **tasks):
    directory.mkdir(parents=True, exist_ok=True)
    for name, task in tasks.items():
        (directory / f"{name}.json").write_text(json.dumps(task))
    return str(directory)


def test_everything_that_people_wrote_is_kept(tmp_path):
    write(tmp_path, v1=one(), v2=two())
    v1, v2 = (read_task(tmp_path / f"{name}.json") for name in ("v1", "v2"))
    assert (v1.definition, v1.caution, v1.avoid, v1.prompt) == (
        "Write the number.",
        "Digits only.",
        "",
        "Which number?",
    )
    assert v1.positives == (Shown("one", "1", "One is 1."),)
    assert v1.negatives == (Shown("two", "3", "Three is 3.", "Write 2."),)
    assert (v2.definition, v2.caution, v2.positives) == (v1.definition, "", v1.positives)
    assert v2.negatives == (Shown("two", "3", "Three is 3."),)  # v2 has no suggestions
    assert [p.id for p in v2.instances] == [f"task1-{i}" for i in range(5)]
    for task in (v1, v2):
        assert [p.references for p in task.instances] == [(f"{i}", f"the {i}") for i in range(5)]
        assert [passages.question(p) for p in task.instances] == [f"n {i}" for i in range(5)]
        assert {p.kind for p in task.instances} == {task.name} == {"v1" if task is v1 else "v2"}


@pytest.mark.parametrize("nothing", ["-", ["-"], [], None])
def test_a_dash_is_nothing(tmp_path, nothing):
    examples = {"Positive Examples": nothing, "Negative Examples": nothing}
    write(tmp_path, v1=one(Examples=examples))
    task = read_task(tmp_path / "v1.json")
    assert task.positives == task.negatives == ()


def test_the_parts_of_a_prompt(tmp_path):
    path = write(tmp_path, v1=one())
    for parts, before in (
        (["definition"], "Write the number.\n"),
        (["definition", "caution", "avoid"], "Write the number.\nDigits only.\n"),
        (["prompt"], "Which number?\n"),
        ([], ""),
    ):
        problem = load_task("natural_instructions", path=path, parts=parts).splits["test"][0]
        assert problem.prompt == before + passages.question(problem)
        assert problem.context == ((before.rstrip("\n"),) if before else ())
    with pytest.raises(ConfigError, match="Did you mean 'caution'"):
        load_task("natural_instructions", path=path, parts=["cautoin"])


def test_what_was_shown_and_what_was_met_is_left_out_and_counted(tmp_path, caplog):
    shown = [{"input": " ONE ", "output": ["1"]}, {"input": "two", "output": ["2"]}]
    again = [{"input": "n 3", "output": ["three"]}, {"input": "N  3", "output": ["3"]}]
    told = one()
    path = write(tmp_path, v1=told | {"Instances": [*shown, *told["Instances"], *again]})
    with caplog.at_level(logging.INFO):
        got = load_task("natural_instructions", path=path)
    assert len(got.splits["test"]) == 5
    assert "2 left out: its input was met before in its task" in caplog.text
    assert "2 left out: its input was shown as an example" in caplog.text
    assert {p.answer for p in got.splits["test"]} == set("01234")


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        ({"input": "x", "output": []}, "'output' is empty"),
        ({"input": "x", "output": [" "]}, "has an empty one"),
        ({"input": "x", "output": [1]}, "is no list of texts"),
        ({"input": "", "output": ["1"]}, "'input' is empty"),
        ("x", "is no JSON object"),
    ],
)
def test_a_bad_instance_is_quarantined(tmp_path, instance, words):
    told = one(150)
    path = write(tmp_path, v1=told | {"Instances": [*told["Instances"], instance]})
    got = load_task("natural_instructions", path=path, quarantine=str(tmp_path / "bad"))
    assert (len(got.splits["test"]), got.quarantined) == (150, 1)
    aside = json.loads((tmp_path / "bad/natural_instructions-test.jsonl").read_text())
    assert aside["line"] == 151
    assert words in aside["reason"]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"Definition": "x"}, "no list 'Instances'"),
        ([], "no list 'Instances'"),
        (one(Definition="-"), "no 'Definition'"),
        (one(Examples="-"), "'Examples' is no mapping"),
        (one(Examples={"Positive Examples": ["so"]}), "an example cannot be read"),
        (one(Examples={"Positive Examples": [{"input": "x"}]}), "an example cannot be read: 'output' is missing"),
    ],
)
def test_what_is_no_task_is_refused(tmp_path, task, words):
    write(tmp_path, v1=task)
    with pytest.raises(DataError, match=f"^v1: .*{words}"):
        read_task(tmp_path / "v1.json")


def test_splits_by_folder_by_task_and_by_count(tmp_path):
    for number, split in enumerate(("train", "dev", "test")):
        write(tmp_path / "folders" / split, v1=one(9, 10 * number), other=one(4, 50 + 10 * number))
    got = load_task("natural_instructions", path=str(tmp_path / "folders"), per_task=5)
    assert {name: len(rows) for name, rows in got.splits.items()} == {"train": 9, "dev": 9, "test": 9}
    check_disjoint(got)
    flat = write(tmp_path / "flat", a=one(9), b=one(9, 20), c=one(9, 40))
    by_task = load_task("natural_instructions", path=flat, test_tasks=["b"], dev=3)
    assert {name: len(rows) for name, rows in by_task.splits.items()} == {"train": 15, "dev": 3, "test": 9}
    assert {p.kind for p in by_task.splits["test"]} == {"b"}
    assert {p.kind for name in ("train", "dev") for p in by_task.splits[name]} == {"a", "c"}
    by_count = load_task("natural_instructions", path=flat, train=10, dev=5)
    assert {name: len(rows) for name, rows in by_count.splits.items()} == {"train": 10, "dev": 5, "test": 12}
    with pytest.raises(ConfigError, match=r"has no task 'd'\. Known: a, b, c"):
        load_task("natural_instructions", path=flat, test_tasks=["d"])
    with pytest.raises(DataError, match="holds no task files"):
        load_task("natural_instructions", path=str(tmp_path))
    with pytest.raises(ConfigError, match="needs the option 'path'"):
        load_task("natural_instructions")


def test_every_reference_counts_and_the_measure_is_named(tmp_path):
    path = write(tmp_path, v1=one())
    got = load_task("natural_instructions", path=path)
    problem = got.splits["test"][0]
    assert got.measure == "ROUGE-L"
    for reply in problem.references:
        assert got.score(problem, reply).value == 1
    assert 0 < got.score(problem, f"{problem.answer} of them").value < 1
    assert got.score(problem, "").value == 0
    unigrams = load_task("natural_instructions", path=path, measure="rouge1")
    assert unigrams.measure == "ROUGE-1"
    with pytest.raises(ConfigError, match="Did you mean 'rougeL'"):
        load_task("natural_instructions", path=path, measure="rougel")


def test_answers_survive_being_written_down_and_old_rows_can_be_read():
    problem = Problem("a", "q", "1", answers=("1", "one"))
    assert parse(Problem, json.loads(json.dumps(to_dict(problem)))) == problem
    old = {key: value for key, value in to_dict(Problem("a", "q", "1")).items() if key != "answers"}
    assert parse(Problem, old).references == ("1",)


@needs_data
def test_the_real_files(caplog):
    with caplog.at_level(logging.INFO):
        got = load_task("natural_instructions", path=str(ONE))
    assert "39146 rows, 39079 problems; 62 left out: its input was met before" in caplog.text
    assert "4 left out: its input was shown as an example; 1 quarantined" in caplog.text
    assert got.quarantined == 1
    test = got.splits["test"]
    assert len({p.kind for p in test}) == 21
    for p in test[:400]:
        assert all(got.score(p, reference).value == 1 for reference in p.references if any(map(str.isalnum, reference)))
    tasks = [read_task(file) for file in sorted(ONE.glob("*.json"))]
    criticised = [shown for task in tasks for shown in task.negatives]
    assert len(criticised) == 32  # human criticism of wrong outputs
    assert all(shown.reason for shown in criticised)
    assert sum(bool(shown.suggestion) for shown in criticised) == 5
    v2 = read_task(next(TWO.glob("*.json")))
    assert (len(v2.instances), len(v2.positives), len(v2.negatives)) == (29, 3, 1)
    assert v2.negatives[0].reason.startswith("Here the phrase")
