"""The models that can be asked. Law: a page names a model by the listing, never by a path; few are kept loaded."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from thinktwice.answer import SavedModel, method_of, open_model, threshold_of, weights_of
from thinktwice.config import Decode, Recipe, parse
from thinktwice.errors import ConfigError, ThinkTwiceError, nearest
from thinktwice.nano import BUNDLED
from thinktwice.run import Run

log = logging.getLogger(__name__)

ROOM = 3
"""Models kept loaded: the two that are compared, and the one before."""


@dataclass(frozen=True)
class Choice:
    """A model that can be asked."""

    name: str
    """What the page calls it: `run/arm`, a bundled model's name, or what --model said."""
    place: str
    """Where its weights lie."""
    run: str | None = None
    arm: str | None = None
    bias: float | None = None
    """The undo threshold that dev chose; None when it can take nothing back, or when that is not known yet."""
    budget: int = Decode().max_new_tokens
    """Tokens it may sample, as its run says."""
    beside: str | None = None
    """The model that belongs beside it: its run's control."""
    main: bool = False
    """Whether it is its run's headline arm."""
    bundled: bool = False
    """Whether it lies in the package."""
    refused: str | None = None
    """Why it cannot be asked, in one sentence that names the fix."""


@dataclass(frozen=True)
class Loaded:
    """Weights in memory. Whoever decodes with them holds the lock."""

    model: SavedModel
    lock: threading.Lock


def run_directories(runs: Path) -> dict[str, Path]:
    """Return the run directories by name: the only way from a name in a request to a path."""
    if not runs.is_dir():
        return {}
    return {path.name: path for path in sorted(runs.iterdir()) if (path / "config.json").is_file()}


class Shelf:
    """Every saved model under a runs directory, the bundled ones, and those named at start-up."""

    def __init__(self, runs: Path, given: Sequence[str] = (), *, allow_code: bool = False) -> None:
        """Look at `runs` whenever asked.

        Args:
            runs: the runs directory.
            given: more models, as paths or hub ids.
            allow_code: run task and method files that a run names (`path/file.py:Name`).
        """
        self.runs, self._given, self._allow_code = runs, tuple(given), allow_code
        self._open: OrderedDict[tuple[str, int], Loaded] = OrderedDict()
        self._lock = threading.Lock()

    def choices(self) -> dict[str, Choice]:
        """Return what can be asked, by name: named ones, runs with the newest first, bundled ones."""
        found = [Choice(name, name) for name in self._given]
        roots = run_directories(self.runs).values()
        for root in sorted(roots, key=lambda root: (root / "config.json").stat().st_mtime, reverse=True):
            try:
                found += self._arms(root)
            except ThinkTwiceError as error:
                log.info("no model of %s can be asked: %s", root.name, error)
        found += [Choice(name, name, bundled=True) for name in reversed(BUNDLED)]
        named: dict[str, Choice] = {}
        for choice in found:
            named.setdefault(choice.name, choice)
        return named

    def find(self, name: str) -> Choice:
        """Return a choice by its name.

        Raises:
            ConfigError: there is none, or it may not be asked.
        """
        choices = self.choices()
        if name not in choices:
            raise ConfigError(f"there is no saved model {name!r} here.{nearest(name, choices)}")
        refused = choices[name].refused
        if refused is not None:
            raise ConfigError(refused)
        return choices[name]

    def open(self, choice: Choice) -> Loaded:
        """Load a model, or return the one that is loaded; the least recently asked one makes room.

        Raises:
            ModelError: it cannot be loaded.
        """
        place = Path(choice.place)
        key = choice.place, place.stat().st_mtime_ns if place.exists() else 0
        with self._lock:
            if key not in self._open:
                while len(self._open) >= ROOM:
                    self._open.popitem(last=False)
                self._open[key] = Loaded(open_model(choice.place), threading.Lock())
            self._open.move_to_end(key)
            loaded = self._open[key]
        return loaded if choice.arm is None else Loaded(loaded.model.as_arm(choice.arm), loaded.lock)

    def _arms(self, root: Path) -> Iterator[Choice]:
        """Yield the arms of a run that can answer, the headline's first."""
        run = Run.load(root)
        recipe = parse(Recipe, run.config, str(root / "config.json"))
        plan = recipe.headline
        first = [arm for arm in ((plan.a, plan.b, plan.through) if plan else ()) if arm]
        able = [arm for arm in dict.fromkeys((*first, *recipe.arms)) if _speaks(recipe, arm)]
        places = {arm: place for arm in able if (place := weights_of(run, recipe, arm)) is not None}
        for arm, place in places.items():
            refused = self._refusal(root, recipe, arm)
            control = next((other for other in self._beside(recipe, arm) if other in places), None)
            yield Choice(
                name=f"{root.name}/{arm}",
                place=str(place),
                run=root.name,
                arm=arm,
                bias=None if refused else threshold_of(method_of(run, recipe, arm)),
                budget=recipe.decode.max_new_tokens,
                beside=f"{root.name}/{control}" if control else None,
                main=bool(plan and arm == plan.a),
                refused=refused,
            )

    @staticmethod
    def _beside(recipe: Recipe, arm: str) -> list[str]:
        plan = recipe.headline
        named = [plan.b, plan.a] if plan else list(recipe.arms)
        return [other for other in named if other != arm]

    def _refusal(self, root: Path, recipe: Recipe, arm: str) -> str | None:
        method = recipe.method_of(arm).name
        if self._allow_code or ".py:" not in method:
            return None
        return (
            f"arm {arm!r} of {root.name} answers by code in a file ({method}), which this page does not run unasked. "
            "If you trust that file, start thinktwice ui with --allow-code."
        )


def _speaks(recipe: Recipe, arm: str) -> bool:
    """Say whether an arm gives one reply that can be watched, not the winner of a vote."""
    return recipe.arms[arm].match_tokens is None and recipe.method_of(arm).options.get("samples", 1) == 1
