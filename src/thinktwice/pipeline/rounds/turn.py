"""One round of an arm up to what it teaches: answer → feedback → vote → mend → prompt, each a stage."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from thinktwice.answer import plain_base
from thinktwice.config import parse, to_dict
from thinktwice.errors import RunError
from thinktwice.methods.evolve import Evolve, mending
from thinktwice.methods.evolve.guards import Decision
from thinktwice.methods.evolve.human import write_queue
from thinktwice.methods.evolve.prompting import choose_shots, first_shots
from thinktwice.methods.evolve.prompts import Shot
from thinktwice.methods.evolve.rows import Attempt, Critique, Ledger, Voted
from thinktwice.methods.evolve.sources import Heard, hear
from thinktwice.methods.evolve.tally import tally
from thinktwice.pipeline.lines import read_rows, write_rows
from thinktwice.pipeline.rounds.arm import Arm
from thinktwice.run import Stage, read_json, write_json
from thinktwice.types import Problem


@dataclass(frozen=True)
class Turn:
    """A round, and what was decided before it."""

    arm: Arm
    number: int
    models: Mapping[int, Path]
    """The weights of every round so far; 0 has those before the first."""
    decisions: tuple[Decision, ...]

    @property
    def method(self) -> Evolve:
        """The arm's."""
        return self.arm.method

    @property
    def best(self) -> int:
        """The last round that stands: its weights answer, and criticise."""
        return self.decisions[-1].best if self.decisions else 0

    @property
    def standing(self) -> list[int]:
        """The rounds that stand."""
        return [d.round for d in self.decisions if d.choice == "promoted"]

    @cached_property
    def problems(self) -> dict[str, Problem]:
        """The round's training problems, by id."""
        return {p.id: p for p in self.arm.problems(self.number)}

    @cached_property
    def shots(self) -> tuple[Shot, ...]:
        """The examples of this round's prompts: what the last round that chose some adopted."""
        if self.method.exemplars == "none":
            return ()
        for n in range(self.number - 1, 0, -1):
            found = self.arm.run.artefact(self.arm.named("prompt", n), "shots.json")
            if found is not None:
                return tuple(parse(Shot, row, str(found)) for row in read_json(found))
        return first_shots(self.method, self.arm.bench.task)

    def finish(self) -> list[str]:
        """Do the stages before training, and return the names of all that the training comes after."""
        done = [self.arm.named("measure", n) for n in range(self.number)]
        works = {"answer": self._answer, "feedback": self._feedback, "vote": self._vote}
        if self.method.mend != "none":
            works["mend"] = self._mend
        if self.method.exemplars != "none":
            works["prompt"] = self._prompt
        for kind, work in works.items():
            self.arm.stage(kind, self.number, work, done)
            done = [*done, self.arm.named(kind, self.number)]
        return done

    def path(self, kind: str) -> Path:
        """Return the directory of one of its stages."""
        return self.arm.path(kind, self.number)

    def attempts(self) -> list[Attempt]:
        """Return its answers."""
        return read_rows(self.path("answer") / "attempts.jsonl", Attempt)

    def voted(self) -> list[Voted]:
        """Return what the critics together say of its answers."""
        return read_rows(self.path("vote") / "voted.jsonl", Voted)

    # -- the stages ----------------------------------------------------------------------------------------------------

    def _answer(self, stage: Stage) -> None:
        bench, problems = self.arm.bench, self.problems
        engine, render = self.arm.engine(self.models[self.best])
        attempts = self.method.attempt([*problems.values()], engine, render, bench.sampling, bench.task, self.shots)
        write_rows(stage.path / "attempts.jsonl", attempts)
        self._write_truth(stage, attempts)
        example = next(iter(problems.values()))
        (stage.path / "prompt.txt").write_text(
            render.text(self.method.answer_prompt(example, render, self.shots)), encoding="utf-8"
        )
        ledger = Ledger(came=len(problems) * self.method.samples, kept=len(attempts))
        tokens = sum(len(a.token_ids) for a in attempts)
        write_json(stage.path / "counts.json", {**ledger.to_dict(), "problems": len(problems), "tokens": tokens})

    def _write_truth(self, stage: Stage, attempts: Sequence[Attempt]) -> None:
        score = self.arm.bench.task.score
        truth = {a.key: score(self.problems[a.problem_id], a.text).value == 1 for a in attempts}
        write_json(stage.path / "truth.json", truth)

    def _feedback(self, stage: Stage) -> None:
        heard = self._hear(stage, self.attempts())
        write_rows(stage.path / "critiques.jsonl", [c for own in heard.critiques.values() for c in own])
        write_json(stage.path / "counts.json", counted(heard))

    def _hear(self, stage: Stage, attempts: Sequence[Attempt]) -> Heard:
        """Have answers judged; those that wait for a person are queued, and the run stops where there are new ones."""
        arm = self.arm

        def critic(source: str) -> Any:
            if source == "engine":
                from thinktwice.methods.evolve.outside import outside

                found = outside(self.method, arm.bench.render(arm.root), arm.run.root / "critic", self.shots)
                done.callback(found.close)
                return found
            model = self.models[0] if source == "frozen" else self.models[self.best]
            if source == "ema":
                model = self._average(stage)
            return self.method.critic_of(*arm.engine(model), self.shots)

        sampling, seed = arm.bench.sampling, arm.bench.recipe.seed
        with ExitStack() as done:
            heard = hear(self.method, self.problems, attempts, critic, arm.bench.task, sampling, seed)
        queue = arm.run.root / "review" / f"{arm.name}.jsonl"
        if heard.waiting and write_queue(queue, heard.waiting):
            raise RunError(
                f"{len(heard.waiting)} answers of arm {arm.name!r} wait for a person. thinktwice review {queue} "
                f"--out {self.method.reviewed}; then the same command goes on, with what was looked at by then."
            )
        return heard

    def _average(self, stage: Stage) -> Path:
        """Average the rounds that stand, each new one with share 1 - ema."""
        from thinktwice.train.merging import merge

        models = [self.models[n] for n in (0, *self.standing)]
        shares = [1.0]
        for _ in self.standing:
            shares = [*(share * self.method.ema for share in shares), 1 - self.method.ema]
        base = plain_base(self.arm.run.root, self.arm.bench.recipe, self.arm.name)
        return merge(base, models, stage.scratch / "average", shares=shares)

    def _vote(self, stage: Stage) -> None:
        critiques = read_rows(self.path("feedback") / "critiques.jsonl", Critique)
        voted = self._tally(critiques)
        write_rows(stage.path / "voted.jsonl", voted)
        ledger = Ledger(came=len(voted))
        for each in voted:
            if each.chosen is None:
                ledger.drop("abstained" if each.verdict == "abstained" else each.verdict)
        ledger.kept = len(voted) - ledger.dropped.total()
        write_json(stage.path / "counts.json", ledger.to_dict())

    def _tally(self, critiques: Sequence[Critique]) -> list[Voted]:
        return tally(self.method, critiques, self.arm.bench.task, self.arm.bench.recipe.seed)

    def _mend(self, stage: Stage) -> None:
        attempts, voted = self.attempts(), {v.key: v for v in self.voted()}
        wrong = [
            (self.problems[a.problem_id], a, voted[a.key].chosen)
            for a in attempts
            if a.key in voted and voted[a.key].verdict == "incorrect"
        ]
        # Where one of a problem's answers was found right there is nothing to mend.
        solved = {a.problem_id for a in attempts if a.key in voted and voted[a.key].verdict == "correct"}
        unsolved = [row for row in wrong if row[0].id not in solved]
        pairs = [(p, a, critique) for p, a, critique in unsolved if critique is not None]
        bench = self.arm.bench
        engine, render = self.arm.engine(self.models[self.best])
        mended = mending.mend(self.method, pairs, engine, render, bench.sampling, bench.task, self.shots)
        after = [m.after for m in mended]
        heard = self._hear(stage, after)
        critiques = [c for own in heard.critiques.values() for c in own]
        write_rows(stage.path / "mended.jsonl", mended)
        write_rows(stage.path / "critiques.jsonl", critiques)
        write_rows(stage.path / "voted.jsonl", self._tally(critiques))
        self._write_truth(stage, after)
        ledger = Ledger(came=len(attempts), kept=len(mended))
        ledger.drop("not found wrong", len(attempts) - len(wrong))
        ledger.drop("another answer was found right", len(wrong) - len(unsolved))
        ledger.drop("no line to put in", len(unsolved) - len(mended))
        tokens = sum(len(a.token_ids) for a in after) + heard.written
        write_json(stage.path / "counts.json", {**ledger.to_dict(), "tokens": tokens, "judged": counted(heard)})

    def _prompt(self, stage: Stage) -> None:
        bench = self.arm.bench
        engine, render = self.arm.engine(self.models[self.best])
        chosen = choose_shots(
            self.method, self.problems, self.attempts(), self.voted(), self.shots, bench.task, engine, render,
            bench.sampling, gate=bench.problems("dev", self.arm.watched_level)[2::4],
            never=[*bench.task.splits["dev"], *bench.task.splits["test"]], seed=bench.recipe.seed,
        )  # fmt: skip
        write_json(stage.path / "shots.json", [to_dict(shot) for shot in chosen.shots])
        write_json(stage.path / "adoption.json", chosen.record)
        write_json(stage.path / "counts.json", chosen.counts)
        example = next(iter(self.problems.values()))
        prompt = render.text(self.method.answer_prompt(example, render, chosen.shots))
        (stage.path / "prompt.txt").write_text(prompt, encoding="utf-8")


def counted(heard: Heard) -> dict[str, Any]:
    """Return the counts of what was said: in = kept + dropped, the critics' tokens, and rows that nobody can read."""
    bad = {"bad_rows": heard.bad_rows} if heard.bad_rows else {}
    return {**heard.ledger.to_dict(), "tokens": heard.written, **bad}
