import io
import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from thinktwice.cli import progress
from thinktwice.cli.progress import interactive, training, watching
from thinktwice.config import Arm, Evaluation, Headline, Recipe, Spec, to_dict
from thinktwice.records import TraceRecord
from thinktwice.run import Progress, Run
from thinktwice.types import Score, Trace

RECIPE = Recipe(
    name="tiny",
    task=Spec("arith"),
    method=Spec("backtrack"),
    arms={"control": Arm(), "backtrack": Arm()},
    evaluation=Evaluation(problems=8, levels=(2,)),
    headline=Headline("backtrack", "control", 2),
)


def answers(arm: str, values: list[int], first: int = 0) -> list[dict[str, Any]]:
    return [
        to_dict(TraceRecord(f"p{n}", arm, 2, "q", "1", Trace(f"p{n}"), Score(float(value))))
        for n, value in enumerate(values, start=first)
    ]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Give what is written to an interactive terminal of 80 columns."""
    screen = io.StringIO()
    console = Console(file=screen, width=80, height=24, force_terminal=True, color_system="standard")
    monkeypatch.setattr(progress, "interactive", lambda stream: console)
    return screen


def plain(screen: io.StringIO) -> str:
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", screen.getvalue())


def test_in_a_pipe_there_is_a_line_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with watching() as listen:
        for done in (0.0, 0.1, 0.2):
            listen(Progress("train-a", done, "loss 1.0 \x1b[2J", 1234.0, 61.0))
        listen(Progress("solve-a", 0.5))
    assert capsys.readouterr().err.splitlines() == [
        "train-a   0% loss 1.0 \\x1b[2J · 1,234 tokens/s · 1 min 00 s left",
        "solve-a  50%",
    ]


def test_in_a_pipe_the_comparison_is_said_when_it_changes_and_when_it_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Run.open(tmp_path / "tiny", to_dict(RECIPE)) as run, watching(run.root) as listen:
        run.begin(["solve-control", "solve-backtrack"])
        run.traces("control").append(answers("control", [0] * 8))
        backtrack = run.traces("backtrack")
        listen(Progress("solve-backtrack", 0.0))
        backtrack.append(answers("backtrack", [1, 1]))
        listen(Progress("solve-backtrack", 0.25))
        listen(Progress("solve-backtrack", 0.25))
        backtrack.append(answers("backtrack", [1, 1], 2))
        listen(Progress("solve-backtrack", 0.5))  # too soon after the last one
        monkeypatch.setattr(progress, "EVERY", 0.0)
        listen(Progress("solve-backtrack", 0.5))
        monkeypatch.undo()
        backtrack.append(answers("backtrack", [1] * 4, 4))
        listen(Progress("solve-backtrack", 1.0))  # the last word is never too soon
        listen(Progress("solve-backtrack", 1.0))
    lines = [line for line in capsys.readouterr().err.splitlines() if "problems" in line]
    said = "backtrack − control at level 2: +100.0 [+100.0, +100.0] on {} of 8 problems both have answered"
    assert lines == [said.format(n) for n in (2, 4, 8)]


def test_on_a_terminal_the_view_is_made_from_the_run_s_own_files(tmp_path: Path, terminal: io.StringIO) -> None:
    with watching(tmp_path / "tiny") as listen, Run.open(tmp_path / "tiny", to_dict(RECIPE)) as run:
        run.begin(["base", "solve-control", "solve-backtrack", "summary"])
        run.stage("base", lambda stage: listen(Progress("base", 0.0)))
        run.traces("control").append(answers("control", [0] * 8))
        run.traces("backtrack").append(answers("backtrack", [1] * 3))
    last = plain(terminal).rsplit("tiny ", 1)[1]
    assert "stopped" in last.splitlines()[0]
    assert "base model ✓" in last
    assert "backtrack − control at level 2: +100.0 points" in last
    assert "so far, on 3 of 8 problems" in last


def test_before_anything_is_told_an_older_state_is_not_shown(tmp_path: Path, terminal: io.StringIO) -> None:
    with Run.open(tmp_path / "tiny", to_dict(RECIPE)) as run:
        run.begin(["base"])
    with watching(tmp_path / "tiny"):
        pass
    assert "tiny" not in plain(terminal)


def test_work_without_a_directory_is_shown_from_what_is_told(terminal: io.StringIO) -> None:
    with training() as on_step:
        on_step(SimpleNamespace(step=150, steps=300, loss=1.25, tokens_per_second=1000.0, eta_s=30.0))
    last = plain(terminal)
    assert "pretraining" in last
    assert "300 steps" in last
    assert "30 s left" in last
    assert "loss 1.250 · 1,000 tokens/s" in last


def test_warnings_stand_above_the_view(terminal: io.StringIO) -> None:
    log = logging.getLogger("thinktwice.somewhere")
    with watching(title="x") as listen:
        listen(Progress("train-a", 0.3, "[/nonsense] 3"))
        log.warning("mind the gap")
        log.info("nobody needs to know")
        listen(Progress("solve-a", 1.0, "done"))
    text = plain(terminal)
    assert text.index("mind the gap") < text.rindex("solve a")
    assert "nobody needs to know" not in text
    assert "train-a" not in text  # a cell of the matrix, not a name


def test_forced_colour_does_not_make_a_pipe_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not interactive(io.StringIO()).is_interactive

    class Dumb(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    assert not interactive(Dumb()).is_interactive
    monkeypatch.setenv("TERM", "xterm")
    assert interactive(Dumb()).is_interactive
