import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from thinktwice import answer, cli
from thinktwice.types import Rewind, Step, Trace

QUESTION = "Ann has 3 pens. Ben has Ann plus 4. How many pens does Ben have?"
TRACE = Trace(
    "question",
    (
        Step("text", "Ann\x1b[2J has 3.\n", (1, 2)),
        Step("error", "Ben has 9.\n", (3,), kept=False),
        Step("undo", "<undo>", (9,), kept=False),
        Step("text", "Cal", (5,), kept=False, rewind=Rewind(2, (3,))),
        Step("text", "#### 7", (4,)),
    ),
)


def solve(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["thinktwice", "solve", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(str(ended.value.code or 0))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a model there that answers at once, and note what it was asked."""
    found: dict[str, Any] = {}

    def reply(question: str, sampling: Any, *, on_event: Any, bias: float | None) -> Trace:
        found.update(question=question, sampling=sampling, bias=bias)
        return TRACE

    render = SimpleNamespace(special_ids=frozenset([0, 9]), end_id=0)
    monkeypatch.setattr(answer, "open_model", lambda model: SimpleNamespace(render=render, answer=reply))
    return found


def test_in_a_pipe_the_output_is_the_reply_and_the_rest_goes_to_the_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: dict[str, Any]
) -> None:
    assert solve(monkeypatch, QUESTION, "--model", "m", "--undo-threshold", "-1.5", "--seed", "3") == 0
    shown = capsys.readouterr()
    assert shown.out == "Ann\\x1b[2J has 3.\n#### 7\n"
    assert shown.err.startswith("answer 7 · 6 tokens sampled, 1 of them taken back in 1 retraction · ")
    assert shown.err.endswith(" · the model ended it\n")
    assert shown.err.count("\n") == 1
    assert (asked["question"], asked["bias"], asked["sampling"].seed) == (QUESTION, -1.5, 3)


def test_a_transcript_can_be_had_in_a_pipe_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: dict[str, Any]
) -> None:
    assert solve(monkeypatch, QUESTION, "--model", "m", "--transcript") == 0
    assert capsys.readouterr().out == "Ann\\x1b[2J has 3.\n[-Ben has 9.-]\n#### 7\n"
    assert asked["bias"] is None


def test_a_real_model_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert solve(monkeypatch, QUESTION, "--model", "nano", "--max-new-tokens", "30") == 0
    shown = capsys.readouterr()
    assert shown.out.strip()
    assert "tokens sampled, none taken back" in shown.err
    assert solve(monkeypatch, QUESTION, "--model", "nano", "--undo-threshold", "1") == 2
    assert "this model has no undo threshold" in capsys.readouterr().err


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "thinktwice", "tasks"], capture_output=True, text=True, check=True)
    assert "arith" in done.stdout
    wrong = subprocess.run([sys.executable, "-m", "thinktwice", "rnu"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
