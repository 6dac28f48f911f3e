"""Real right and wrong solutions, where they are, and small ones made by hand."""

import sys
from pathlib import Path

import pytest

from thinktwice import cli
from thinktwice.methods.transplant.data import Candidate, Item

DATA = Path(__file__).parents[4] / "shared" / "data"
SEED, GSM8K = DATA / "cot_correctness" / "dataset.csv", DATA / "gsm8k" / "example_model_solutions_6b.jsonl"


@pytest.fixture(scope="session")
def seed_file():
    if not SEED.exists():
        pytest.skip("the seed's dataset.csv is not in ../shared/data")
    return SEED


@pytest.fixture(scope="session")
def gsm8k_file():
    if not GSM8K.exists():
        pytest.skip("GSM8K's model solutions are not in ../shared/data")
    return GSM8K


@pytest.fixture(scope="session")
def make_item():
    """Make an item of candidates written as "right by a", "wrong by b"."""

    def make(name, *spelled, argument="", argued_for=None):
        candidates = []
        for number, words in enumerate(spelled):
            kind, _, generator = words.partition(" by ")
            text = f"{name} step {number}\n#### {number}"
            candidates.append(Candidate(text, str(number), kind == "right", generator))
        return Item(name, f"question {name}?", "0", tuple(candidates), argument, argued_for)

    return make


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process; return exit code, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["thinktwice", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = error.code
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return int(code or 0), shown.out, shown.err

    return run
