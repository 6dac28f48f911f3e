import hashlib
import json
from datetime import datetime
from pathlib import Path

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.react import araft, araft_runs
from thinktwice.methods.react.araft import END, FIRST_REJECTED, Templates, Trajectory
from thinktwice.methods.react.araft_runs import Outcome
from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH, Episode, Turn

DATA = Path(__file__).parents[3] / "../shared/data/araft"
real = pytest.mark.skipif(not DATA.is_dir(), reason="araft's fixtures are not here")
TEMPLATES = Templates("Answer.", "Question: {input}\n{agent_scratchpad}")
SEARCHING = "Thought: a\nAction: [action: Wikipedia, action_input: Pisa]\n"
SEEN = "Observation: A town.\n"
ANSWERING = "Thought: b\nAction: [action: Answer, action_input: a [town]]\n"


def row(text: str, **fields: object) -> str:
    return json.dumps({"index": 0, "id": "x", "question": "What is Pisa?", "trajectory": text} | fields)


def one(trajectory: str) -> Trajectory:
    return Trajectory(0, "x", "What is Pisa?", "a town", "a town", 1.0, trajectory)


@pytest.fixture
def fixtures():
    trajectories, malformed = araft.read_trajectories(DATA / "test_trajectories.json")
    assert not malformed
    return trajectories, Templates.load(DATA / "prompt_templates")


@real
def test_the_tables_are_arafts_byte_for_byte(fixtures, tmp_path):
    written = araft.write_tables(*fixtures, tmp_path / "tables")
    assert list(written.values()) == [8, 8]
    assert (tmp_path / "tables/sft.csv").read_bytes() == (DATA / "expected_sft.csv").read_bytes()
    dpo = (tmp_path / "tables/dpo.csv").read_bytes()
    assert len(dpo) == 35_726
    assert hashlib.sha256(dpo).hexdigest().startswith("1b7c974a")
    with pytest.raises(ConfigError, match="exists already"):
        araft.write_tables(*fixtures, tmp_path / "tables")


@real
def test_the_structure_of_the_tables(fixtures):
    trajectories, templates = fixtures
    for trajectory in trajectories:
        sft, dpo = araft.sft_rows(trajectory, templates), araft.dpo_rows(trajectory, templates)
        assert [(prompt, chosen) for prompt, chosen, _ in dpo] == sft
        assert [rejected for *_, rejected in dpo] == [FIRST_REJECTED + END, *(chosen for _, chosen in sft[:-1])]
        assert "".join(step + seen for step, seen in araft.split(trajectory.trajectory)) == trajectory.trajectory


def test_llama_2_template_by_rule():
    (first, done), (second, _) = araft.sft_rows(one(SEARCHING + SEEN + ANSWERING), TEMPLATES)
    frame = "<s>[INST] <<SYS>>\nAnswer.\n<</SYS>>\n\nQuestion: What is Pisa?\n"
    assert first == frame + " [/INST]"
    assert done == SEARCHING + END
    assert second == frame + SEARCHING + SEEN + " [/INST]"


def test_a_message_keeps_one_of_its_last_line_breaks():
    assert Templates("Answer.\n\n\n", "{input}{agent_scratchpad}").prompt("Who?\n\n", "") == (
        "<s>[INST] <<SYS>>\nAnswer.\n\n<</SYS>>\n\nWho?\n [/INST]"
    )


def test_a_question_that_spells_a_field_stays_what_it_is():
    assert "Question: {agent_scratchpad}\nseen" in TEMPLATES.prompt("{agent_scratchpad}", "seen")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (row("", trajectory=3), "no trajectory"),
        (row(SEARCHING, question=" "), "no question"),
        (row(SEARCHING + SEEN), "step 2 has no action"),
        (row("Thought: the Observation: says\n" + ANSWERING), "step 1 has no action"),
        (row(ANSWERING, f1_score="high"), "index or f1_score is no number"),
    ],
)
def test_malformed_rows_are_named(tmp_path, line, reason):
    path = tmp_path / "rows.json"
    path.write_text(f"{row(ANSWERING)}\n\n{line}\n{row(SEARCHING + SEEN + ANSWERING)}\n")
    read, malformed = araft.read_trajectories(path)
    assert len(read) == 2
    assert [(bad.line, bad.reason) for bad in malformed] == [(3, reason)]


