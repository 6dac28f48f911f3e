import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from thinktwice.config import Arm, Evaluation, Headline, Recipe, Spec, parse, to_dict
from thinktwice.errors import RunError
from thinktwice.records import Cell, Comparison, Summary, TraceRecord
from thinktwice.run import Progress, Run, Stage
from thinktwice.scoring import stats
from thinktwice.status import StageStatus, Standing, Status, Watcher, _eta, list_runs, read_status
from thinktwice.types import Score, Trace

RECIPE = Recipe(
    name="tiny",
    task=Spec("arith"),
    method=Spec("backtrack"),
    arms={"control": Arm(), "backtrack": Arm(), "vote": Arm(weights="control", match_tokens="backtrack")},
    evaluation=Evaluation(problems=40, levels=(1, 2)),
    headline=Headline("backtrack", "control", 2),
)
PLAN = ["base", "train-control", "solve-control", "train-backtrack", "solve-backtrack", "solve-vote", "summary"]


def rows(arm: str, level: int, rights: list[int], first: int = 0) -> list[dict[str, Any]]:
    return [
        to_dict(TraceRecord(f"{level}/p{n}", arm, level, "q", "1", Trace(f"p{n}"), Score(float(right))))
        for n, right in enumerate(rights, start=first)
    ]


def nothing(stage: Stage) -> None:
    pass


def interrupted(stage: Stage) -> None:
    time.sleep(0.01)  # seconds are written to the millisecond
    raise KeyboardInterrupt


def files(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(root.rglob("*"))}


def finish(run: Run) -> None:
    cells = {name: {2: Cell(40, 0.5, (0.4, 0.6))} for name in RECIPE.arms}
    run.write_summary(to_dict(Summary(cells, headline=Comparison("backtrack", "control", 2, 0.1, (0.05, 0.15)))))


def test_a_running_run_says_what_is_done_what_runs_and_what_waits(tmp_path: Path) -> None:
    with Run.open(tmp_path / "tiny", to_dict(RECIPE)) as run:
        run.begin(PLAN)
        run.stage("base", nothing)

        def work(stage: Stage) -> None:
            run.tell(Progress("train-control", 0.25, "loss 1.0", 120.0, 9.0))
            for _ in range(200):
                status = read_status(run.root)
                if status.current is not None:
                    break
                time.sleep(0.05)
            assert [s.state for s in status.stages] == ["done", "running", *["waiting"] * 5]
            assert [s.name for s in status.stages] == PLAN
            current = status.current
            assert current is not None
            assert (current.name, current.share, current.note, current.eta_s) == (
                "train-control",
                0.25,
                "loss 1.0",
                9.0,
            )
            assert (status.name, status.state, status.tokens_per_second) == ("tiny", "running", 120.0)
            assert (status.resume, status.why, status.comparison) == ("", "", None)
            assert parse(Status, json.loads(json.dumps(to_dict(status)))) == status

        run.stage("train-control", work, after=["base"])


def test_looking_changes_nothing_and_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "tiny"
    with Run.open(root, to_dict(RECIPE)) as run:
        run.begin(PLAN)
        run.stage("base", nothing)
        run.traces("control").append(rows("control", 2, [1]))
    before = files(root)
    watcher = Watcher(root)
    watcher.read()
    assert list_runs(tmp_path)[0] == watcher.read()
    assert files(root) == before

    def forbidden(*_: Any) -> None:
        raise AssertionError("a reader took a lock")

    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", forbidden)
        watcher.read()
    with Run.open(root, to_dict(RECIPE)):
        assert watcher.read().state == "stopped"  # nothing was begun yet


def test_an_interrupted_run_keeps_how_far_it_came_and_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt() -> None:
        with Run.open(tmp_path / "runs/tiny", to_dict(RECIPE)) as run:
            run.begin(PLAN)
            run.stage("base", nothing)
            run.tell(Progress("train-control", 0.25))
            run.stage("train-control", interrupted)

    with pytest.raises(KeyboardInterrupt):
        attempt()
    status = read_status(tmp_path / "runs/tiny")
    assert (status.state, status.why, status.current, status.eta_s) == ("stopped", "interrupted", None, None)
    assert status.stages[1].state == "waiting"
    assert status.stages[1].share == 0.25
    assert status.stages[1].seconds > 0
    assert status.resume == f"thinktwice run {tmp_path}/runs/tiny/config.json --runs {tmp_path}/runs"
    monkeypatch.chdir(tmp_path)
    assert read_status(Path("runs/tiny")).resume == "thinktwice run runs/tiny/config.json"
    Path("my runs").mkdir()
    Path("runs/tiny").rename("my runs/tiny")
    assert read_status(Path("my runs/tiny")).resume == "thinktwice run 'my runs/tiny/config.json' --runs 'my runs'"


