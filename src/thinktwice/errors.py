"""Every error this package raises on purpose.

    ThinkTwiceError
    ├── ConfigError(ValueError)      an unknown key, a wrong type, a recipe that contradicts itself
    ├── DataError(ValueError)        a dataset, row or example that cannot be used as asked
    ├── ModelError(ValueError)       a model or tokenizer that cannot do what the method needs
    ├── TrainError(RuntimeError)     training that must not go on (non-finite loss, nothing supervised)
    ├── EngineError(RuntimeError)    a server that is not there, or fails too often to go on
    └── RunError(RuntimeError)       a run directory that is locked, damaged, or belongs to another recipe

A message says what happened, where, and what to do about it. One problem that fails inside an engine or a tool is
data (`Trace(stop="error")`), not an exception; a programmer's error is neither, and propagates.
"""

import difflib
from collections.abc import Iterable


class ThinkTwiceError(Exception):
    """Base of every error raised on purpose; the command line prints its message without a traceback."""


class ConfigError(ThinkTwiceError, ValueError):
    """A configuration that is wrong. The command line exits with 2."""


class DataError(ThinkTwiceError, ValueError):
    """Data that cannot be used as asked."""


class ModelError(ThinkTwiceError, ValueError):
    """A model or tokenizer that cannot do what was asked of it."""


class TrainError(ThinkTwiceError, RuntimeError):
    """Training that must not go on."""


class EngineError(ThinkTwiceError, RuntimeError):
    """An engine that cannot go on."""


class RunError(ThinkTwiceError, RuntimeError):
    """A run directory that cannot be used."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name closest to `name`, or the list of names when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(names)}."
