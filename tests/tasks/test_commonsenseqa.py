import json
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.tasks.commonsenseqa import problem

DATA = Path(__file__).parents[2] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")

TEXTS = ("bank", "the library", "mall", "sea", "new york")
PLAIN = {
    "id": "0a1b",
    "answerKey": "B",
    "question": {
        "stem": "Where are books?",
        "choices": [{"label": a, "text": b} for a, b in zip("ABCDE", TEXTS, strict=True)],
    },
}
HUB = {
    "id": "0a1b",
    "answerKey": "B",
    "question": "Where are books?",
    "choices": {"label": list("ABCDE"), "text": list(TEXTS)},
}
AGENT = {
    "question": "Question: Where are books? Options: A.bank B.the library C.mall D.sea E.new york ",
    "answer": "B",
    "cot_steps": ["[rag]: Libraries lend books.", "[reason]: So it is B."],
}


def test_the_published_and_the_hubs_form_are_one():
    got = problem(PLAIN)
    assert got == problem(HUB)
    assert got.prompt == "Where are books?\nAnswer Choices: (A) bank (B) the library (C) mall (D) sea (E) new york"
    assert (got.id, got.answer, got.choices, got.solution) == ("commonsenseqa-0a1b", "B", TEXTS, None)


def test_the_agents_form():
    got = problem(AGENT)
    assert got.prompt.startswith("Where are books? Options: A.bank")  # "Question: " is the template's
    assert (got.choices, got.labels) == (TEXTS, ("memory", "reason"))
    assert got.solution == "Libraries lend books.\nSo it is B.\nThe answer is: B"


@pytest.mark.parametrize(
    "row",
    [
        {**PLAIN, "answerKey": "F"},
        {**PLAIN, "answerKey": None},
        {**PLAIN, "question": "?"},
        {**HUB, "choices": {"label": list("BACDE"), "text": list(TEXTS)}},
        {**AGENT, "question": "Where are books?"},
        {**AGENT, "answer": "F"},
    ],
)
def test_a_bad_row(row):
    with pytest.raises(DataError):
        problem(row)


def test_train_is_served_where_there_is_one(tmp_path):
    rows = [
        {**PLAIN, "id": f"{n}", "question": {**PLAIN["question"], "stem": f"Where are {n} books?"}} for n in range(60)
    ]
    (tmp_path / "train_rand_split.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[:50]))
    (tmp_path / "dev_rand_split.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[50:]))
    got = load_task("commonsenseqa", path=str(tmp_path), dev=10)
    assert {name: len(rows) for name, rows in got.splits.items()} == {"train": 40, "dev": 10, "test": 10}
    check_disjoint(got)


@needs_data
def test_real_files(caplog):
    plain = load_task("commonsenseqa", path=str(DATA / "commonsenseqa"))
    agent = load_task("commonsenseqa_agent", path=str(DATA / "disentangling"))
    for got in (plain, agent):
        assert {name: len(rows) for name, rows in got.splits.items()} == {"train": 0, "dev": 0, "test": 1221}
        assert all(len(p.choices) == 5 for p in got.splits["test"])
        assert got.quarantined == 0
    assert "has no training problems" in caplog.text
    gold = {tuple(" ".join(c.split()) for c in p.choices): p.answer for p in plain.splits["test"]}
    both = [
        (p.answer, gold[key])
        for p in agent.splits["test"]
        if (key := tuple(" ".join(c.split()) for c in p.choices)) in gold
    ]
    assert len(both) > 1200  # the agent's file is the published dev set
    assert all(one == other for one, other in both)
