import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thinktwice.errors import RunError
from thinktwice.run import Run, Stage, provenance

CONFIG = {"name": "first", "train": {"lr": 0.1, "steps": 3}, "arms": {"base": {}}}


@pytest.fixture(autouse=True)
def unchanging_code(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    state: dict[str, Any] = {
        "version": "0",
        "commit": "a" * 40,
        "changed": False,
        "files": {"types.py": "1", "run.py": "1"},
    }
    monkeypatch.setattr(provenance, "code_state", lambda: (json.loads(json.dumps(state)), ""))
    return state


def write(**contents: str) -> Callable[[Stage], None]:
    def work(stage: Stage) -> None:
        for name, text in contents.items():
            (stage.path / name).write_text(text)

    return work


def never(stage: Stage) -> None:
    raise AssertionError(f"stage {stage.name} was finished and must not be done again")


def test_a_finished_stage_is_skipped_by_the_next_attempt(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", CONFIG) as run:
        assert (run.stage("data", write(a="text"), inputs={"n": 3}) / "a").read_text() == "text"
    with Run.open(tmp_path / "r", CONFIG) as run:
        assert run.stage("data", never, inputs={"n": 3}) == tmp_path / "r/stages/data"
        assert run.stages() == ["data"]
        assert run.artefact("data", "a") == tmp_path / "r/stages/data/a"
        assert run.artefact("data", "b") is None


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("file", ["a", "manifest.json"])
@pytest.mark.parametrize("harm", [flip, Path.unlink, lambda path: os.truncate(path, path.stat().st_size - 3)])
def test_a_damaged_artefact_is_never_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, harm: Callable[[Path], None]
) -> None:
    with Run.open(tmp_path / "r", CONFIG) as run:
        run.stage("data", write(a="some text"))
    harm(tmp_path / "r/stages/data" / file)
    with Run.open(tmp_path / "r", CONFIG) as run:
        run.stage("data", write(a="some text"))
        assert run.stages() == ["data"]
    assert (tmp_path / "r/stages/data/a").read_text() == "some text"
    assert (tmp_path / "r/stages/data.damaged-1").is_dir()
    warning = next(r for r in caplog.records if r.levelno == logging.WARNING).getMessage()
    assert "stage data is done again, because" in warning
    assert ("manifest" if file != "a" else "a ") in warning


def test_a_stage_is_done_again_when_what_it_reads_changed(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", CONFIG) as run:
        run.stage("data", write(a="1"))
        run.stage("train", write(b="2"), after=["data"])
        run.stage("data", write(a="other"), inputs={"new": True})
        assert (run.stage("train", write(b="3"), after=["data"]) / "b").read_text() == "3"
        with pytest.raises(RunError, match="stage missing comes first, but it was not finished"):
            run.stage("late", never, after=["missing"])


def test_a_stage_that_fails_leaves_nothing_that_is_trusted_and_keeps_its_scratch(tmp_path: Path) -> None:
    def fails(stage: Stage) -> None:
        (stage.path / "a").write_text("half")
        (stage.scratch / "checkpoint").write_text("step 3")
        raise KeyError("a programmer's error")

    def goes_on(stage: Stage) -> None:
        (stage.path / "a").write_text((stage.scratch / "checkpoint").read_text())

    with pytest.raises(KeyError, match="programmer"), Run.open(tmp_path / "r", CONFIG) as run:
        run.stage("train", fails, inputs={"lr": 1})
    with Run.open(tmp_path / "r", CONFIG) as run:
        assert run.stages() == []
        assert (run.stage("train", goes_on, inputs={"lr": 1}) / "a").read_text() == "step 3"
        assert not (tmp_path / "r/stages/train.scratch").exists()
    with pytest.raises(KeyError, match="programmer"), Run.open(tmp_path / "s", CONFIG) as run:
        run.stage("train", fails, inputs={"lr": 1})
    with Run.open(tmp_path / "s", CONFIG) as run, pytest.raises(FileNotFoundError):
        run.stage("train", goes_on, inputs={"lr": 2})  # a checkpoint made with other inputs is gone


def test_another_config_is_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    Run.open(tmp_path / "r", CONFIG).close()
    other = {"name": "first", "train": {"lr": 0.2, "steps": 3, "warmup": 1}, "arms": {}}
    with pytest.raises(RunError) as raised:
        Run.open(tmp_path / "r", other)
    for part in ("arms.base: {} -> (none)", "train.lr: 0.1 -> 0.2", "train.warmup: (none) -> 1", "name=..."):
        assert part in str(raised.value)
    with pytest.raises(RunError, match="already holds a run"):
        Run.open(tmp_path / "r", CONFIG, resume=False)
    Run.open(tmp_path / "r", {**CONFIG}).close()  # a refusal lets go of the lock


def test_other_code_is_refused_unless_asked_for(
    tmp_path: Path, unchanging_code: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    Run.open(tmp_path / "r", CONFIG).close()
    unchanging_code["files"]["run.py"] = "2"
    with pytest.raises(RunError, match=r"the code has changed since .*: run\.py\. .*check out aaaaaaaaaaaa"):
        Run.open(tmp_path / "r", CONFIG)
    Run.open(tmp_path / "r", CONFIG, allow_code_change=True).close()
    assert "going on with changed code, as asked: run.py" in caplog.text
    assert json.loads((tmp_path / "r/code.json.before-1").read_text())["files"]["run.py"] == "1"
    Run.open(tmp_path / "r", CONFIG).close()


def test_a_directory_that_is_no_run_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"is not a run directory \(it holds thesis\.txt\)"):
        Run.open(tmp_path, CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_one_process_at_a_time_and_a_dead_one_never_blocks(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from thinktwice.run import Run, provenance\n"
        f"provenance.code_state = lambda: ({{'files': {{'types.py': '1', 'run.py': '1'}}}}, '')\n"
        f"run = Run.open(Path(sys.argv[1]), {CONFIG!r}); print('open', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "r")], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout:
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(RunError, match=f"in use by process {owner.pid}"):
            Run.open(tmp_path / "r", CONFIG)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    with Run.open(tmp_path / "r", CONFIG), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        Run.open(tmp_path / "r", CONFIG)
    Run.open(tmp_path / "r", CONFIG).close()


def test_seconds_add_up_over_attempts(tmp_path: Path) -> None:
    def fails(stage: Stage) -> None:
        time.sleep(0.05)
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError), Run.open(tmp_path / "r", CONFIG) as run:
            run.stage("train", fails)
    with Run.open(tmp_path / "r", CONFIG) as run:
        before = run.seconds()["train"]
        run.stage("train", write(a="1"))
        after = run.seconds()["train"]
        run.stage("train", never)
        assert 0.1 <= before <= after == run.seconds()["train"]


def test_reading_changes_nothing(tmp_path: Path) -> None:
    with Run.open(tmp_path / "backtrack", CONFIG) as run:
        run.stage("data", write(a="1"))
        run.traces("base").append([{"key": "p1", "reply": "x"}])
        run.write_summary({"arms": {}})
    run = Run.load(tmp_path / "backtrack")
    assert run.config == CONFIG
    assert run.summary() == {"arms": {}}
    assert run.environment["python"]
    assert run.trace_names() == ["base"]
    assert run.traces("base").done == {"p1": {"key": "p1", "reply": "x"}}
    with pytest.raises(RunError, match="opened for reading"):
        run.traces("base").append([{"key": "p2"}])
    with pytest.raises(RunError, match="opened for reading"):
        run.stage("data", never)
    with pytest.raises(RunError, match=r"no run at .*\. Did you mean '.*/backtrack'"):
        Run.load(tmp_path / "backtrak")


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "disk that holds .* is full; free some space"), (errno.EROFS, "cannot be written .* with --runs")],
)
def test_a_full_or_read_only_disk_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with Run.open(tmp_path / "r", CONFIG) as run:
        rows = run.traces("base")
        rows.append([{"key": "p1"}])
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(RunError, match=message):
            run.stage("data", write(a="1"))
        with pytest.raises(RunError, match=message):
            run.write_summary({})
        with pytest.raises(RunError, match=message):
            rows.append([{"key": "p2"}])
        monkeypatch.undo()
        assert list(rows.done) == ["p1"]
        assert (tmp_path / "r/traces/base.jsonl").read_text().count("\n") == 1
        assert run.stages() == []
        assert run.summary() is None


