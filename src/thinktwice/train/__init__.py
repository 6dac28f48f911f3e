"""Training: examples in, a model directory out. Names are loaded when they are used, since torch takes seconds.

    audit -> batches -> loss on explicit targets -> model

`settings` is free of torch; `loop` is our own loop, `sft` the same job behind TRL.
"""

from typing import TYPE_CHECKING, Any

from thinktwice.train.settings import Training

if TYPE_CHECKING:
    from thinktwice.train.job import fit, fit_stream
    from thinktwice.train.loop import train_loop
    from thinktwice.train.metrics import StepReport

_HOMES = {"fit": "job", "fit_stream": "job", "train_loop": "loop", "StepReport": "metrics"}

__all__ = ["StepReport", "Training", "fit", "fit_stream", "train_loop"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
