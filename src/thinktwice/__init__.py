"""thinktwice teaches language models to think twice, and proves each gain against an honest control.

Names are loaded when they are used: importing the package pulls in neither torch nor transformers.

Example:
    >>> from thinktwice import Backtrack, load_task
    >>> task = load_task("arith", train=10, per_level=2)
    >>> Backtrack(rate=0.1).context
    'rewind'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from thinktwice.answer import solve_question
    from thinktwice.config import Recipe, load
    from thinktwice.engines.base import Engine
    from thinktwice.engines.local import LocalEngine
    from thinktwice.engines.scripted import ScriptedEngine
    from thinktwice.errors import ConfigError, DataError, ModelError, RunError, ThinkTwiceError, TrainError
    from thinktwice.methods.backtrack import Backtrack
    from thinktwice.methods.baseline import Baseline
    from thinktwice.methods.evolve import Evolve
    from thinktwice.methods.planning import Planning
    from thinktwice.methods.react import React
    from thinktwice.methods.transplant import Transplant
    from thinktwice.pipeline import run_recipe
    from thinktwice.render import Render
    from thinktwice.run import Run
    from thinktwice.tasks import load_task
    from thinktwice.train import Training, fit
    from thinktwice.types import (
        Append,
        Completion,
        Control,
        Example,
        Problem,
        Rewind,
        Sampling,
        Score,
        Step,
        Stop,
        Task,
        Trace,
        Wait,
    )

_HOMES = {
    "config": ("Recipe", "load"),
    "engines.base": ("Engine",),
    "engines.local": ("LocalEngine",),
    "engines.scripted": ("ScriptedEngine",),
    "errors": ("ConfigError", "DataError", "ModelError", "RunError", "ThinkTwiceError", "TrainError"),
    "methods.backtrack": ("Backtrack",),
    "methods.baseline": ("Baseline",),
    "methods.evolve": ("Evolve",),
    "methods.planning": ("Planning",),
    "methods.react": ("React",),
    "methods.transplant": ("Transplant",),
    "answer": ("solve_question",),
    "pipeline": ("run_recipe",),
    "render": ("Render",),
    "run": ("Run",),
    "tasks": ("load_task",),
    "train": ("Training", "fit"),
    "types": (
        *("Append", "Completion", "Control", "Example", "Problem", "Rewind"),
        *("Sampling", "Score", "Step", "Stop", "Task", "Trace", "Wait"),
    ),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Append",
    "Backtrack",
    "Baseline",
    "Completion",
    "ConfigError",
    "Control",
    "DataError",
    "Engine",
    "Evolve",
    "Example",
    "LocalEngine",
    "ModelError",
    "Planning",
    "Problem",
    "React",
    "Recipe",
    "Render",
    "Rewind",
    "Run",
    "RunError",
    "Sampling",
    "Score",
    "ScriptedEngine",
    "Step",
    "Stop",
    "Task",
    "ThinkTwiceError",
    "Trace",
    "TrainError",
    "Training",
    "Transplant",
    "Wait",
    "fit",
    "load",
    "load_task",
    "run_recipe",
    "solve_question",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'thinktwice' has no attribute {name!r}")
    return getattr(import_module(f"thinktwice.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