def test_quotes_and_line_breaks_are_quoted():
    assert araft.table(("a", "b"), [('say "x"', "1,\n2")]) == 'a,b\n"say ""x""","1,\n2"\n'


@pytest.fixture
def replayed():
    """What the canned agent of araft's own tests replies: three answers, a limit and an exception."""
    rows = [json.loads(line) for line in (DATA / "test_dataset.json").read_text().splitlines()]
    expected = DATA / "expected_gen_traj/full"
    kept = {r["index"]: r for r in map(json.loads, (expected / "trajectories.json").read_text().splitlines())}
    error = (expected / "logs.txt").read_text().partition("error answering: ")[2].rstrip("\n")
    replies = {2: ("Phoenix dactylifera", 0.0), **{i: (r["prediction"], r["f1_score"]) for i, r in kept.items()}}

    def ask(index, row):
        prediction, f1 = replies.get(index, (None, 0.0))
        text = kept[index]["trajectory"] if index in kept else ""
        failed = error if index == 4 else ""
        return Outcome(index, row["_id"], row["question"], row["answer"], prediction, f1, text, row["level"], failed)

    return rows, ask


def noon() -> datetime:
    return datetime(2024, 4, 4)


@real
@pytest.mark.parametrize(
    ("name", "limits"),
    [("full", {}), ("start_1_stop_3", {"start": 1, "stop": 3}), ("traj_qty_1", {"quantity": 1})],
)
def test_the_generators_files_are_arafts(tmp_path, replayed, name, limits):
    summary = araft_runs.generate(*replayed, tmp_path, f1_threshold=0.5, clock=noon, **limits)
    for file in ("logs.txt", "summary.txt", "trajectories.json"):
        assert (tmp_path / file).read_text() == (DATA / "expected_gen_traj" / name / file).read_text(), file
    assert (tmp_path / "summary.txt").read_text() == summary + "\n"


@pytest.mark.parametrize("threshold", [1.5, -0.1, 0.0])
def test_a_threshold_that_is_no_f1(tmp_path, threshold):
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        araft_runs.generate([], lambda index, row: Outcome(0, "", "", ""), tmp_path, f1_threshold=threshold)


@real
def test_the_evaluators_files_are_arafts(replayed):
    rows, ask = replayed
    logs, report = araft_runs.evaluation([ask(i, row) for i, row in enumerate(rows)], clock=noon)
    assert logs == (DATA / "expected_eval_hotpot/logs.txt").read_text()
    assert report == (DATA / "expected_eval_hotpot/report.txt").read_text()


@real
def test_the_evaluators_choice_of_questions(replayed):
    levels = [row["level"] for row in replayed[0]]
    assert araft_runs.choose_levels(levels, (1, 1, 1)) == [3, 0, 1]
    assert araft_runs.choose_levels(levels, (1, 0, 1)) == [3, 1]
    with pytest.raises(DataError, match="4 hard questions were asked for, and there are 1"):
        araft_runs.choose_levels(levels, (1, 0, 4))


def test_an_episode_of_any_grammar_becomes_a_trajectory():
    turns = (
        Turn("I look\nit up.", SEARCH, "Pisa", "Pisa is\na town. Observation: so\n", ("Pisa",)),
        Turn("", "", "", "Error: no action.", error="no action."),
        Turn("", OPEN, "Arno", "A river.", ("Arno",)),
        Turn("So.", ANSWER, "a town"),
    )
    text = araft.spell(Episode("x", turns, "a town"))
    assert [read for step, _ in araft.split(text) if (read := araft.read_action(step))] == [
        ("Wikipedia", "Pisa"),
        ("Wikipedia", "Arno"),
        ("Answer", "a town"),
    ]
    assert araft.split(text)[0][1] == "Observation: Pisa is a town. Observation - so\n"


def test_generation_told_from_outcomes(tmp_path):
    good = Outcome(3, "a", "Why?", "so", "so", 1.0, "Thought: x\n")
    summary = araft_runs.write_generation(
        [(good, True), (Outcome(4, "b", "Who?", "he"), False)], tmp_path / "new", 3, 5
    )
    assert summary.endswith("Stop index (exclusive): 5. Successful trajectories count: 1.")
    assert [json.loads(row)["id"] for row in (tmp_path / "new/trajectories.json").read_text().splitlines()] == ["a"]
    assert "max iterations exceeded" in (tmp_path / "new/logs.txt").read_text().splitlines()[1]