def test_another_process_can_be_watched_while_it_writes_until_it_is_killed(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(to_dict(RECIPE)))
    root = tmp_path / "tiny"
    seen: list[int] = []
    script = Path(__file__).with_name("writing_run.py")
    command = [sys.executable, str(script), str(recipe), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        while not (root / "progress.json").exists() and worker.poll() is None:
            time.sleep(0.02)
        watcher = Watcher(root)
        while worker.poll() is None:
            status = watcher.read()
            assert status.state == "running"
            if status.comparison is not None:
                seen.append(status.comparison.n)
                if status.comparison.n == 40:
                    break
        assert worker.stdout.readline() == b'"written"\n'
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert seen == sorted(seen)
    assert seen[-1] == 40
    status = watcher.read()
    assert (status.state, status.why) == ("stopped", "process gone")
    assert "--runs" in status.resume
    assert status.comparison == read_status(root).comparison


def test_the_comparison_is_the_paired_one_on_the_problems_both_have_answered(tmp_path: Path) -> None:
    root = tmp_path / "tiny"
    with Run.open(root, to_dict(RECIPE)) as run:
        run.begin(PLAN)
        control, backtrack = run.traces("control"), run.traces("backtrack")
        control.append(rows("control", 1, [1, 1, 1]) + rows("control", 2, [0, 1, 0, 1, 0, 0, 1, 0]))
        watcher = Watcher(root)
        assert watcher.read().comparison is None
        backtrack.append(rows("backtrack", 1, [0, 0, 0]))
        assert watcher.read().comparison is None  # at another level
        b = [0, 1, 0, 1, 0, 0, 1, 0]
        for first, a in ((0, [1, 1]), (2, [1, 0, 1]), (5, [1, 1, 1, 1, 1])):  # the last two: not answered by control
            backtrack.append(rows("backtrack", 2, a, first))
        both = [1, 1, 1, 0, 1, 1, 1, 1]
        expected = stats.paired_difference(both, b, seed=RECIPE.evaluation.seed)
        found = watcher.read().comparison
        assert found == Standing("backtrack", "control", 2, expected.value, expected.ci, 8, 40)
        assert found == read_status(root).comparison


def test_what_is_torn_or_damaged_is_waited_for_or_left_out(tmp_path: Path) -> None:
    root = tmp_path / "tiny"
    with Run.open(root, to_dict(RECIPE)) as run:
        run.begin(PLAN)
        run.traces("control").append(rows("control", 2, [0] * 4))
        run.traces("backtrack").append(rows("backtrack", 2, [1] * 4))
    path = root / "traces/backtrack.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    watcher = Watcher(root)

    def n() -> int:
        found = watcher.read().comparison
        return found.n if found else 0

    path.write_bytes(lines[0] + lines[1][:20])
    assert n() == 1
    with path.open("ab") as stream:
        stream.write(lines[1][20:] + lines[2].replace(b'"level": 2', b'"level": 3') + b"\xff{}\n[]\n3\n")
    assert n() == 2  # the torn line is whole now, the changed one is not what was written
    with path.open("ab") as stream:
        stream.write(lines[3])
    assert n() == 3
    path.rename(path.with_name("backtrack.jsonl.outdated-1"))
    assert n() == 0
    path.write_bytes(lines[0])
    assert n() == 1
    for name in ("progress.json", "stages/base.seconds.json"):
        (root / name).write_bytes(b"\x00{")
    assert watcher.read().state == "stopped"


def test_a_finished_run_takes_its_comparison_from_its_summary(tmp_path: Path) -> None:
    root = tmp_path / "tiny"
    with Run.open(root, to_dict(RECIPE)) as run:
        run.begin(["base", "summary"])
        run.stage("base", nothing)
        finish(run)
    status = read_status(root)
    assert status.state == "finished"
    assert [stage.state for stage in status.stages] == ["done", "done"]
    assert status.comparison == Standing("backtrack", "control", 2, 0.1, (0.05, 0.15), 40, 40)
    (root / "progress.json").unlink()  # as runs were before they said what they do
    older = read_status(root)
    assert (older.state, [s.name for s in older.stages], older.comparison) == ("finished", ["base"], status.comparison)
    (root / "summary.json").write_text("{")
    assert read_status(root).comparison is None


def test_a_summary_of_an_earlier_attempt_does_not_make_a_killed_one_finished(tmp_path: Path) -> None:
    root = tmp_path / "tiny"
    with Run.open(root, to_dict(RECIPE)) as run:
        run.begin(PLAN)
        finish(run)
    path = root / "progress.json"
    told = json.loads(path.read_text())
    told["process"]["born"], told["ended"] = 1, None
    path.write_text(json.dumps({**told, "started": time.time() + 60}))
    assert read_status(root).state == "stopped"
    path.write_text(json.dumps({**told, "started": time.time() - 60}))  # it wrote the summary and was killed then
    assert read_status(root).state == "finished"


def test_all_runs_are_listed_newest_first_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with Run.open(tmp_path / name, to_dict(RECIPE)) as run:
            run.begin(PLAN)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/config.json").write_text("{")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text('{"model_type": "llama"}')
    assert [status.name for status in list_runs(tmp_path)] == ["second", "first"]
    assert list_runs(tmp_path / "nowhere") == []
    with pytest.raises(RunError, match="no run at"):
        read_status(tmp_path / "thrid")


def stages(**changes: tuple[Any, ...]) -> tuple[StageStatus, ...]:
    told = {name.replace("_", "-"): state for name, state in changes.items()}
    return tuple(StageStatus(name, *told.get(name, ("waiting", 0.0, 0.0))) for name in PLAN)


def test_the_time_left_is_guessed_from_stages_of_the_same_kind_or_not_at_all() -> None:
    done = ("done", 1.0, 8.0)
    assert _eta(stages(base=done), RECIPE) is None  # no training was seen yet
    training = ("running", 0.5, 20.0, "", 20.0)
    assert _eta(stages(base=done, train_control=training), RECIPE) is None  # no answering was seen yet
    seen = {"base": done, "train_control": ("done", 1.0, 30.0), "solve_control": ("running", 0.5, 5.0, "", 5.0)}
    assert _eta(stages(**seen), RECIPE) == 5 + 30 + 10 + 3 * 10  # the vote answers at least three times
    seen["solve_control"] = ("done", 1.0, 10.0)
    seen["train_backtrack"] = ("running", 0.0, 4.0)
    assert _eta(stages(**seen), RECIPE) == (30 - 4) + 10 + 30
    assert _eta(stages(**{name.replace("-", "_"): done for name in PLAN}), RECIPE) == 0


def test_reading_a_status_needs_nothing_heavy() -> None:
    script = "import sys, thinktwice.status; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
