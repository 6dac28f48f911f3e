import json
import sqlite3

import pytest
from typer.testing import CliRunner

from thinktwice.cli import build

TASK = ("wiki_hops", "task.train=60", "task.per_level=2", "method.k=1")


def distil(out, *words):
    return CliRunner().invoke(build(), ["distil", *TASK, "--out", str(out), *map(str, words)])


def test_episodes_of_the_scripted_teacher(tmp_path):
    first = distil(tmp_path, "--start", 2, "--stop", 12, "method.script.repeats=0.4")
    assert first.exit_code == 0, first.output
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["episodes"] == 10 == summary["kept"] + sum(summary["dropped"].values())
    assert summary["dropped"]["loop"] > 0
    kept = [json.loads(line) for line in (tmp_path / "trajectories.json").read_text().splitlines()]
    assert len(kept) == summary["kept"]
    assert all(row["f1_score"] == 1.0 and "Observation: " in row["trajectory"] for row in kept)
    lines = (tmp_path / "logs.txt").read_text().splitlines()
    assert [f"[ordinal: {i}]" in line for i, line in enumerate(lines, 2)] == [True] * 10
    expected = f"Start index (inclusive): 2. Stop index (exclusive): 12. Successful trajectories count: {len(kept)}."
    assert (tmp_path / "summary.txt").read_text() == expected + "\n"
    again = distil(tmp_path, "--start", 2, "--stop", 12, "method.script.repeats=0.4", "method.filters.no_loop=false")
    assert "0 episodes new" in again.output
    assert "loop" not in json.loads((tmp_path / "summary.json").read_text())["dropped"]
    with sqlite3.connect(tmp_path / "episodes.sqlite") as store:
        assert store.execute("SELECT count(*) FROM attempts").fetchone() == (10,)


def test_its_trajectories_become_tables(tmp_path):
    distil(tmp_path, "--quantity", 3)
    templates = tmp_path / "prompt_templates"
    templates.mkdir()
    (templates / "system.txt").write_text("Answer.")
    (templates / "human.txt").write_text("Question: {input}\n{agent_scratchpad}")
    words = ["export-pairs", str(tmp_path / "trajectories.json"), "--out", str(tmp_path / "tables")]
    found = CliRunner().invoke(build(), words)
    assert "3 trajectories = 3 used + 0 left out" in found.output
    assert (tmp_path / "tables/dpo.csv").read_text().count("Sure! Here are the steps") == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--f1-threshold", "1.5"), "f1_threshold=1.5"),
        (("--endpoint", "http://localhost:1"), "--model NAME"),
        (("--split", "tset"), "Did you mean 'test'"),
        (("--start", "3", "--stop", "2"), "name no questions"),
        (("--start", "100"), "there are no questions from 100"),
        (("method.objective=dpo",), "preferences are made by a recipe"),
        (("method.guards=ban",), "Did you mean 'guard'"),
        (("--corpus", "nowhere.sqlite"), "no corpus file nowhere.sqlite"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, words, says):
    assert says in str(distil(tmp_path, *words).exception)


def test_it_needs_a_place():
    found = CliRunner().invoke(build(), ["distil", *TASK])
    assert "--out DIR" in str(found.exception)
