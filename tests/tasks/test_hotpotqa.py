import json
from collections import Counter
from pathlib import Path

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.tasks.hotpotqa import problem
from thinktwice.tasks.overlap import Asked, asked_in
from thinktwice.types import Problem

DATA = Path(__file__).parents[2] / "../shared/data"
SFT = DATA / "fireact/data_finetune_gpt_format_hotpotqa.jsonl"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")


def row(n, level="easy", **changes):
    return {
        "_id": f"q{n}",
        "question": f"Which of the islands I{n} and J{n} lies in sea S{n} of T{n}?",
        "answer": f"island {n}",
        "type": "bridge",
        "level": level,
        "supporting_facts": [["Sea", 0], ["Isle", 1], ["Sea", 2]],
        "context": [["Isle", ["An isle.", f" It is island {n}."]], ["Sea", ["A sea."]], ["Else", ["Nothing."]]],
    } | changes


def write(directory, **files):
    for name, rows in files.items():
        (directory / f"{name}.json").write_text(json.dumps(rows))
    return str(directory)


# --- rows


def test_an_official_row():
    got = problem(row(3), contexts=True)
    assert (got.id, got.level, got.kind, got.answer) == ("q3", 1, "bridge", "island 3")
    assert got.context[0] == "Isle\nAn isle. It is island 3."
    assert problem(row(3)).context == ()


def test_the_page_that_names_the_answer_of_a_bridge_comes_last():
    assert problem(row(3)).support == ("Sea", "Isle")
    swapped = [["Isle", 1], ["Sea", 0]]
    assert problem(row(3, supporting_facts=swapped)).support == ("Sea", "Isle")
    assert problem(row(3, supporting_facts=swapped, type="comparison")).support == ("Isle", "Sea")
    assert problem(row(3, supporting_facts=swapped, answer="nowhere")).support == ("Isle", "Sea")


def test_the_hubs_row_says_the_same():
    official = row(3)
    hub = official | {
        "id": official["_id"],
        "supporting_facts": {"title": ["Sea", "Isle", "Sea"], "sent_id": [0, 1, 2]},
        "context": {"title": ["Isle", "Sea", "Else"], "sentences": [s for _, s in official["context"]]},
    }
    del hub["_id"]
    assert problem(hub, contexts=True) == problem(official, contexts=True)


def test_a_simplified_row_has_an_id_of_its_content():
    bare = {"question": "Who?", "answer": "She", "type": "bridge"}
    got = problem(bare)
    assert (got.level, got.support, got.kind) == (0, (), "bridge")
    assert got.id == problem(dict(bare)).id != problem(bare | {"question": "Whom?"}).id
    with pytest.raises(DataError, match="no paragraphs"):
        problem(bare, contexts=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"level": "harder"}, "level 'harder'"),
        ({"answer": ""}, "'answer' is empty"),
        ({"context": [["Isle"]]}, "'context' is no list"),
        ({"context": {"title": ["a"], "sentences": []}}, "'context' is no list"),
        ({"supporting_facts": [1]}, "'supporting_facts' is no list"),
    ],
)
def test_a_bad_row_says_what_is_wrong(changes, words):
    with pytest.raises(DataError, match=words):
        problem(row(1, **changes))


# --- splits


def published(directory):
    train = [row(n, ("easy", "medium", "hard")[n % 3]) for n in range(90)]
    return write(
        directory,
        **{"hotpot_train_v1.1": train, "hotpot_dev_distractor_v1": [row(n, "hard") for n in range(200, 230)]},
    )


def test_an_even_test_takes_easy_and_medium_out_of_train(tmp_path):
    got = load_task("hotpotqa", path=published(tmp_path), per_level=10, dev=5)
    check_disjoint(got)
    test = got.splits["test"]
    assert Counter(p.level for p in test) == {1: 10, 2: 10, 3: 10}
    assert all(int(p.id[1:]) >= 200 for p in test if p.level == 3)  # hard ones are the published dev set's
    assert [len(got.splits[s]) for s in ("train", "dev")] == [65, 5]
    smaller = load_task("hotpotqa", path=str(tmp_path), per_level=4, dev=5).splits["test"]
    assert {p.id for p in smaller} < {p.id for p in test}
    assert [p.id for p in test][:4] != [f"q{n}" for n in range(0, 12, 3)]  # not the first rows of the file
    with pytest.raises(DataError, match=r"30 easy questions.*training file"):
        load_task("hotpotqa", path=str(tmp_path), per_level=31)


def test_a_training_question_that_is_nearly_a_tested_one_is_left_out(tmp_path, caplog):
    tested = row(500, "hard", question="In which year was the old harbour of Port Ellen finally closed?")
    near = row(7, question="In which year was the old harbour of Port Ellen closed finally, again?")
    path = write(tmp_path, train=[row(n) for n in range(20)] + [near | {"_id": "near"}], test=[tested])
    got = load_task("hotpotqa", path=path, dev=3, train=17)
    assert "near" not in {p.id for s in ("train", "dev") for p in got.splits[s]}
    assert "1 left out of train, asked elsewhere: 1 by near" in caplog.text
    with pytest.raises(DataError, match=r"task.train=30"):
        load_task("hotpotqa", path=path, dev=3, train=30)


