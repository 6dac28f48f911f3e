import io
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from thinktwice.cli import progress
from thinktwice.config import Arm, Headline, Recipe, Spec, to_dict
from thinktwice.records import Cell, Comparison, Summary
from thinktwice.run import Progress, Run, Stage

RECIPE = Recipe(
    name="tiny",
    task=Spec("arith"),
    method=Spec("backtrack"),
    arms={"control": Arm(), "backtrack": Arm()},
    headline=Headline("backtrack", "control", 0),
)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Make standard output an interactive terminal of 80 columns."""
    made = io.StringIO()
    console = Console(file=made, width=80, height=24, force_terminal=True, color_system=None)
    monkeypatch.setattr(progress, "interactive", lambda stream: console)
    return made


def begin(root: Path) -> None:
    def work(stage: Stage) -> None:
        run.tell(Progress("train-control", 0.5))
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt), Run.open(root, to_dict(RECIPE)) as run:
        run.begin(["base", "train-control", "summary"])
        run.stage("base", lambda stage: None)
        run.stage("train-control", work)


def finish(root: Path) -> None:
    with Run.open(root, to_dict(RECIPE)) as run:
        run.begin(["base", "train-control", "summary"])
        run.stage("base", lambda stage: None)
        cells = {"backtrack": {0: Cell(500, 0.8, (0.76, 0.83))}, "control": {0: Cell(500, 0.6, (0.55, 0.64))}}
        c = Comparison("backtrack", "control", 0, 0.2, (0.15, 0.25), p=1e-9)
        run.write_summary(to_dict(Summary(cells, (c,), c)))


def test_a_pipe_gets_the_state_once(call: Call, tmp_path: Path) -> None:
    begin(tmp_path / "tiny")
    for words in (["watch", str(tmp_path / "tiny")], ["watch", str(tmp_path / "tiny"), "--once"]):
        code, out, errors = call(*words)
        assert (code, errors) == (0, "")
        assert "\x1b" not in out
        lines = [line.rstrip() for line in out.splitlines()]
        assert re.match(r"tiny +stopped · \d+ s", lines[0])
        assert any(line.split() == ["control", "✗", "50", "%"] for line in lines)
        assert "stopped: interrupted" in lines
        assert lines[-1] == f"go on with: thinktwice run {tmp_path}/tiny/config.json --runs {tmp_path}"


def test_the_newest_run_is_watched_when_none_is_named(call: Call, tmp_path: Path) -> None:
    begin(tmp_path / "first")
    begin(tmp_path / "second")
    assert call("watch", "--runs", str(tmp_path))[1].startswith("second ")
    code, _, errors = call("watch", "--runs", str(tmp_path / "nowhere"))
    assert (code, errors.count("\n")) == (1, 1)
    assert "there is no run under" in errors
    assert "Did you mean" in call("watch", str(tmp_path / "frist"))[2]


def test_on_a_terminal_a_stopped_run_ends_the_watching_with_what_to_type(
    call: Call, tmp_path: Path, screen: io.StringIO
) -> None:
    begin(tmp_path / "tiny")
    code, out, errors = call("watch", str(tmp_path / "tiny"))
    assert (code, errors) == (1, "")
    assert "stopped: interrupted" in screen.getvalue()
    assert out.startswith("go on with: thinktwice run")


def test_a_finished_run_ends_with_its_table(call: Call, tmp_path: Path, screen: io.StringIO) -> None:
    root = tmp_path / "tiny"
    finish(root)
    code, out, _ = call("watch", str(root))
    assert code == 0
    assert "finished" in screen.getvalue()
    assert re.search(r"backtrack +80\.0 \[76\.0,\u00a083\.0\]", out)
    assert "backtrack answers 80.0\u00a0%" in out
    assert out.endswith(f"report: thinktwice report {root}\n")
    (root / "report.html").write_text("")
    assert call("watch", str(root))[1].endswith(f"report: {root}/report.html\n")


def test_ctrl_c_ends_the_watching_and_says_that_the_run_goes_on(
    call: Call, tmp_path: Path, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(seconds: float) -> None:
        raise KeyboardInterrupt

    root = tmp_path / "tiny"
    with Run.open(root, to_dict(RECIPE)) as run:
        run.begin(["base", "train-control", "summary"])
        with monkeypatch.context() as patch:
            patch.setattr("time.sleep", pressed)
            code, _, errors = call("watch", str(root))
    assert code == 0
    assert errors == f"tiny goes on; thinktwice watch {root} looks again\n"
    assert "running" in screen.getvalue()


def test_the_page_of_a_run_that_finishes_while_it_is_watched_is_waited_for(
    call: Call, tmp_path: Path, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, naps = tmp_path / "tiny", iter(range(100))
    run = Run.open(root, to_dict(RECIPE))
    run.begin(["base", "train-control", "summary"])

    sleep = time.sleep

    def nap(seconds: float) -> None:
        if seconds < 0.5:  # somebody else's
            return sleep(seconds)
        nth = next(naps)
        if nth == 1:
            run.close()
            finish(root)
        if nth == 4:
            (root / "report.html").write_text("")
        return None

    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", nap)
        code, out, _ = call("watch", str(root))
    assert code == 0
    assert out.endswith(f"report: {root}/report.html\n")
