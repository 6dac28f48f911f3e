import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from thinktwice.cli import build

DATA = Path(__file__).parents[2] / "../shared/data/araft"
NANO = Path(__file__).parents[2] / "src/thinktwice/nano/annealed"
STEP = "Thought: a\nAction: [action: Answer, action_input: b]\n"


@pytest.fixture
def trajectories(tmp_path):
    templates = tmp_path / "prompt_templates"
    templates.mkdir()
    (templates / "system.txt").write_text("Answer.")
    (templates / "human.txt").write_text("Question: {input}\n{agent_scratchpad}")
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"question": "Why?", "trajectory": STEP}) + "\nnonsense\n")
    return path


def export(*words):
    return CliRunner().invoke(build(), ["export-pairs", *map(str, words)])


@pytest.mark.skipif(not DATA.is_dir(), reason="araft's fixtures are not here")
def test_the_public_fixture(tmp_path):
    found = export(DATA / "test_trajectories.json", "--compat", "araft-csv", "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert (tmp_path / "out/sft.csv").read_bytes() == (DATA / "expected_sft.csv").read_bytes()
    assert "3 trajectories = 3 used + 0 left out" in found.output


def test_malformed_rows_are_named_and_counted(trajectories, tmp_path):
    found = export(trajectories, "--out", tmp_path / "out")
    assert "rows.json:2: left out, not JSON" in found.output
    assert "2 trajectories = 1 used + 1 left out" in found.output
    assert (tmp_path / "out/dpo.csv").read_text().count("Sure! Here are the steps") == 1


def test_nothing_usable_is_an_error(trajectories, tmp_path):
    trajectories.write_text("nonsense\n")
    found = export(trajectories, "--out", tmp_path / "out")
    assert "no trajectory that can be used" in str(found.exception)
    assert not (tmp_path / "out").exists()


def test_templates_that_are_not_there(trajectories, tmp_path):
    found = export(trajectories, "--out", tmp_path / "out", "--templates-dir", tmp_path)
    assert "--templates-dir" in str(found.exception)


def test_a_limit_that_cuts_is_refused(trajectories, tmp_path):
    found = export(trajectories, "--out", tmp_path / "out", "--tokenizer", NANO, "--max-length", 20)
    assert "1 of 1 rows are longer; of 1 actions 1 are lost whole" in found.output
    assert "1 of 1 rows are longer than 20 tokens" in str(found.exception)
    assert not (tmp_path / "out").exists()
    again = export(trajectories, "--out", tmp_path / "out", "--tokenizer", NANO, "--max-length", 20, "--allow-cut")
    assert again.exit_code == 0, again.output
    assert "--tokenizer" in str(export(trajectories, "--out", tmp_path / "o", "--max-length", 20).exception)
    assert "length" in export(trajectories, "--out", tmp_path / "n", "--tokenizer", "nano-wiki").stdout
    unknown = export(trajectories, "--out", tmp_path / "u", "--tokenizer", "no-such-tokenizer").exception
    assert "cannot be loaded" in str(unknown)