@pytest.mark.parametrize(
    ("other", "how"),
    [
        ({"_id": "q5", "question": "Something else altogether?"}, "id"),
        ({"question": "which of the islands i5 and j5  lies in sea s5 of t5?"}, "text"),
        ({"messages": [{"role": "system", "content": "Go."}, {"role": "user", "content": row(5)["question"]}]}, "text"),
        ({"prompt": "Which of islands, I5 and J5, lies in the sea S5 of T5?!"}, "near"),
    ],
)
def test_a_question_that_was_trained_on_is_refused_or_dropped(tmp_path, caplog, other, how):
    path = write(tmp_path, test=[row(n) for n in range(30)])
    met = tmp_path / "sft.jsonl"
    met.write_text(json.dumps({"question": "Nothing like it?"}) + "\n" + json.dumps(other) + "\n")
    with pytest.raises(DataError, match=rf"1 of 30 test questions were trained on: 1 by {how} \(q5"):
        load_task("hotpotqa", path=path, trained_on=[str(met)])
    got = load_task("hotpotqa", path=path, trained_on=[str(met)], overlap="drop")
    assert "q5" not in {p.id for p in got.splits["test"]}
    assert len(got.splits["test"]) == 29
    assert f"1 left out of test, asked elsewhere: 1 by {how}" in caplog.text


def test_what_cannot_be_checked_is_not_passed(tmp_path):
    path = write(tmp_path, test=[row(n) for n in range(3)])
    met = tmp_path / "sft.jsonl"
    for text in ('{"input": "Which?"}', "{"):
        met.write_text(text + "\n")
        with pytest.raises(DataError, match=r"sft.jsonl, line 1"):
            load_task("hotpotqa", path=path, trained_on=[str(met)])
    with pytest.raises(ConfigError, match="'refuse' or 'drop'"):
        load_task("hotpotqa", path=path, overlap="ignore")


def test_near_finds_what_comparing_every_pair_finds():
    texts = [f"which {a} of the {b} was {c} in {a} {d}" for a in "pqr" for b in "stu" for c in "vw" for d in "xyz"]
    asked = Asked(tuple(("", text) for text in texts[::2]))

    def words(text):
        return set(text.split()) - {"the"}

    for text in texts[1::2]:
        close = [t for t in texts[::2] if len(words(t) & words(text)) >= 0.8 * len(words(t) | words(text))]
        found = asked.find(Problem("new", text, ""))
        assert (found is not None) == bool(close), text
        if found is not None:
            assert found.how == "near"
            assert found.question in close


def test_the_score_reads_the_answer_of_a_whole_reply(tmp_path):
    got = load_task("hotpotqa", path=write(tmp_path, test=[row(n) for n in range(3)]))
    one = got.splits["test"][0]
    assert got.score(one, f"<search>x</search>\n<answer>the {one.answer}</answer>").value == 1
    assert got.score(one, "Action: finish[island]").value == pytest.approx(2 / 3)
    assert got.score(one, "I do not\nknow").answer is None


# --- real data


@needs_data
def test_the_three_hundred_real_questions():
    got = load_task("hotpotqa", path=str(DATA / "hotpotqa_300"), contexts=True)
    check_disjoint(got)
    test = got.splits["test"]
    assert Counter(p.level for p in test) == {1: 100, 2: 100, 3: 100}
    assert Counter(p.kind for p in test) == {"bridge": 247, "comparison": 53}
    assert sum(p.answer in ("yes", "no") for p in test) == 16
    assert all(len(p.support) == 2 for p in test)
    assert sum(len(p.context) == 10 for p in test) == 297
    titles = {text.partition("\n")[0] for p in test for text in p.context}
    assert all(title in titles for p in test for title in p.support)
    assert all(p.answer in ("yes", "no") or any(p.answer in text for text in p.context) for p in test)


@needs_data
def test_the_overlap_with_fireacts_training_rows_is_found():
    with pytest.raises(DataError, match="44 of 300 test questions were trained on: 44 by text"):
        load_task("hotpotqa", path=str(DATA / "hotpotqa_300"), trained_on=[str(SFT)])
    got = load_task("hotpotqa", path=str(DATA / "hotpotqa_300"), trained_on=[str(SFT)], overlap="drop")
    assert len(got.splits["test"]) == 256
    assert sum(p.level == 3 for p in got.splits["test"]) == 100  # its rows are from train: no hard one of dev
    assert len(asked_in([SFT]).questions) == 500


@needs_data
def test_the_simplified_dev_file():
    got = load_task("hotpotqa", path=str(DATA / "hotpotqa"))
    assert len(got.splits["test"]) == 7405
    assert Counter(p.kind for p in got.splits["test"]) == {"bridge": 5918, "comparison": 1487}


@needs_data
def test_arafts_own_test_questions():
    got = load_task("hotpotqa", path=str(DATA / "araft/test_dataset.json"))
    assert sorted(p.level for p in got.splits["test"]) == [1, 2, 2, 2, 3]
