"""One training in several processes, started by the one that runs everything else.

Law: `fit` returns the same directory whoever did the work. The parent writes down what is learned, starts `torchrun`
(`accelerate launch` starts one process where there is no GPU, and says nothing), passes on what the first process
reports, and raises what it raised. A run's directory is never worked in by two processes.
"""

import contextlib
import gc
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from thinktwice import errors
from thinktwice.config import parse, to_dict
from thinktwice.errors import ThinkTwiceError, TrainError
from thinktwice.train.job import fit
from thinktwice.train.loop import Progress
from thinktwice.train.metrics import StepReport
from thinktwice.train.settings import Training
from thinktwice.types import Choice, Example, Pair

log = logging.getLogger("thinktwice.train")

MARK = "\x1ethinktwice "
"""Begins a line of output that is a report."""
KINDS: dict[str, type[Any]] = {"Example": Example, "Pair": Pair, "Choice": Choice}
GRACE = 60.0
"""Seconds the processes have to end when they are told to."""


def command(settings: Training, folder: str) -> list[str]:
    """Return the command that trains what lies in `folder`; a dry run prints it."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={settings.processes}"]
    return [sys.executable, *start, "-m", "thinktwice.train.launch", folder]


def launch(
    examples: Sequence[Any],
    base_dir: str | Path,
    out_dir: Path,
    settings: Training,
    *,
    dev: Sequence[Any] = (),
    progress: Progress | None = None,
    start: Path | None = None,
) -> Path:
    """Do what `fit` does, in `settings.processes` processes.

    Raises:
        ThinkTwiceError: what the first process that failed raised.
        TrainError: a process died.
    """
    folder = out_dir / "launch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job = {
        "base": str(base_dir),
        "out": str(out_dir),
        "settings": settings.to_dict(),
        "start": None if start is None else str(start),
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    for name, rows in (("examples", examples), ("dev", dev)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for row in rows:
                stream.write(json.dumps([type(row).__name__, to_dict(row)]) + "\n")
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()  # the processes need the room
    _watch(command(settings, str(folder)), folder, progress)
    shutil.rmtree(folder)
    return out_dir / "model"


def _watch(words: list[str], folder: Path, progress: Progress | None) -> None:
    """Run a command to its end and pass on what it reports."""
    last: deque[str] = deque(maxlen=300)
    with _stopped_with_us(words) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith(MARK):
                last.append(line.rstrip())
                log.info("%s", line.rstrip())
            elif progress is not None:
                progress(parse(StepReport, json.loads(line.removeprefix(MARK)), "report"))
    if process.returncode == 0:
        return
    for path in sorted(folder.glob("error-*.json")):
        kind, said = json.loads(path.read_text(encoding="utf-8"))
        raise getattr(errors, kind)(said)
    raised = [line for line in last if re.search(r"(Error|Exception|Interrupt): ", line)]
    said = (raised or [*last, "nothing"])[0 if raised else -1].strip()
    raise TrainError(f"A training process ended with code {process.returncode} ({said}); the log has all it said.")


@contextmanager
def _stopped_with_us(words: list[str]) -> "Iterator[subprocess.Popen[str]]":
    """Start a command, and end it when this process is interrupted or told to end."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if main else None
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    try:
        yield process
        process.wait()
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        process.kill()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
        if main:
            signal.signal(signal.SIGTERM, before)


def train(folder: Path) -> None:
    """Do this process's part of the training in `folder`."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    settings = parse(Training, job["settings"], "job.json")
    if world != settings.processes:
        raise TrainError(f"training.processes={settings.processes}, but {world} were started.")

    def report(step: StepReport) -> None:
        print(MARK + json.dumps(asdict(step)), flush=True)

    start = None if job["start"] is None else Path(job["start"])
    examples, dev = (_read(folder / f"{name}.jsonl") for name in ("examples", "dev"))
    listen = report if rank == 0 else None
    fit(examples, job["base"], Path(job["out"]), settings, dev=dev, progress=listen, start=start)


def _read(path: Path) -> list[Any]:
    with path.open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [parse(KINDS[kind], row, path.name) for kind, row in rows]


def main() -> None:
    """Train, as torchrun starts it; what is the user's to mend is written down for the parent."""
    folder = Path(sys.argv[1])
    try:
        train(folder)
    except ThinkTwiceError as error:
        said = json.dumps([type(error).__name__, str(error)])
        (folder / f"error-{os.environ['RANK']}.json").write_text(said, encoding="utf-8")
        sys.exit(1)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
