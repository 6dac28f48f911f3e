"""A method that goes round: answer → feedback → vote → mend → prompt → train → measure; each stage can be killed.

Law: in every stage, what came in is what was kept and what was dropped, by reason; a round is measured after its own
training; whether it stands is decided on dev problems that nothing else uses, and written down; test is not touched.

Stages of round n of an arm: answer_n-ARM, feedback_n-ARM, vote_n-ARM, mend_n-ARM, prompt_n-ARM, train_n-ARM,
measure_n-ARM. Then train-ARM has the weights that the arm answers with, as for every other method.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from thinktwice.config import parse, to_dict
from thinktwice.errors import ConfigError
from thinktwice.methods.evolve import Evolve
from thinktwice.methods.evolve.guards import Decision, decide
from thinktwice.methods.evolve.measuring import Measured, measure, reading
from thinktwice.pipeline.rounds.arm import KINDS, Arm, kinds_of, owner
from thinktwice.pipeline.rounds.learning import learn
from thinktwice.pipeline.rounds.turn import Turn
from thinktwice.run import Stage, read_json, write_json

if TYPE_CHECKING:
    from thinktwice.pipeline import Bench

__all__ = ["KINDS", "Arm", "Rounds", "plan"]


def plan(bench: "Bench", name: str) -> list[str]:
    """List the stages of an arm's rounds."""
    method = cast(Evolve, bench.methods[name])
    stages = [f"measure_0-{owner(bench, name)}"]
    for number in range(1, method.rounds + 1):
        stages += [f"{kind}_{number}-{name}" for kind in kinds_of(method)]
    return [*stages, f"train-{name}"]


@dataclass(frozen=True)
class Rounds:
    """The rounds of one arm."""

    arm: Arm

    def finish(self, until: int | None = None) -> Path:
        """Do all rounds, or go on with them, and return the directory of the weights that stand at the end.

        Args:
            until: stop behind this round, and return the weights that stand by then; the rest is left for another time.

        Raises:
            ConfigError: there is no such round; arms that do not fit together.
            RunError: people have to look at answers first.
            DataError: there are too few training problems, or a round has nothing to learn.
        """
        if until is not None and until < 1:
            raise ConfigError(f"until_round is {until}; the first round is 1.")
        self.arm.check()
        method, started = self.arm.method, self.arm.begin()
        decisions: list[Decision] = []
        measured = [self._measure(0, started, started, decisions)]
        if _refused(method, measured[0]):
            said = f"the critic is not above chance before the first round: {measured[0].critic_said}"
            decisions.append(Decision(1, "stopped", said))
        models = {0: started}
        for number in range(1, method.rounds + 1):
            if decisions and decisions[-1].stops:
                break
            turn = Turn(self.arm, number, dict(models), tuple(decisions))
            models[number] = learn(turn, turn.finish())
            measured.append(self._measure(number, models[number], started, decisions))
            decisions.append(self._decision(number))
            if number == until and number < method.rounds and not decisions[-1].stops:
                return models[decisions[-1].best]
        return self._seal(models, decisions, measured)

    def _measure(self, number: int, model: Path, started: Path, decisions: Sequence[Decision]) -> Measured:
        """Measure a model on dev, and decide whether its round stands."""
        arm, bench = self.arm, self.arm.bench

        def work(stage: Stage) -> None:
            gate, watched, easy = arm.dev()
            engine, render = arm.engine(model)
            start = None if number == 0 else arm.path("measure", 0)
            found = measure(
                arm.method, engine, render, bench.task, bench.sampling, gate, watched, easy, start=start,
                start_engine=(lambda: arm.engine(started)[0]) if number else None,
                seed=bench.recipe.evaluation.seed,
            )  # fmt: skip
            found.save(stage.path)
            if number:
                best = decisions[-1].best if decisions else 0
                so_far, first = (reading(arm.path("measure", n)) for n in (best, 0))
                decision = decide(arm.method.guards, number, found.reading, so_far, first, decisions)
                write_json(stage.path / "decision.json", to_dict(decision))

        path = arm.stage("measure", number, work, [arm.named("train", number)] if number else [])
        return Measured.load(path)

    def _decision(self, number: int) -> Decision:
        return parse(Decision, read_json(self.arm.path("measure", number) / "decision.json"), "decision.json")

    def _seal(self, models: Mapping[int, Path], decisions: Sequence[Decision], measured: Sequence[Measured]) -> Path:
        """Give the arm the weights of the last round that stands."""
        arm = self.arm
        best = decisions[-1].best if decisions else 0
        source = models[best]

        def work(stage: Stage) -> None:
            shutil.copytree(source.resolve(), stage.path / "model", copy_function=_link)
            if best:
                for file in ("metrics.jsonl", "audit.json", "trainer_state.json"):
                    if (source.parent / file).is_file():
                        _link(source.parent / file, stage.path / file)
            write_json(
                stage.path / "rounds.json",
                {
                    "best": best,
                    "decisions": [to_dict(d) for d in decisions],
                    "measured": [to_dict(m.curve) for m in measured],
                    "counts": [_counts(arm, n) for n in range(1, len(measured))],
                },
            )

        after = [arm.named("measure", n) for n in range(len(measured))]
        after += [arm.named("train", n) for n in range(1, len(measured))]
        path = arm.run.stage(f"train-{arm.name}", work, after=[*arm.after, *after])
        return path / "model"


def _refused(method: Evolve, started: Measured) -> bool:
    """Say whether the rounds must not begin: the model's own critic knows nothing."""
    own = {"self", "frozen", "ema", "shuffled", "generic"} & set(method.sources)
    return bool(method.rounds and method.guards.on and method.guards.critic and own and not started.critic_above_chance)


def _counts(arm: Arm, number: int) -> dict[str, Any]:
    files = {kind: arm.path(kind, number) / "counts.json" for kind in kinds_of(arm.method)}
    return {kind: read_json(path) for kind, path in files.items() if path.is_file()}


def _link(source: "str | Path", target: "str | Path") -> str:
    """Give a file a second name; a copy where the disk cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return str(target)
