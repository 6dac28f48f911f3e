import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from thinktwice.cli.view import duration, roughly, standing_sentence, view
from thinktwice.status import StageStatus, Standing, Status

STANDING = Standing("backtrack", "control", 6, 0.129, (0.07, 0.189), 213, 600)
ARMS = ("base", "control", "backtrack", "backtrack_off", "control_majority")


def stage(name: str, state: Any = "waiting", *rest: Any) -> StageStatus:
    return StageStatus(name, state, *(rest or ((1.0, 4.0) if state == "done" else (0.0, 0.0))))


RUNNING = Status(
    "backtrack",
    "runs/backtrack",
    "running",
    (
        stage("base", "done"),
        stage("solve-base", "done"),
        stage("collect-control", "done"),
        stage("train-control", "running", 0.63, 133.0, "step 190 of 300 · loss 0.213", 70.0),
        *(stage(f"{kind}-backtrack") for kind in ("collect", "train", "calibrate", "solve")),
        stage("solve-backtrack_off"),
        stage("solve-control_majority"),
        stage("summary"),
    ),
    12345.0,
    163.0,
    STANDING,
)
STOPPED = replace(
    RUNNING,
    state="stopped",
    stages=(*RUNNING.stages[:3], stage("train-control", "waiting", 0.63, 133.0)),
    why="process gone",
    resume="thinktwice run runs/backtrack/config.json",
)


def drawn(status: Status, width: int = 80, height: int = 1000, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, **{"color_system": None, **options})
    console.print(view(status, width, height))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("width", [80, 200])
def test_everything_is_said_without_colour_at_any_width(width: int) -> None:
    lines = drawn(RUNNING, width)
    assert max(map(len, lines)) <= min(width, 100)
    assert lines[0].startswith("backtrack ")
    assert lines[0].endswith("running · 2 min 25 s · about 2 min 40 s left")
    assert lines[2].split() == ["collect", "train", "calibrate", "solve"]
    rows = {line.split()[0]: line for line in lines[3:8]}
    assert tuple(rows) == ARMS
    assert rows["control"].split() == ["control", "✓", "4", "s", "▸", "63", "%"]
    assert rows["backtrack"].count("·") == 4
    assert rows["base"].index("✓") == lines[2].index("solve")
    bar = next(line for line in lines if line.startswith("train control"))
    assert bar.endswith(" 63\u00a0%    2 min 13 s · 1 min 10 s left")
    assert bar.count("━") > 8
    assert "step 190 of 300 · loss 0.213 · 12,345 tokens/s" in lines
    assert "backtrack − control at level 6: +12.9 points [+7.0, +18.9]" in lines
    assert lines[-1] == "95 % interval so far, on 213 of 600 problems both have answered"
    assert lines[-2].index("├") < lines[-2].index("●") < lines[-2].index("┤")
    assert lines[-2].index("│") < lines[-2].index("├")  # the interval is above zero


def test_a_long_name_gives_way_to_its_cells() -> None:
    name = "an_arm_with_a_name_that_says_all_there_is_to_say"
    kinds = ("collect", "train", "calibrate", "solve")
    lines = drawn(replace(RUNNING, stages=tuple(StageStatus(f"{k}-{name}", "done", 1.0, 599.0) for k in kinds)))
    row = next(line for line in lines if line.startswith("an_arm"))
    assert row.count("✓ 9 min 59 s") == 4
    assert "…" in row
    assert len(row) <= 80


def test_nothing_moves_between_two_stages() -> None:
    between = replace(RUNNING, stages=(*RUNNING.stages[:3], stage("train-control"), *RUNNING.stages[4:]))
    lines = drawn(between)
    assert len(lines) == len(drawn(RUNNING))
    assert any(line.startswith("train control") for line in lines)


def test_colour_is_used_where_there_is_any_and_text_of_others_is_not_obeyed() -> None:
    hostile = replace(
        RUNNING, name="[red]x\x1b[2J\u202e", stages=(stage("train-a", "running", 0.5, 1.0, "[/b]\x1b]0;t\x07"),)
    )
    text = "\n".join(drawn(hostile, color_system="standard", force_terminal=True))
    assert "\x1b[1;36mrunning" in text
    assert "[red]x\\x1b[2J\\u202e" in text
    assert "[/b]\\x1b]0;t\\x07" in text
    assert "\x1b[2J" not in text


def test_arms_are_left_out_first_where_the_terminal_is_low() -> None:
    whole = drawn(RUNNING)
    for height in range(len(whole) + 1, 11, -1):
        lines = drawn(RUNNING, height=height)
        assert len(lines) < height
        assert lines[0] == whole[0]
        assert lines[-3:] == whole[-3:]
        assert any("▸ 63" in line for line in lines) == (height > 12)  # the arm at work is the last to go
        if len(lines) < len(whole):
            assert height <= 13 or any(line.startswith("and ") for line in lines)


def test_a_stopped_run_shows_where_and_why() -> None:
    lines = drawn(STOPPED)
    assert any(line.split() == ["control", "✓", "4", "s", "✗", "63", "%"] for line in lines)
    assert lines[-1] == "stopped: process gone"
    assert lines[0].endswith("stopped · 2 min 25 s")


@pytest.mark.parametrize(
    ("difference", "ci", "marks"),
    [
        (-0.103, (-0.17, -0.037), "├●┤│"),
        (0.01, (-0.02, 0.04), "├┼●┤"),
        (0.0, (0.0, 0.0), "●"),
        (1.0, (0.9, 1.0), "│├●"),
        (-0.5, (-0.6, 0.02), "├●┼┤"),
    ],
)
def test_the_interval_is_drawn_where_it_lies(difference: float, ci: tuple[float, float], marks: str) -> None:
    line = drawn(replace(RUNNING, comparison=replace(STANDING, difference=difference, ci=ci)))[-2]
    assert "".join(c for c in line if c in "├┤│┼●") == marks
    assert len(line.split(" ")[1]) == 51


def test_the_last_word_on_a_comparison_does_not_say_so_far() -> None:
    assert drawn(replace(RUNNING, comparison=replace(STANDING, n=600)))[-1] == (
        "95 % interval, on 600 problems both have answered"
    )
    assert standing_sentence(STANDING) == (
        "backtrack − control at level 6: +12.9 [+7.0, +18.9] on 213 of 600 problems both have answered"
    )


def test_lengths_of_time() -> None:
    assert [duration(s) for s in (0, 59.4, 60, 3599, 3600, 7380)] == [
        "0 s", "59 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "2 h 03 min",
    ]  # fmt: skip
    assert [roughly(s) for s in (0.2, 7.4, 33, 98, 1234, 9000)] == [
        "1 s", "7 s", "35 s", "1 min 40 s", "21 min 00 s", "2 h 30 min",
    ]  # fmt: skip
