"""The methods, by name. A method is a value: a frozen dataclass whose fields are its configuration."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from thinktwice.config import parse
from thinktwice.engines.base import Engine, ProbingEngine
from thinktwice.errors import ConfigError, nearest
from thinktwice.records import Finding, Note, Retraction, TraceRecord
from thinktwice.render import Render
from thinktwice.types import Choice, ControlToken, Example, Pair, Problem, Sampling, Score, Task, Trace


class Solver(Protocol):
    """Answers problems. An idea about decoding alone stops here."""

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Return one trace for each problem, in order."""
        ...


class Method(Solver, Protocol):
    """Collects traces, turns them into examples, answers problems. Training them is the trainer's, for every method."""

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """The tokens it adds to a model."""
        ...

    def collect(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int
    ) -> list[Trace]:
        """Write, sample or buy the traces to learn from."""
        ...

    def examples(
        self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render
    ) -> list[Example] | list[Pair] | list[Choice]:
        """Turn traces into what the trainer learns: examples, pairs of which the first is to be preferred, or choices
        between solutions.
        """
        ...


@runtime_checkable
class Calibrated(Protocol):
    """A method with a decoding choice that dev must make."""

    def calibrate(
        self, problems: Sequence[Problem], engine: ProbingEngine, render: Render, sampling: Sampling, task: Task
    ) -> tuple["Method", dict[str, Any]]:
        """Return the method with its choice made, and a record of what was tried."""
        ...


@runtime_checkable
class Fitted(Protocol):
    """A method that must learn something from the training problems before it can collect."""

    def prepare(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int, directory: Path
    ) -> "Method":
        """Fit it, save it in `directory`, and return the method that uses it."""
        ...


@runtime_checkable
class Posing(Protocol):
    """A method whose problems are made of the task's: once a run, and the same for all of its arms."""

    def pose(
        self, task: Task, engine: Engine, render: Render, seed: int, directory: Path, work: Path
    ) -> Mapping[str, list[Problem]]:
        """Return its problems by split, each made of problems of that split alone, with the base as the engine.

        What they were made of is left in `directory`; `work` survives a kill.
        """
        ...

    def judge(self, problem: Problem, trace: Trace) -> Score:
        """Score an answer to one of its problems."""
        ...

    def account(
        self,
        directory: Path,
        problems: Sequence[Problem],
        records: Mapping[str, Sequence[TraceRecord]],
        task: Task,
        pair: tuple[str, str] | None,
    ) -> tuple[Finding, ...]:
        """Return what all arms together say, and what was known beforehand.

        `pair` is the headline's, and `task` has the score of the questions that the problems are made of.
        """
        ...


@runtime_checkable
class Comparing(Protocol):
    """A method with something to say of all its arms together."""

    def compare(
        self,
        methods: Mapping[str, "Method"],
        records: Mapping[str, Sequence[TraceRecord]],
        pair: tuple[str, str] | None,
        weights: Mapping[str, Path],
    ) -> tuple[Finding, ...]:
        """Return tables over arms; `pair` is the headline's, `weights` lie where each arm's model does."""
        ...


@runtime_checkable
class Silenced(Protocol):
    """A method that can be kept from drawing other arms' control tokens, which stand in the base they share."""

    @property
    def silenced(self) -> tuple[str, ...]:
        """Tokens that may not be drawn."""
        ...


@runtime_checkable
class Observed(Protocol):
    """A method with more to say about its answers than right and wrong."""

    def findings(
        self, problems: Sequence[Problem], records: Sequence[TraceRecord], render: Render, task: Task, weights: Path
    ) -> tuple[Finding, ...]:
        """Return tables made of one arm's answers (all levels) and of the weights it answered with."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A method that can tell what happened in an answer, step by step."""

    def explain(self, problem: Problem, trace: Trace, render: Render) -> tuple[str, tuple[Note, ...]]:
        """Return what went wrong (a word or two that many answers share; empty when it is right), and what the steps
        that are worth a word are.
        """
        ...


@runtime_checkable
class Retracting(Protocol):
    """A method that takes back what it wrote."""

    def retractions(
        self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render, task: Task
    ) -> Retraction:
        """Judge what was taken back."""
        ...


METHODS = {
    "baseline": "thinktwice.methods.baseline:Baseline",
    "backtrack": "thinktwice.methods.backtrack:Backtrack",
    "planning": "thinktwice.methods.planning:Planning",
    "react": "thinktwice.methods.react:React",
    "evolve": "thinktwice.methods.evolve:Evolve",
    "transplant": "thinktwice.methods.transplant:Transplant",
    "probe": "thinktwice.methods.transplant.probe:Probe",
}


def method_class(name: str) -> type[Method]:
    """Return the method registered under a name, or the class a `file.py:Name` holds."""
    if ".py:" in name:
        return cast(type[Method], _from_file(*name.rsplit(":", 1)))
    if name not in METHODS:
        raise ConfigError(f"method.name={name!r} is not a method.{nearest(name, METHODS)}")
    module, _, attribute = METHODS[name].partition(":")
    return cast(type[Method], getattr(import_module(module), attribute))


def build_method(name: str, options: dict[str, Any]) -> Method:
    """Build a method from its options; ConfigError names an unknown one and its nearest."""
    return parse(method_class(name), options, "method")


def _from_file(path: str, attribute: str) -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(f"thinktwice_method_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"method.name: cannot load {path!r}. Write `file.py:Class`.")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its own module up, where annotations are strings
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError as error:
        raise ConfigError(f"method.name: there is no file {path!r}.") from error
    if not hasattr(module, attribute):
        raise ConfigError(f"method.name: {path} has no {attribute!r}.{nearest(attribute, vars(module))}")
    return getattr(module, attribute)
