"""`thinktwice attribute` on a run that was really made, and what it refuses."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thinktwice import cli
from thinktwice.config import Arm, Decode, Evaluation, Recipe, Spec
from thinktwice.pipeline import run_recipe
from thinktwice.report import report

RECIPE = Recipe(
    name="tiny",
    task=Spec("arith", {"operations": [1, 2], "levels": [6], "train": 5, "per_level": 6}),
    method=Spec("planning", {"extract_step_type_tokens": "+-*/", "num_general_prefix_tokens": 1}),
    train={"epochs": 1},
    decode=Decode(max_new_tokens=120),
    evaluation=Evaluation(problems=6, dev_problems=0, levels=(6,)),
    arms={
        "typed": Arm(),
        "exchanged": Arm(weights="typed", method={"exchange": ["+", "-"]}),
        "plain": Arm(trained=False, method={"name": "baseline"}),
        "untyped": Arm(trained=False, method={"extract_step_type_tokens": "general"}),
    },
)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_recipe(RECIPE, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["thinktwice", *words])
        code: object = 0
        try:
            cli.main()
        except SystemExit as error:
            code = error.code
        shown = capsys.readouterr()
        return int(str(code or 0)), shown.out, shown.err

    return run


def test_wrong_answers_are_looked_into_printed_kept_and_reported(call: Call, run_dir: Path) -> None:
    code, out, err = call("attribute", str(run_dir), "--arm", "typed", "--problems", "2", "--samples", "5")
    assert code == 0, err
    assert "What wrong answers are put down to" in out
    assert "Interventions on types" in out
    assert out.splitlines()[-1].endswith("notes/attribution-typed.json")
    assert "2 of 2 wrong answers" in err
    note = json.loads((run_dir / "notes" / "attribution-typed.json").read_text())
    assert (note["arm"], note["samples"], len(note["cases"])) == ("typed", 5, 2)
    assert all(len(case["right"]) == len(case["types"]) + 1 for case in note["cases"])
    html = report(run_dir).read_text()
    assert "attribution typed, looked into afterwards" in html
    assert "How far the tokens moved" in html  # the arms' own findings, made by the pipeline


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "say whose answers with --arm: typed, exchanged, untyped"),
        (["--arm", "tpyed"], 2, "has no arm 'tpyed'. Did you mean 'typed'?"),
        (["--arm", "plain"], 2, "arm 'plain' is no arm of planning tokens"),
    ],
)
def test_what_cannot_be_looked_into_is_refused(
    call: Call, run_dir: Path, words: list[str], code: int, says: str
) -> None:
    found, _, err = call("attribute", str(run_dir), *words)
    assert found == code
    assert says in err
    assert err.count("\n") == 1