def test_a_library_that_meets_a_full_disk_is_translated_too(tmp_path: Path) -> None:
    def work(stage: Stage) -> None:
        raise ValueError("I/O error: No space left on device (os error 28)")

    with Run.open(tmp_path / "r", CONFIG) as run, pytest.raises(RunError, match="is full; free some space"):
        run.stage("train", work)


def test_a_sealed_trace_file_that_changed_makes_its_stage_run_again(tmp_path: Path) -> None:
    def solve(stage: Stage) -> None:
        rows = run.traces("base", inputs={"n": 2})
        rows.append([{"key": k} for k in ("p1", "p2") if k not in rows.done])
        (stage.path / "n.txt").write_text(str(len(rows.done)))

    with Run.open(tmp_path / "r", CONFIG) as run:
        run.stage("solve", solve, traces=["base"])
    flip(tmp_path / "r/traces/base.jsonl")
    with Run.open(tmp_path / "r", CONFIG) as run:
        run.stage("solve", solve, traces=["base"])
        assert sorted(run.traces("base", inputs={"n": 2}).done) == ["p1", "p2"]
        assert (tmp_path / "r/traces/base.jsonl.damaged-1").exists()
        assert sorted(run.traces("base").done) == ["p1", "p2"]  # reading back asks nothing about the inputs
        assert run.traces("base", inputs={"n": 3}).done == {}
        assert (tmp_path / "r/traces/base.jsonl.outdated-1").exists()


def test_every_attempt_has_its_log(tmp_path: Path) -> None:
    for number in (1, 2):
        with Run.open(tmp_path / "r", CONFIG) as run:
            run.stage("data", write(a="1"))
        text = (tmp_path / f"r/logs/attempt_{number}.log").read_text()
        assert ("stage data: finished before" in text) == (number == 2)
    assert logging.getLogger("thinktwice").handlers == []
