"""Problems that a method makes of the task's, sealed as a stage. Law: made once a run, read back by every arm."""

from collections.abc import Sequence
from pathlib import Path

from thinktwice.engines.base import Engine
from thinktwice.methods import Posing
from thinktwice.pipeline.lines import read_rows, write_rows
from thinktwice.render import Render
from thinktwice.run import Stage
from thinktwice.types import Problem, Task

SPLITS = ("train", "dev", "test")


def pose(poser: Posing, task: Task, engine: Engine, render: Render, seed: int, stage: Stage) -> None:
    """Have problems made, and write them down, one JSON line each."""
    found = poser.pose(task, engine, render, seed, stage.path, stage.scratch / "pose")
    for split in SPLITS:
        write_rows(stage.path / f"{split}.jsonl", found.get(split, ()))


def read_posed(path: Path) -> dict[str, Sequence[Problem]]:
    """Read the problems of a finished stage, by split."""
    return {split: read_rows(path / f"{split}.jsonl", Problem) for split in SPLITS}
