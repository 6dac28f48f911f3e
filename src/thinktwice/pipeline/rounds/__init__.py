"""A method that goes round: answer → feedback → vote → mend → prompt → train → measure; each stage can be killed.

Law: in every stage, what came in is what was kept and what was dropped, by reason; a round is measured after its own
training; whether it stands is decided on dev problems that nothing else uses, and written down; test is not touched.

Stages of round n of an arm: answer_n-ARM, feedback_n-ARM, vote_n-ARM, mend_n-ARM, prompt_n-ARM, train_n-ARM,
measure_n-ARM. Then train-ARM has the weights that the arm answers with, as for every other method.
"""

import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from thinktwice.answer import plain_base
from thinktwice.config import parse, to_dict
from thinktwice.engines.base import Engine
from thinktwice.errors import ConfigError, DataError, RunError
from thinktwice.methods.evolve import Evolve, mending, options_of
from thinktwice.methods.evolve.guards import Decision, decide
from thinktwice.methods.evolve.human import write_queue
from thinktwice.methods.evolve.lesson import lesson
from thinktwice.methods.evolve.measuring import Measured, measure, reading
from thinktwice.methods.evolve.prompting import choose_shots, first_shots
from thinktwice.methods.evolve.prompts import Shot
from thinktwice.methods.evolve.rows import Attempt, Critique, Ledger, Voted
from thinktwice.methods.evolve.sources import Heard, code_of, hear
from thinktwice.methods.evolve.tally import tally
from thinktwice.methods.evolve.warm import warm_problems
from thinktwice.pipeline.lines import read_rows, write_rows
from thinktwice.render import Render
from thinktwice.run import Progress, Run, Stage, read_json, write_json
from thinktwice.types import Problem, Trace

if TYPE_CHECKING:
    from thinktwice.pipeline import Bench

KINDS = ("answer", "feedback", "vote", "mend", "prompt", "train", "measure")
"""The stages of a round, in order."""


def plan(bench: "Bench", name: str) -> list[str]:
    """List the stages of an arm's rounds."""
    method = cast(Evolve, bench.methods[name])
    stages = [f"measure_0-{owner(bench, name)}"]
    for number in range(1, method.rounds + 1):
        stages += [f"{kind}_{number}-{name}" for kind in _kinds(method)]
    return [*stages, f"train-{name}"]


def owner(bench: "Bench", name: str) -> str:
    """Return the first arm whose start is measured as this one's is: the start is measured once for all of them."""

    def seen(arm: str) -> object:
        method = bench.methods[arm]
        assert isinstance(method, Evolve)
        return bench.recipe.arms[arm].start, method.measured

    return next(arm for arm in bench.recipe.arms if bench.goes_round(arm) and seen(arm) == seen(name))


def _kinds(method: Evolve) -> list[str]:
    skipped = {"mend": method.mend == "none", "prompt": method.exemplars == "none"}
    return [kind for kind in KINDS if not skipped.get(kind)]


