import json
from collections import Counter
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.methods.react import released
from thinktwice.methods.react.episode import ANSWER, SEARCH
from thinktwice.scoring import f1
from thinktwice.scoring.exact import normalise

DATA = Path(__file__).parents[3] / "../shared/data"
TRACES = DATA / "fireact/hotpotqa_dev_0_500_llama_models_lora_llama-2-7b-d_1000_0.7_2023-09-19-00-49-36.json"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")

TOLD = (
    "Below is an instruction.\n\n### Instruction:\nWho is it?\n\n### Response:\n"
    "Thought: I search.\nAction: search[it [band]]\nObservation: Two lines:\nof text.\n"
    "Thought: Again.\nAction:  reflect[How?]\nObservation: (' reflect', 'How?') generated an exception: Unknown tool\n"
    "Thought: No action follows.\n"
    "Thought: Broken.\nAction: search it\nObservation: \n"
    "Thought: I know.\nAction: finish[Ida]\nObservation: Episode finished, reward = True\n"
)


def test_a_fireact_trace_turn_by_turn(tmp_path):
    path = tmp_path / "traces.json"
    path.write_text(json.dumps({"17": {"traj": TOLD, "gt": "ida", "pred": "ida", "em": True, "f1": 1.0}}))
    (row,) = released.fireact_traces(path)
    assert (row.problem.prompt, row.problem.answer, row.em, row.f1) == ("Who is it?", "ida", 1.0, 1.0)
    search, reflect, broken, answer = row.episode.turns
    assert (search.tool, search.argument, search.observation) == (SEARCH, "it [band]", "Two lines:\nof text.")
    assert (reflect.tool, "generated an exception" in reflect.error) == ("reflect", True)
    assert (broken.tool, broken.argument, broken.error) == ("", "search it", "no action could be read")
    assert (answer.tool, answer.thought, row.episode.answer) == (ANSWER, "I know.", "Ida")


def test_an_araft_trajectory_may_have_brackets_in_it(tmp_path):
    told = (
        "Thought: a\nAction: [action: Wikipedia, action_input: Hanky Panky (film)]\nObservation: b\n"
        "Thought: c\nAction: [action: Answer, action_input: x]\n"
    )
    row = {"id": "1", "question": "q", "label": "x", "prediction": "x", "f1_score": 1.0, "trajectory": told}
    path = tmp_path / "trajectories.json"
    path.write_text(json.dumps(row) + "\n")
    (got,) = released.araft_trajectories(path)
    assert got.episode.queries == ("Hanky Panky (film)",)
    assert got.episode.answer == "x"
    path.write_text(json.dumps(row | {"f1_score": "high"}) + "\n")
    with pytest.raises(DataError, match=r"line 1: not a trajectory"):
        released.araft_trajectories(path)


@pytest.mark.parametrize("text", ["", "[]", '{"1": 2}', '{"1": {"traj": "no response"}}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"x\.json"):
        released.fireact_traces(path)


@needs_data
def test_all_of_fireacts_traces_are_read():
    rows = released.fireact_traces(TRACES)
    assert Counter(len(row.episode.turns) for row in rows) == {
        2: 161, 3: 202, 4: 28, 5: 19, 6: 60, 7: 1, 8: 5, 9: 4, 10: 20,
    }  # fmt: skip
    tools = Counter(turn.tool for row in rows for turn in row.episode.turns)
    assert tools == {SEARCH: 1252, ANSWER: 500, "reflect": 26}
    for row in rows:
        assert normalise(row.episode.answer or "") == normalise(row.prediction or "")
        assert f1.match(row.episode.answer or "", row.problem.answer).f1 == row.f1


@needs_data
def test_all_of_the_training_rows_and_trajectories_are_read():
    rows = released.fireact_rows(DATA / "fireact/data_finetune_gpt_format_hotpotqa.jsonl")
    assert Counter(turn.tool for row in rows for turn in row.episode.turns) == {SEARCH: 885, ANSWER: 500}
    assert all(row.problem.answer and turn.thought for row in rows for turn in row.episode.turns[:1])
    araft = released.araft_trajectories(DATA / "araft/test_trajectories.json")
    assert [len(row.episode.turns) for row in araft] == [3, 3, 2]
    for row in araft:
        assert row.episode.answer == row.prediction
        assert f1.match(row.episode.answer or "", row.problem.answer).f1 == row.f1
