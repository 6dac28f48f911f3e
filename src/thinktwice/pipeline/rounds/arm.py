"""One arm that goes round: its stages by name, its training problems by round, its dev problems by what they decide."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from thinktwice.config import to_dict
from thinktwice.engines.base import Engine
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve import Evolve, options_of
from thinktwice.methods.evolve.prompting import first_shots
from thinktwice.methods.evolve.sources import code_of
from thinktwice.methods.evolve.warm import warm_problems
from thinktwice.render import Render
from thinktwice.run import Progress, Run, Stage
from thinktwice.types import Problem

if TYPE_CHECKING:
    from thinktwice.pipeline import Bench

KINDS = ("answer", "feedback", "vote", "mend", "prompt", "train", "measure")
"""The stages of a round, in order."""


def owner(bench: "Bench", name: str) -> str:
    """Return the first arm whose start is measured as this one's is: the start is measured once for all of them."""

    def seen(arm: str) -> object:
        method = bench.methods[arm]
        assert isinstance(method, Evolve)
        return bench.recipe.arms[arm].start, method.measured

    return next(arm for arm in bench.recipe.arms if bench.goes_round(arm) and seen(arm) == seen(name))


def kinds_of(method: Evolve) -> list[str]:
    """Return the stages that a method's rounds have, in order."""
    skipped = {"mend": method.mend == "none", "prompt": method.exemplars == "none"}
    return [kind for kind in KINDS if not skipped.get(kind)]


@dataclass(frozen=True)
class Arm:
    """An arm in a run."""

    bench: "Bench"
    run: Run
    name: str

    @property
    def method(self) -> Evolve:
        """The arm's."""
        return cast(Evolve, self.bench.methods[self.name])

    # -- what it stands on ---------------------------------------------------------------------------------------------

    @property
    def start(self) -> str | None:
        """The arm whose weights it goes on from."""
        return self.bench.recipe.arms[self.name].start

    @property
    def root(self) -> Path:
        """The prepared base."""
        return self.run.root / "stages" / "base"

    def check(self) -> None:
        """Refuse arms that do not fit together.

        Raises:
            ConfigError: a warm start that nobody learns, or a start of another kind.
        """
        start = self.start
        if start is None:
            if self.method.warm.rows:
                raise ConfigError(
                    f"arms.{self.name}: method.warm is learned by an arm with method.rounds=0; name it as `start`."
                )
            return
        other = self.bench.methods[start]
        if not isinstance(other, Evolve) or other.rounds:
            raise ConfigError(
                f"arms.{self.name}.start: arm {start!r} must be of the same method, with rounds=0 (the warm start)."
            )
        if options_of(other) != options_of(self.method):
            raise ConfigError(
                f"arms.{self.name} starts from {start!r} and must have its warm, wording and instruction."
            )

    def begin(self) -> Path:
        """Return the weights before the first round, trained if need be."""
        return self.root if self.start is None else self.bench.weights(self.run, self.start)

    def engine(self, model: Path) -> tuple[Engine, Render]:
        """Return what answers with these weights."""
        engine, render = self.bench.engine(model)
        return engine, render

    # -- its stages ----------------------------------------------------------------------------------------------------

    @property
    def after(self) -> list[str]:
        """The stages that come before all of its rounds."""
        return ["base"] if self.start is None else ["base", f"train-{self.start}"]

    def named(self, kind: str, number: int) -> str:
        """Return the name of a round's stage; before round 1 there is measure 0, which arms may share."""
        first = kind == "measure" and number == 0
        return f"{kind}_{number}-{owner(self.bench, self.name) if first else self.name}"

    def path(self, kind: str, number: int) -> Path:
        """Return the directory of a round's stage."""
        return self.run.root / "stages" / self.named(kind, number)

    def stage(self, kind: str, number: int, work: Callable[[Stage], None], after: Sequence[str]) -> Path:
        """Do a round's stage, or find it done."""
        name = self.named(kind, number)
        decides = self.method.measured if (kind, number) == ("measure", 0) else to_dict(self.method)
        inputs = {"method": decides, "decode": to_dict(self.bench.recipe.decode)}
        if kind in ("feedback", "mend") and "verifier" in self.method.sources:
            inputs["verifier"] = code_of(self.method)  # a run does not go on with another one

        def told(stage: Stage) -> None:
            self.bench.tell(self.run, Progress(name, 0.0))
            work(stage)

        return self.run.stage(name, told, inputs=inputs, after=[*self.after, *after])

    # -- its problems --------------------------------------------------------------------------------------------------

    def problems(self, number: int) -> list[Problem]:
        """Return a round's training problems: of the method's levels, no other round's, not warm, and no examples."""
        method, train = self.method, self.bench.task.splits["train"]
        warm = {p.id for p in warm_problems(method.warm, train)}
        shown = {shot.question for shot in first_shots(method, self.bench.task)} if method.exemplars != "none" else ()
        found = [
            p
            for p in train
            if p.id not in warm and p.prompt not in shown and (not method.levels or p.level in method.levels)
        ]
        first = (number - 1) * method.problems
        if len(found) < first + method.problems:
            raise DataError(
                f"round {number} of arm {self.name!r} wants training problems {first + 1} to "
                f"{first + method.problems} of its levels, and there are {len(found)}. Ask for more, or fewer a round."
            )
        return found[first : first + method.problems]

    @property
    def watched_level(self) -> int:
        """The level at which a round has to prove itself."""
        recipe = self.bench.recipe
        return recipe.headline.level if recipe.headline else recipe.evaluation.levels[-1]

    def dev(self) -> tuple[list[Problem], list[Problem], list[Problem]]:
        """Return the gate's problems, those of the curves (which decide nothing), and the forgetting set.

        Half of dev is the gate's; where examples are chosen they are tried on half of that half, and the gate has the
        rest: what decides on a round has decided on nothing before.
        """
        recipe = self.bench.recipe
        level, dev = self.watched_level, self.bench.problems("dev", self.watched_level)
        if len(dev) < 2:
            raise DataError("evaluation.dev_problems must be at least 2: half of them decide, half are watched.")
        if self.method.exemplars != "none" and len(dev) < 4:
            raise DataError("evaluation.dev_problems must be at least 4: a quarter of them decides on examples.")
        easy = recipe.evaluation.in_distribution
        before = self.bench.problems("dev", easy)[: len(dev) // 2] if easy is not None and easy != level else []
        return dev[::2] if self.method.exemplars == "none" else dev[::4], dev[1::2], before