@dataclass(frozen=True)
class Rounds:
    """The rounds of one arm."""

    bench: "Bench"
    run: Run
    name: str

    @property
    def method(self) -> Evolve:
        """The arm's."""
        return cast(Evolve, self.bench.methods[self.name])

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
        self._check()
        started = self._start()
        decisions: list[Decision] = []
        measured = [self._measure(0, started, started, decisions)]
        if self._refused(measured[0]):
            decisions.append(
                Decision(
                    1, "stopped", f"the critic is not above chance before the first round: {measured[0].critic_said}"
                )
            )
        models = {0: started}
        for number in range(1, self.method.rounds + 1):
            if decisions and decisions[-1].stops:
                break
            best = decisions[-1].best if decisions else 0
            models[number] = self._round(number, best, models, decisions)
            measured.append(self._measure(number, models[number], started, decisions))
            decisions.append(self._decision(number))
            if number == until and number < self.method.rounds and not decisions[-1].stops:
                return models[decisions[-1].best]
        return self._seal(models, decisions, measured)

    # -- what it stands on ---------------------------------------------------------------------------------------------

    def _check(self) -> None:
        start = self.bench.recipe.arms[self.name].start
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

    def _start(self) -> Path:
        start = self.bench.recipe.arms[self.name].start
        return self.run.root / "stages" / "base" if start is None else self.bench.weights(self.run, start)

    @property
    def _after(self) -> list[str]:
        start = self.bench.recipe.arms[self.name].start
        return ["base"] if start is None else ["base", f"train-{start}"]

    def _path(self, kind: str, number: int) -> Path:
        return self.run.root / "stages" / self._named(kind, number)

    def _named(self, kind: str, number: int) -> str:
        first = kind == "measure" and number == 0
        return f"{kind}_{number}-{owner(self.bench, self.name) if first else self.name}"

    def _stage(self, kind: str, number: int, work: Callable[[Stage], None], after: Sequence[str]) -> Path:
        name = self._named(kind, number)
        decides = self.method.measured if (kind, number) == ("measure", 0) else to_dict(self.method)
        inputs = {"method": decides, "decode": to_dict(self.bench.recipe.decode)}
        if kind in ("feedback", "mend") and "verifier" in self.method.sources:
            inputs["verifier"] = code_of(self.method)  # a run does not go on with another one

        def told(stage: Stage) -> None:
            self.bench.tell(self.run, Progress(name, 0.0))
            work(stage)

        return self.run.stage(name, told, inputs=inputs, after=[*self._after, *after])

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
    def _watched_level(self) -> int:
        recipe = self.bench.recipe
        return recipe.headline.level if recipe.headline else recipe.evaluation.levels[-1]

    def dev(self) -> tuple[list[Problem], list[Problem], list[Problem]]:
        """Return the gate's problems, those of the curves (which decide nothing), and the forgetting set.

        Half of dev is the gate's; where examples are chosen they are tried on half of that half, and the gate has the
        rest: what decides on a round has decided on nothing before.
        """
        recipe = self.bench.recipe
        level, dev = self._watched_level, self.bench.problems("dev", self._watched_level)
        if len(dev) < 2:
            raise DataError("evaluation.dev_problems must be at least 2: half of them decide, half are watched.")
        if self.method.exemplars != "none" and len(dev) < 4:
            raise DataError("evaluation.dev_problems must be at least 4: a quarter of them decides on examples.")
        easy = recipe.evaluation.in_distribution
        before = self.bench.problems("dev", easy)[: len(dev) // 2] if easy is not None and easy != level else []
        return dev[::2] if self.method.exemplars == "none" else dev[::4], dev[1::2], before

    # -- a round -------------------------------------------------------------------------------------------------------

    def _round(self, number: int, best: int, models: Mapping[int, Path], decisions: Sequence[Decision]) -> Path:
        """Do one round and return its weights."""
        before = [self._named("measure", n) for n in range(number)]
        problems = {p.id: p for p in self.problems(number)}
        shots = self._shots(number, best)
        self._stage("answer", number, lambda stage: self._answer(stage, problems, models[best], shots), before)
        answered = [*before, f"answer_{number}-{self.name}"]
        self._stage(
            "feedback", number, lambda s: self._feedback(s, number, problems, models, best, decisions, shots), answered
        )
        heard = [*answered, f"feedback_{number}-{self.name}"]
        self._stage("vote", number, lambda stage: self._vote(stage, number), heard)
        after = [*heard, f"vote_{number}-{self.name}"]
        if self.method.mend != "none":
            self._stage(
                "mend", number, lambda s: self._mend(s, number, problems, models, best, decisions, shots), after
            )
            after.append(f"mend_{number}-{self.name}")
        if self.method.exemplars != "none":
            self._stage("prompt", number, lambda s: self._prompt(s, number, problems, models[best], shots), after)
            after.append(f"prompt_{number}-{self.name}")
        return self._train(number, problems, models, decisions, after)

    def _engine(self, model: Path) -> tuple[Engine, Render]:
        engine, render = self.bench.engine(model)
        return engine, render

    def _answer(self, stage: Stage, problems: Mapping[str, Problem], model: Path, shots: Sequence[Shot]) -> None:
        engine, render = self._engine(model)
        attempts = self.method.attempt(
            [*problems.values()], engine, render, self.bench.sampling, self.bench.task, shots
        )
        write_rows(stage.path / "attempts.jsonl", attempts)
        self._write_truth(stage, problems, attempts)
        example = next(iter(problems.values()))
        (stage.path / "prompt.txt").write_text(
            render.text(self.method.answer_prompt(example, render, shots)), encoding="utf-8"
        )
        ledger = Ledger(came=len(problems) * self.method.samples, kept=len(attempts))
        tokens = sum(len(a.token_ids) for a in attempts)
        write_json(stage.path / "counts.json", {**ledger.to_dict(), "problems": len(problems), "tokens": tokens})

    def _write_truth(self, stage: Stage, problems: Mapping[str, Problem], attempts: Sequence[Attempt]) -> None:
        score = self.bench.task.score
        truth = {a.key: score(problems[a.problem_id], a.text).value == 1 for a in attempts}
        write_json(stage.path / "truth.json", truth)

    def _feedback(
        self, stage: Stage, number: int, problems: Mapping[str, Problem], models: Mapping[int, Path], best: int,
        decisions: Sequence[Decision], shots: Sequence[Shot],
    ) -> None:  # fmt: skip
        attempts = read_rows(self._path("answer", number) / "attempts.jsonl", Attempt)
        heard = self._hear(stage, problems, attempts, models, best, decisions, shots)
        write_rows(stage.path / "critiques.jsonl", [c for own in heard.critiques.values() for c in own])
        write_json(stage.path / "counts.json", counted(heard))

    def _hear(
        self, stage: Stage, problems: Mapping[str, Problem], attempts: Sequence[Attempt], models: Mapping[int, Path],
        best: int, decisions: Sequence[Decision], shots: Sequence[Shot],
    ) -> Heard:  # fmt: skip
        """Have answers judged; those that wait for a person are queued, and the run stops where there are new ones."""

        def critic(source: str) -> Any:
            if source == "engine":
                from thinktwice.methods.evolve.outside import outside

                render = self.bench.render(self.run.root / "stages" / "base")
                found = outside(self.method, render, self.run.root / "critic", shots)
                done.callback(found.close)
                return found
            model = models[0] if source == "frozen" else models[best]
            if source == "ema":
                model = self._average(stage, models, decisions)
            return self.method.critic_of(*self._engine(model), shots)

        sampling, seed = self.bench.sampling, self.bench.recipe.seed
        with ExitStack() as done:
            heard = hear(self.method, problems, attempts, critic, self.bench.task, sampling, seed)
        queue = self.run.root / "review" / f"{self.name}.jsonl"
        if heard.waiting and write_queue(queue, heard.waiting):
            raise RunError(
                f"{len(heard.waiting)} answers of arm {self.name!r} wait for a person. thinktwice review {queue} "
                f"--out {self.method.reviewed}; then the same command goes on, with what was looked at by then."
            )
        return heard

    def _average(self, stage: Stage, models: Mapping[int, Path], decisions: Sequence[Decision]) -> Path:
        """Average the rounds that stand, each new one with share 1 - ema."""
        from thinktwice.train.merging import merge

        standing = [models[0], *(models[d.round] for d in decisions if d.choice == "promoted")]
        shares = [1.0]
        for _ in standing[1:]:
            shares = [*(share * self.method.ema for share in shares), 1 - self.method.ema]
        base = plain_base(self.run.root, self.bench.recipe, self.name)
        return merge(base, standing, stage.scratch / "average", shares=shares)

    def _vote(self, stage: Stage, number: int) -> None:
        critiques = read_rows(self._path("feedback", number) / "critiques.jsonl", Critique)
        voted = tally(self.method, critiques, self.bench.task, self.bench.recipe.seed)
        write_rows(stage.path / "voted.jsonl", voted)
        ledger = Ledger(came=len(voted))
        for each in voted:
            if each.chosen is None:
                ledger.drop("abstained" if each.verdict == "abstained" else each.verdict)
        ledger.kept = len(voted) - ledger.dropped.total()
        write_json(stage.path / "counts.json", ledger.to_dict())

    def _mend(
        self, stage: Stage, number: int, problems: Mapping[str, Problem], models: Mapping[int, Path], best: int,
        decisions: Sequence[Decision], shots: Sequence[Shot],
    ) -> None:  # fmt: skip
        attempts = read_rows(self._path("answer", number) / "attempts.jsonl", Attempt)
        voted = {v.key: v for v in read_rows(self._path("vote", number) / "voted.jsonl", Voted)}
        wrong = [
            (problems[a.problem_id], a, voted[a.key].chosen)
            for a in attempts
            if a.key in voted and voted[a.key].verdict == "incorrect"
        ]
        # Where one of a problem's answers was found right there is nothing to mend.
        solved = {a.problem_id for a in attempts if a.key in voted and voted[a.key].verdict == "correct"}
        unsolved = [row for row in wrong if row[0].id not in solved]
        pairs = [(p, a, critique) for p, a, critique in unsolved if critique is not None]
        engine, render = self._engine(models[best])
        mended = mending.mend(self.method, pairs, engine, render, self.bench.sampling, self.bench.task, shots)
        after = [m.after for m in mended]
        heard = self._hear(stage, problems, after, models, best, decisions, shots)
        critiques = [c for own in heard.critiques.values() for c in own]
        write_rows(stage.path / "mended.jsonl", mended)
        write_rows(stage.path / "critiques.jsonl", critiques)
        write_rows(stage.path / "voted.jsonl", tally(self.method, critiques, self.bench.task, self.bench.recipe.seed))
        self._write_truth(stage, problems, after)
        ledger = Ledger(came=len(attempts), kept=len(mended))
        ledger.drop("not found wrong", len(attempts) - len(wrong))
        ledger.drop("another answer was found right", len(wrong) - len(unsolved))
        ledger.drop("no line to put in", len(unsolved) - len(mended))
        tokens = sum(len(a.token_ids) for a in after) + heard.written
        write_json(stage.path / "counts.json", {**ledger.to_dict(), "tokens": tokens, "judged": counted(heard)})

    def _shots(self, number: int, best: int) -> tuple[Shot, ...]:
        """Return the examples of this round's prompts: what the last round that chose some adopted."""
        if self.method.exemplars == "none":
            return ()
        for n in range(number - 1, 0, -1):
            found = self.run.artefact(f"prompt_{n}-{self.name}", "shots.json")
            if found is not None:
                return tuple(parse(Shot, row, str(found)) for row in read_json(found))
        return first_shots(self.method, self.bench.task)

    def _prompt(
        self, stage: Stage, number: int, problems: Mapping[str, Problem], model: Path, shots: Sequence[Shot]
    ) -> None:
        attempts = read_rows(self._path("answer", number) / "attempts.jsonl", Attempt)
        voted = read_rows(self._path("vote", number) / "voted.jsonl", Voted)
        engine, render = self._engine(model)
        chosen = choose_shots(
            self.method, problems, attempts, voted, shots, self.bench.task, engine, render, self.bench.sampling,
            gate=self.bench.problems("dev", self._watched_level)[2::4],
            never=[*self.bench.task.splits["dev"], *self.bench.task.splits["test"]], seed=self.bench.recipe.seed,
        )  # fmt: skip
        write_json(stage.path / "shots.json", [to_dict(shot) for shot in chosen.shots])
        write_json(stage.path / "adoption.json", chosen.record)
        write_json(stage.path / "counts.json", chosen.counts)
        example = next(iter(problems.values()))
        prompt = render.text(self.method.answer_prompt(example, render, chosen.shots))
        (stage.path / "prompt.txt").write_text(prompt, encoding="utf-8")

    # -- training ------------------------------------------------------------------------------------------------------

    def _train(
        self, number: int, problems: Mapping[str, Problem], models: Mapping[int, Path],
        decisions: Sequence[Decision], after: Sequence[str],
    ) -> Path:  # fmt: skip
        method = self.method
        standing = [d.round for d in decisions if d.choice == "promoted"]

        def work(stage: Stage) -> None:
            rows, counts = self._rows(number, problems)
            earlier = [] if method.weights == "continue" else [
                trace for n in standing for trace in read_rows(self._path("train", n) / "learned.jsonl", Trace)
            ]  # fmt: skip
            write_rows(stage.path / "learned.jsonl", rows)
            warm, replayed = self._replay(len(rows) + len(earlier), number)
            counts["replayed"] = len(warm)
            counts["accumulated"] = len(earlier)
            counts["replay"] = replayed
            write_json(stage.path / "counts.json", counts)
            if not rows:
                raise DataError(
                    f"round {number} of arm {self.name!r} has nothing to learn: {counts}. Its critic accepts nothing; "
                    "see vote and counts.json of its stages."
                )
            self._fit(stage, number, [*rows, *earlier], warm, models, standing)

        path = self._stage("train", number, work, after)
        return path / "model"

    def _rows(self, number: int, problems: Mapping[str, Problem]) -> tuple[list[Trace], dict[str, Any]]:
        """Return what a round teaches, and what became of everything that came in."""
        render = self.bench.render(self.run.root / "stages" / "base")
        attempts = read_rows(self._path("answer", number) / "attempts.jsonl", Attempt)
        voted = {v.key: v for v in read_rows(self._path("vote", number) / "voted.jsonl", Voted)}
        truth: dict[str, bool] = read_json(self._path("answer", number) / "truth.json")
        mended: list[mending.Mended] = []
        if self.method.mend != "none":
            place = self._path("mend", number)
            mended = read_rows(place / "mended.jsonl", mending.Mended)
            voted |= {v.key: v for v in read_rows(place / "voted.jsonl", Voted)}
            truth |= read_json(place / "truth.json")
        seed = self.bench.recipe.seed + number
        return lesson(self.method, problems, attempts, mended, voted, truth, render, seed)

    def _replay(self, new: int, number: int) -> tuple[list[Trace], dict[str, int]]:
        start = self.bench.recipe.arms[self.name].start
        if start is None or not self.method.replay:
            return [], {"asked": 0, "pool": 0}
        pool = read_rows(self.run.root / "stages" / f"collect-{start}" / "traces.jsonl", Trace)
        share = self.method.replay
        wanted = round(new * share / (1 - share))
        kept = random.Random(f"replay/{self.bench.recipe.seed}/{number}").sample(pool, min(wanted, len(pool)))
        return kept, {"asked": wanted, "pool": len(pool)}

    def _fit(
        self, stage: Stage, number: int, rows: Sequence[Trace], warm: Sequence[Trace], models: Mapping[int, Path],
        standing: Sequence[int],
    ) -> None:  # fmt: skip
        from thinktwice.train import StepReport, fit
        from thinktwice.train.merging import merge

        bench, method, name = self.bench, self.method, f"train_{number}-{self.name}"
        base = plain_base(self.run.root, bench.recipe, self.name)
        root = self.run.root / "stages" / "base"
        previous = models[standing[-1] if standing else 0]
        bench.release()
        render = bench.render(root)
        by_id = {p.id: p for p in bench.task.splits["train"]}
        every = [*by_id.values()]
        examples = [*method.learned(every, rows, render), *method.examples(every, warm, render)]

        def report(step: StepReport) -> None:
            note = f"step {step.step} of {step.steps} · loss {step.loss:.3f}"
            bench.tell(self.run, Progress(name, step.step / step.steps, note, step.tokens_per_second, step.eta_s))

        over: Path | None = None
        place = root.resolve()
        if method.weights == "continue" and previous.resolve() != place:
            adapter = (previous / "adapter_config.json").is_file()
            place, over = (base.resolve(), previous.resolve()) if adapter else (previous.resolve(), None)
        work = stage.scratch / "fit"
        model = fit(examples, place, work, bench.settings[self.name], progress=report, start=over)
        if method.weights in ("average", "ties"):
            tuned = [*(self._path("train", n) / "tuned" for n in standing), model]  # what was trained, not the merges
            merge(root, tuned, stage.path / "model", policy=method.weights)
            model.rename(stage.path / "tuned")
        else:
            model.rename(stage.path / "model")
        for path in work.iterdir():
            if path.is_file():
                path.rename(stage.path / path.name)

    # -- measuring -----------------------------------------------------------------------------------------------------

    def _measure(self, number: int, model: Path, started: Path, decisions: Sequence[Decision]) -> Measured:
        """Measure a model on dev, and decide whether its round stands."""
        after = [f"train_{number}-{self.name}"] if number else []

        def work(stage: Stage) -> None:
            gate, watched, easy = self.dev()
            engine, render = self._engine(model)
            start = None if number == 0 else self._path("measure", 0)
            found = measure(
                self.method, engine, render, self.bench.task, self.bench.sampling, gate, watched, easy, start=start,
                start_engine=(lambda: self._engine(started)[0]) if number else None,
                seed=self.bench.recipe.evaluation.seed,
            )  # fmt: skip
            found.save(stage.path)
            if number:
                best = decisions[-1].best if decisions else 0
                so_far, first = (reading(self._path("measure", n)) for n in (best, 0))
                decision = decide(self.method.guards, number, found.reading, so_far, first, decisions)
                write_json(stage.path / "decision.json", to_dict(decision))

        path = self._stage("measure", number, work, after)
        return Measured.load(path)

    def _decision(self, number: int) -> Decision:
        return parse(Decision, read_json(self._path("measure", number) / "decision.json"), "decision.json")

    def _refused(self, started: Measured) -> bool:
        method = self.method
        own = {"self", "frozen", "ema", "shuffled", "generic"} & set(method.sources)
        return bool(
            method.rounds and method.guards.on and method.guards.critic and own and not started.critic_above_chance
        )

    def _seal(self, models: Mapping[int, Path], decisions: Sequence[Decision], measured: Sequence[Measured]) -> Path:
        """Give the arm the weights of the last round that stands."""
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
                    "counts": [self._counts(n) for n in range(1, len(measured))],
                },
            )

        after = [self._named("measure", n) for n in range(len(measured))]
        after += [f"train_{n}-{self.name}" for n in range(1, len(measured))]
        path = self.run.stage(f"train-{self.name}", work, after=[*self._after, *after])
        return path / "model"

    def _counts(self, number: int) -> dict[str, Any]:
        files = {kind: self._path(kind, number) / "counts.json" for kind in _kinds(self.method)}
        return {kind: read_json(path) for kind, path in files.items() if path.is_file()}


def counted(heard: Heard) -> dict[str, Any]:
    """Return the counts of what was said: in = kept + dropped, the critics' tokens, and rows that nobody can read."""
    bad = {"bad_rows": heard.bad_rows} if heard.bad_rows else {}
    return {**heard.ledger.to_dict(), "tokens": heard.written, **bad}


def _link(source: "str | Path", target: "str | Path") -> str:
    """Give a file a second name; a copy where the disk cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return str(target)
