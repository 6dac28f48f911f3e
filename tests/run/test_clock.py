import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from thinktwice.run import Run, Stage
from thinktwice.run.clock import Stopwatch, memory, resident, seconds
from thinktwice.types import Memory

MEGABYTE = 2**20


def test_the_most_memory_of_a_stage_is_kept_though_it_is_given_back(tmp_path: Path) -> None:
    before = resident()
    assert MEGABYTE < before < 2**40

    def work(stage: Stage) -> None:
        block = bytearray(os.urandom(MEGABYTE)) * 96  # every page is touched
        time.sleep(0.5)  # longer than two looks
        del block

    with Run.open(tmp_path / "r", {"name": "r"}) as run:
        run.stage("small", lambda stage: None)
        run.stage("big", work)
    held = Run.load(tmp_path / "r").memory()
    assert set(held) == {"small", "big"}
    assert held["big"].host >= before + 64 * MEGABYTE
    assert held["small"].host < held["big"].host
    assert held["big"].device is None


def test_the_accelerator_is_asked_through_a_probe_and_what_was_held_before_is_left_out(tmp_path: Path) -> None:
    peaks = iter([900, 5, 70])

    def probe() -> int | None:
        return next(peaks, 20)

    with Run.open(tmp_path / "r", {"name": "r"}) as run:
        run.begin(["train"], probe)
        run.stage("train", lambda stage: None)
    assert Run.load(tmp_path / "r").memory()["train"].device == 70


def test_seconds_and_memory_survive_a_kill_and_add_up(tmp_path: Path) -> None:
    path = tmp_path / "train.seconds.json"
    script = (
        "import os, signal, sys, time; from pathlib import Path; from thinktwice.run.clock import Stopwatch\n"
        "with Stopwatch(path := Path(sys.argv[1]), lambda: 300):\n"
        "    block = bytearray(os.urandom(2**20)) * 400\n"
        "    while not path.exists(): time.sleep(0.05)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -signal.SIGKILL
    killed, held = seconds(path), memory(path)
    assert killed > 0.5
    assert held is not None
    assert held.host > 400 * MEGABYTE
    with Stopwatch(path, lambda: 200):
        pass
    assert seconds(path) >= killed
    again = memory(path)
    assert again is not None
    assert again.host >= held.host
    assert again.device == 300


def test_a_file_of_an_older_run_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.seconds.json"
    path.write_text("12.5")
    assert seconds(path) == 12.5
    assert memory(path) is None
    with Stopwatch(path):
        pass
    assert seconds(path) >= 12.5
    assert memory(path) is not None
    for nonsense in ("", "{", '{"host": "x"}', "[]", '"soon"'):
        path.write_text(nonsense)
        assert seconds(path) == 0.0
        assert memory(path) is None
    path.write_text(json.dumps({"seconds": 3, "host": 7, "device": None}))
    assert memory(path) == Memory(7, None)
