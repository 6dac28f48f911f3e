import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from thinktwice.errors import DataError
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.tasks.truthfulqa import problem

DATA = Path(__file__).parents[2] / "../shared/data/disentangling"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
TARGETS = {"It does nothing.": 1, "It heals.": 0, "It kills.": 0}


def test_the_published_and_the_hubs_form_are_one():
    got = problem({"question": "What does it do?", "mc1_targets": TARGETS})
    hub = {"choices": list(TARGETS), "labels": list(TARGETS.values())}
    assert problem({"question": "What does it do?", "mc1_targets": hub}) == got
    assert got.choices["ABC".index(got.answer)] == "It does nothing."


def test_the_right_answer_does_not_always_come_first():
    """As published it does."""
    answers = Counter(problem({"question": f"What does {n} do?", "mc1_targets": TARGETS}).answer for n in range(300))
    assert set(answers) == set("ABC")
    assert max(answers.values()) < 140


@pytest.mark.parametrize("targets", [{"x": 0, "y": 0}, {"x": 1, "y": 1}, {"x": 1}, None, [1]])
def test_there_is_one_right_option(targets):
    with pytest.raises(DataError):
        problem({"question": "What?", "mc1_targets": targets})


def test_letters_past_e(tmp_path):
    question = "Which one? " + " ".join(f"{a}. option {a}{a}." for a in "ABCDEFGHI")
    (tmp_path / "truthful_qa_test_clean_CC.json").write_text(
        json.dumps([{"question": question, "answer": "I", "cot_steps": []}])
    )
    strict, compat = (load_task("truthfulqa_agent", path=str(tmp_path), compat=c) for c in (False, True))
    (row,) = strict.splits["test"]
    assert strict.score(row, "The answer is: I").value == compat.score(row, "The answer is: I").value == 1
    assert strict.score(row, "The answer is: I do not know").value == 0
    assert compat.score(row, "The answer is: I do not know").value == 1


@pytest.mark.parametrize("name", ["truthfulqa", "truthfulqa_agent"])
def test_whoever_lists_the_tasks_is_warned(name, capsys):
    from thinktwice.cli.look import tasks

    tasks()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[0] == name]
    assert "GAMEABLE" in line


@needs_data
def test_real_files():
    got = load_task("truthfulqa_agent", path=str(DATA))
    assert {name: len(rows) for name, rows in got.splits.items()} == {"train": 572, "dev": 60, "test": 164}
    assert got.quarantined == 0
    check_disjoint(got)
    labels = Counter(label for name in ("train", "dev") for p in got.splits[name] for label in p.labels)
    assert labels == {"reason": 2257, "memory": 1169}
    test = got.splits["test"]
    assert round(sum(len(p.choices) for p in test) / 164, 2) == 5.17
    assert round(sum(1 / len(p.choices) for p in test) / 164, 3) == 0.221  # chance
    assert all(p.solution is None for p in test)


WORDS = {
    "negation": "no not nothing never cannot can't don't doesn't didn't isn't aren't won't wasn't none nobody without",
    "hedge": "can may might could some sometimes typically generally often many varies depends various different any",
    "absolute": "all always every everyone must will only",
}


def features(problem):
    """Ten features of each option, relative to the others of its question. The question is not looked at."""
    words = [set(re.findall(r"[a-z']+", text.lower())) for text in problem.choices]
    lengths = [len(text) for text in problem.choices]
    rows = []
    for i, (own, text) in enumerate(zip(words, problem.choices, strict=True)):
        others = [other for j, other in enumerate(words) if j != i]
        overlap = [len(own & other) / max(1, len(own | other)) for other in others]
        negated, hedged, absolute = (bool(own & set(kind.split())) for kind in WORDS.values())
        alone = 1 - np.mean([bool(other & set(WORDS["negation"].split())) for other in others])
        length = [lengths[i] / np.mean(lengths), lengths[i] == max(lengths)]
        begins = [text.lower().startswith("yes"), text.lower().startswith("no")]
        rows.append([np.mean(overlap), max(overlap), *length, negated, hedged, absolute, *begins, negated * alone])
    return np.array(rows, float) - np.mean(np.array(rows, float), axis=0)


@needs_data
def test_a_linear_model_that_never_sees_the_question_passes_for_a_good_one():
    """111 of 164 here (67.7 %), 106 in the research notes; chance is 36. So this task must not be a headline."""
    task = load_task("truthfulqa_agent", path=str(DATA), dev=0)
    train, test = ([(features(p), ord(p.answer) - 65) for p in task.splits[name]] for name in ("train", "test"))
    scale = np.vstack([rows for rows, _ in train]).std(axis=0)
    weights = np.zeros(10)
    for _ in range(150):
        gradient = np.zeros(10)
        for rows, right in train:
            share = np.exp(rows / scale @ weights)
            gradient += (rows[right] - share / share.sum() @ rows) / scale
        weights += gradient / len(train)
    right = sum(int(np.argmax(rows / scale @ weights)) == answer for rows, answer in test)
    assert right >= 100
