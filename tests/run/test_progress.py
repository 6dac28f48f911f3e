import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from thinktwice.errors import ConfigError
from thinktwice.run import Progress, Run
from thinktwice.run.process import SILENCE, Process
from thinktwice.run.progress import Attempt, Teller, read_attempt


def test_what_is_told_is_read_back_and_the_end_too(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    teller = Teller(path, ["data", "train"])
    begun = read_attempt(path)
    assert begun is not None
    assert (begun.plan, begun.progress, begun.ended) == (("data", "train"), None, None)
    assert begun.works
    progress = Progress("train", 0.5, "loss 1 \ud800", 12.5, 3.0)
    teller.tell(progress)
    teller.close("finished")
    done = read_attempt(path)
    assert done is not None
    assert (done.progress, done.ended, done.works) == (progress, "finished", False)
    assert done.updated >= begun.updated


def test_news_reaches_the_disk_while_the_work_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    teller = Teller(path, ["train"])
    teller.tell(Progress("train", 0.25))
    for _ in range(200):
        attempt = read_attempt(path)
        if attempt is not None and attempt.progress is not None:
            break
        time.sleep(0.05)
    teller.close("finished")
    assert attempt is not None
    assert attempt.progress == Progress("train", 0.25)
    assert attempt.ended is None


def test_a_directory_that_takes_no_file_stops_nothing(tmp_path: Path) -> None:
    teller = Teller(tmp_path / "missing" / "progress.json", ["data"])
    teller.tell(Progress("data", 0.5))
    teller.close("finished")
    with Run.open(tmp_path / "run", {"name": "r"}) as run:
        (run.root / "progress.json").mkdir()  # nothing can be written there
        run.begin(["data"])
        run.tell(Progress("data", 1.0))
        run.stage("data", lambda stage: None)
    assert run.attempt() is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"process": 3}', '{"process": {"pid": "x", "host": "h", "born": null}}', "\x00\xff"],
)
def test_nonsense_is_read_as_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "progress.json"
    path.write_bytes(text.encode("latin-1"))
    assert read_attempt(path) is None
    assert read_attempt(tmp_path / "missing") is None


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    teller = Teller(path, ["train"])
    teller.tell(Progress("train", float("nan"), "", float("inf"), float("nan")))
    teller.close("finished")
    attempt = read_attempt(path)
    assert attempt is not None
    assert attempt.progress == Progress("train", 0.0)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (ConfigError("do this\nand that"), "do this"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_a_run_says_how_it_ended(tmp_path: Path, error: BaseException, says: str) -> None:
    def attempt() -> None:
        with Run.open(tmp_path / "run", {"name": "r"}) as run:
            run.begin(["data"])
            raise error

    with pytest.raises(type(error)):
        attempt()
    told = Run.load(tmp_path / "run").attempt()
    assert told is not None
    assert told.ended == says


def test_a_dead_process_is_known_at_once_even_before_its_parent_asks(tmp_path: Path) -> None:
    """The killed child is a zombie here: its id still exists."""
    script = (
        "import sys, time; from pathlib import Path; from thinktwice.run.progress import Teller\n"
        "Teller(Path(sys.argv[1]), ['train']); print('told', flush=True); time.sleep(60)"
    )
    path = tmp_path / "progress.json"
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"told\n"
        attempt = read_attempt(path)
        assert attempt is not None
        assert attempt.process.pid == child.pid
        assert attempt.works
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        if attempt.process.born is not None:
            assert not attempt.works
    assert not attempt.works


def test_a_process_id_that_was_used_again_is_not_taken_for_the_run() -> None:
    this = Process.this()
    assert this.lives(time.time())
    if this.born is not None:
        assert not replace(this, born=this.born - 1).lives(time.time())


def test_a_process_of_another_machine_lives_while_it_gives_signs() -> None:
    far = Process(1, "elsewhere")
    assert far.lives(time.time() - SILENCE / 2)
    assert not far.lives(time.time() - 2 * SILENCE)
    assert not Attempt(far, (), 0.0, time.time(), ended="finished").works


def test_a_system_that_tells_no_birth_is_asked_for_the_process_and_its_signs() -> None:
    this = replace(Process.this(), born=None)
    assert this.lives(time.time())
    assert not this.lives(time.time() - 2 * SILENCE)
    assert not replace(this, pid=2**22 + 1).lives(time.time())


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    Teller(tmp_path / "progress.json", ["data"]).close("finished")
    assert set(json.loads((tmp_path / "progress.json").read_text())) == {
        "process", "plan", "started", "updated", "progress", "ended",
    }  # fmt: skip
