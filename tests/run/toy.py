"""A toy run in a process of its own, killed before its k-th change of the disk, for every k. Run by test_kill.py."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from thinktwice.run import Run, Stage, provenance

CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
PROBLEMS = [f"p{i}" for i in range(5)]


def data(stage: Stage) -> None:
    (stage.path / "nested").mkdir()
    for name in ("a.txt", "nested/b.txt"):
        with (stage.path / name).open("w") as stream:
            stream.write("first half ")
            stream.flush()
            touch()  # a half-written artefact lies on the disk here
            stream.write("second half")


def train(run: Run) -> Callable[[Stage], None]:
    def work(stage: Stage) -> None:
        saved = stage.scratch / "checkpoint"
        start, weight = map(int, saved.read_text().split()) if saved.exists() else (0, 1)
        for step in range(start, 4):
            weight = weight * 31 + step
            (stage.scratch / "next").write_text(f"{step + 1} {weight}")
            (stage.scratch / "next").replace(saved)
        seen = (run.root / "stages/data/nested/b.txt").read_text()
        (stage.path / "model.txt").write_text(f"{weight} {seen}")

    return work


def solve(run: Run) -> Callable[[Stage], None]:
    def work(stage: Stage) -> None:
        rows = run.traces("arm", inputs={"n": 5}, after=["train"])
        open_problems = [p for p in PROBLEMS if p not in rows.done]
        for start in range(0, len(open_problems), 2):
            rows.append([{"key": p, "reply": f"answer of {p}"} for p in open_problems[start : start + 2]])
        (stage.path / "scores.json").write_text(json.dumps({p: rows.done[p]["reply"] for p in PROBLEMS}))

    return work


def attempt(root: Path) -> None:
    with Run.open(root, {"name": "toy", "seed": 3}) as run:
        run.begin(["data", "train", "solve"])
        run.stage("data", data, inputs={"seed": 3})
        run.stage("train", train(run), after=["data"])
        run.stage("solve", solve(run), after=["train"], traces=["arm"])
        run.write_summary({"rows": len(run.traces("arm", inputs={"n": 5}, after=["train"]).done)})


def contents(root: Path) -> dict[str, str]:
    """Every file that is a result: not the log, the clock, the owner's process id, or what it is doing."""
    told = {"lock", "progress.json", "progress.json.tmp"}
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.parent.name != "logs" and path.name not in told and ".seconds." not in path.name
    }


count, limit, watched = 0, 0, ""


def touch() -> None:
    global count
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)


def hook(event: str, arguments: tuple[object, ...]) -> None:
    """Count every change of the disk below the run, and die before the one that was chosen."""
    if not watched or not str(arguments[0] if arguments else "").startswith(watched):
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event in CHANGES or writes:
        touch()


def child(root: Path, kill_at: int) -> bool:
    """Try in a forked process; return whether it lived to the end."""
    global limit, watched
    pid = os.fork()
    if pid == 0:
        limit, watched = kill_at, str(root)
        try:
            attempt(root)
        except BaseException as error:
            print(f"kill at {kill_at}: {error!r}", flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        sys.exit(1)
    return os.WIFEXITED(status)


def main(place: Path) -> None:
    code, environment = provenance.code_state(), provenance.environment()
    provenance.code_state = lambda: code  # type: ignore[assignment]
    provenance.environment = lambda: environment  # type: ignore[assignment]
    os.fsync = lambda descriptor: None  # a killed process loses nothing that the kernel has; only speed is gained
    sys.addaudithook(hook)
    assert child(place / "reference", 0)
    expected = contents(place / "reference")
    for kill_at in range(1, 1000):
        root = place / "killed"
        shutil.rmtree(root, ignore_errors=True)
        lived = child(root, kill_at)
        if not lived:
            child(root, kill_at // 2)  # the second attempt is killed as well, somewhere else
            assert child(root, 0)
        found = contents(root)
        if found != expected:
            differing = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
            sys.exit(f"kill at {kill_at}: {differing} differ")
        if lived:
            print(f"killed {kill_at - 1}")
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
