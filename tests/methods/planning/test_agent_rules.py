"""The offline labeller: what it says, what it plans, and how far it agrees with people's and models' labels."""

import json
import re
from pathlib import Path

import pytest

from thinktwice.methods.planning.agent import Agent, Author, Labelling, LabelWriter, RuleWriter, agreement, label_lines
from thinktwice.tasks import load_task
from thinktwice.types import Problem

DATA = Path(__file__).parents[3] / "../shared/data/disentangling"


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("The USS Iwo Jima recovered Apollo 13.", "rag"),
        ("World War I lasted from 1914-1918.", "rag"),
        ("Iwo Jima is a volcanic island in Japan.", "rag"),
        ("So the ship was named after a battle.", "reason"),
        ("  Since it was named after a battle, it was.", "reason"),
        ("The ship was therefore named after a battle.", "reason"),
        ("It is unlikely that he knew.", "reason"),
        ("3 + 4 = 7", "reason"),
        ("She has 12 / 4 apples a day.", "reason"),
        ("Of 1843 and 1851 the first is earlier.", "reason"),
        ("Sophia lived in Sofia.", "rag"),
    ],
)
def test_a_line_is_labelled_by_its_words(line, label):
    assert label_lines([line]) == (label,)


@pytest.fixture(scope="module")
def wiki():
    return load_task("wiki", train=60, per_level=2)


@pytest.mark.parametrize("order", ["interleaved", "memory_first"])
def test_the_offline_run_keeps_every_line_of_the_solutions(tmp_path, wiki, order):
    problems = wiki.splits["train"]
    rules, true = Author(RuleWriter(problems, order), "rules"), Author(LabelWriter(problems), "labels")
    found = Agent(rules, rules, wiki.score, Labelling(order=order, answer="hidden"), true).label(
        problems, tmp_path / "steps.json"
    )
    assert (found.kept, found.unused, found.agreement.kappa) == (60, {}, 1.0)
    for row, problem in zip(json.loads((tmp_path / "steps.json").read_text()), problems, strict=True):
        lines = problem.solution.splitlines()[:-1]
        tags = ["[rag]: " if label == "memory" else "[reason]: " for label in problem.labels]
        names = [tag + line for tag, line in zip(tags, lines, strict=True)]
        wanted = names if order == "interleaved" else sorted(names, key=lambda name: name.startswith("[reason]"))
        assert row["cot_steps"] == wanted


def test_a_problem_without_a_solution_is_dropped_with_its_reason(tmp_path):
    problems = [Problem("p", "Why?", "True"), Problem("q", "What?", "True", "Only a fact.\nThe answer is: True")]
    rules = Author(RuleWriter(problems), "rules")
    found = Agent(rules, rules, load_task("wiki", train=1, per_level=1).score, Labelling(attempts=1)).label(
        problems, tmp_path / "steps.json"
    )
    assert found.dropped == {"no reason step": 1, "no steps": 1}


# What the module's docstring reports.
@pytest.mark.parametrize(
    ("name", "steps", "accuracy", "kappa"),
    [
        ("StrategyQA_train_clean", 7468, 0.847, 0.694),
        ("StrategyQA_test_clean", 3220, 0.841, 0.681),
        ("truthful_qa_train_clean_CC", 3426, 0.813, 0.608),
    ],
)
def test_the_agreement_with_published_labels_is_the_one_reported(name, steps, accuracy, kappa):
    path = DATA / f"{name}.json"
    if not path.exists():
        pytest.skip("no ../shared/data/disentangling")
    theirs, lines = [], []
    for row in json.loads(path.read_text(encoding="utf-8")):
        for step in row["cot_steps"]:
            found = re.fullmatch(r"\[(rag|reason)\]:\s*(\S.*)", step, re.DOTALL)
            if found:
                theirs.append(found[1])
                lines.append(found[2])
    found = agreement(theirs, label_lines(lines))
    assert found.steps == steps
    assert (round(found.accuracy, 3), round(found.kappa, 3)) == (accuracy, kappa)


def test_the_wiki_world_is_labelled_without_an_error(wiki):
    problems = [p for split in wiki.splits.values() for p in split]
    true = ["rag" if label == "memory" else label for p in problems for label in p.labels]
    assert agreement(true, label_lines([x for p in problems for x in p.solution.splitlines()[:-1]])).kappa == 1.0


def test_the_datasets_labels_follow_their_lines_and_not_their_places(tmp_path):
    lines = "Since it is small, it fits.\nA flea is 2 mm long.\nSo does a flea.\nThe answer is: True"
    one = Problem("p", "Does it fit?", "True", lines, labels=("memory", "memory", "reason"))
    problems = [one, Problem("q", "And this?", "True", lines)]
    rules, labels = Author(RuleWriter(problems, "memory_first"), "rules"), Author(LabelWriter(problems), "labels")
    found = Agent(rules, rules, load_task("wiki", train=1, per_level=1).score, Labelling(order="memory_first"), labels)
    counted = found.label(problems, tmp_path / "steps.json")
    assert counted.agreement.confusion == {"rag": {"rag": 1, "reason": 0}, "reason": {"rag": 1, "reason": 1}}
    assert counted.unlabelled == 1  # the second has no labels of its own
