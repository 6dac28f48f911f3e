import json
from pathlib import Path

import pytest

from thinktwice.scoring import f1

TRACES = (
    Path(__file__).parents[2]
    / "../shared/data/fireact/hotpotqa_dev_0_500_llama_models_lora_llama-2-7b-d_1000_0.7_2023-09-19-00-49-36.json"
)


@pytest.mark.parametrize(
    ("said", "wanted", "measures"),
    [
        ("the FoO.? bAr", "foo bar", (1, 1, 1, 1)),  # araft's cases: normalised, partial, empty
        ("foo", "foo bar", (0, 2 / 3, 1, 0.5)),
        ("foo baz", "foo bar", (0, 0.5, 0.5, 0.5)),
        ("", "", (1, 0, 0, 0)),
        ("a", "the", (1, 0, 0, 0)),  # nothing is left of either
        ("", "foo", (0, 0, 0, 0)),
        ("yes", "Yes.", (1, 1, 1, 1)),
        ("yes it is", "yes", (0, 0, 0, 0)),  # half right is wrong here
        ("no", "no one", (0, 0, 0, 0)),
        ("noanswer", "foo noanswer", (0, 0, 0, 0)),
        ("new new york", "new york", (0, 0.8, 2 / 3, 1)),  # a word counts as often as both have it
    ],
)
def test_the_official_measures(said, wanted, measures):
    found = f1.match(said, wanted)
    assert (found.em, found.f1, found.precision, found.recall) == pytest.approx(measures)


@pytest.mark.skipif(not TRACES.exists(), reason="shared/data is not here")
def test_every_stored_score_of_fireacts_traces_comes_out_the_same():
    rows = json.loads(TRACES.read_text()).values()
    assert len(rows) == 500
    for row in rows:
        found = f1.match(row["pred"], row["gt"])
        assert (found.em, found.f1) == (row["em"], row["f1"]), row["pred"]


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("He was born there.\nThe answer is: 1843", "1843"),
        ("The answer is: A\nNo.\nThe answer is: B", "B"),
        ("<search>x</search><answer>Ida Marshby</answer>", "Ida Marshby"),
        ("The answer is <answer>Ida</answer>", "Ida"),
        ("The answer is: <answer>Ida</answer>", "Ida"),
        ("<answer>Ida Marsh", "Ida Marsh"),  # forced, and cut at the budget
        ("Thought: so.\nAction: [action: Answer, action_input: Hanky Panky [film]]\n", "Hanky Panky [film]"),
        ("Action: search[x]\nObservation: no\nAction: finish[No]\nObservation: Episode finished", "No"),
        ('<tool_call>{"name": "answer", "arguments": {"answer": "a \\"b\\""}}</tool_call>', 'a "b"'),
        ("I see.\nAnswer: Ida Marshby\n", "Ida Marshby"),
        ("Answer: 1", "1"),
        ("1843\n", "1843"),
        ("one line\nand another", None),
        ("<search>Ida Marshby</search>", None),
        ("Action: [action: Wikipedia, action_input: Ida]", None),
        ("The answer is: ", None),
        ("<answer></answer>", None),
        ("", None),
    ],
)
def test_the_answer_that_is_stated_last_counts(reply, answer):
    assert f1.stated(reply) == answer


def test_a_long_hostile_reply_is_read_at_once():
    assert f1.stated("<answer>" * 20_000) is None
    assert f1.stated("<answer>x" * 20_000) == "x"
    assert f1.stated('"name": "answer", "arguments": {"a": "' + "\\" * 50_001) is not None
    assert f1.stated("finish[" * 20_000) is not None


def test_an_answer_that_is_opened_twice_begins_at_the_last_opening():
    # The opening was inserted at the limit; the model thinks on, and opens one of its own. Episodes are read so too.
    assert f1.stated("<answer>Barenz lies in Jovia.\n<answer>Jovia</answer>") == "Jovia"


def test_the_score_is_f1_and_says_why():
    got = f1.score("Cabo Saint Lucas", "Cabo San Lucas")
    assert got.value == pytest.approx(2 / 3)
    assert "EM 0, F1 0.67" in got.why
    assert "Cabo San Lucas" in got.why
    missing = f1.score(None, "x")
    assert (missing.value, missing.answer, missing.scored) == (0, None, True)


def test_support_is_compared_as_a_set_and_joint_needs_both():
    support = f1.supporting(["A", "C", "A"], ["A", "B"])
    assert support == f1.Match(0, 0.5, 0.5, 0.5)
    assert f1.supporting([], ["A"]) == f1.NONE
    whole = f1.match("x", "x")
    assert f1.joint(whole, f1.supporting("AB", "BA")) == f1.Match(1, 1, 1, 1)
    both = f1.joint(f1.match("foo", "foo bar"), support)
    assert (both.em, both.precision, both.recall) == (0, 0.5, 0.25)
    assert both.f1 == pytest.approx(1 / 3)
    assert f1.joint(f1.NONE, whole) == f1.NONE
