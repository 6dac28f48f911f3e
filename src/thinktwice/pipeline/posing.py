"""Problems that a method makes of the task's, sealed as a stage. Law: made once a run, read back by every arm."""

import json
from collections.abc import Sequence
from pathlib import Path

from thinktwice.config import parse, to_dict
from thinktwice.engines.base import Engine
from thinktwice.methods import Posing
from thinktwice.render import Render
from thinktwice.run import Stage
from thinktwice.types import Problem, Task

SPLITS = ("train", "dev", "test")


def pose(poser: Posing, task: Task, engine: Engine, render: Render, seed: int, stage: Stage) -> None:
    """Have problems made, and write them down, one JSON line each."""
    found = poser.pose(task, engine, render, seed, stage.path, stage.scratch / "pose")
    for split in SPLITS:
        with (stage.path / f"{split}.jsonl").open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(to_dict(p), ensure_ascii=False) + "\n" for p in found.get(split, ()))


def read_posed(path: Path) -> dict[str, Sequence[Problem]]:
    """Read the problems of a finished stage, by split."""
    return {
        split: [
            parse(Problem, json.loads(line), f"{split}.jsonl")
            for line in (path / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
            if line
        ]
        for split in SPLITS
    }
