"""The order of the verbs: collect → examples → train → solve, for every arm of a recipe, on the same problems.

Law: choices are made on dev, test is read once, and every stage can be killed: the same command goes on from the last
sealed stage, and inside training and solving from the last checkpoint and the last answered problem.
"""

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from thinktwice.answer import base_directory, load_engine, plain_base
from thinktwice.config import Recipe, merge, parse, to_dict
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods import Calibrated, Explaining, Fitted, Method, Posing, Silenced, build_method
from thinktwice.methods.baseline import Baseline
from thinktwice.methods.evolve import Evolve
from thinktwice.pipeline.generations import write_generations
from thinktwice.pipeline.lines import read_rows, write_rows
from thinktwice.pipeline.posing import pose, read_posed
from thinktwice.pipeline.results import Results, cell, describe_failure, failures, key_of
from thinktwice.pipeline.rounds import Arm, Rounds, plan
from thinktwice.pipeline.trackers import Tracked, Trackers
from thinktwice.records import Note, TraceRecord
from thinktwice.render import Render
from thinktwice.run import Progress, Run, Stage, read_json, write_json
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.types import ControlToken, Pair, Problem, Sampling, Score, Task, Trace

__all__ = [
    "Bench",
    "Listener",
    "Progress",
    "Results",
    "cell",
    "describe_failure",
    "failures",
    "run_recipe",
    "train_arm",
]

log = logging.getLogger(__name__)

CHUNK = 128
"""Problems solved between two writes to the traces: what a kill can cost."""

Listener = Callable[[Progress], None]


def run_recipe(
    recipe: Recipe,
    root: Path,
    *,
    progress: Listener | None = None,
    allow_code_change: bool = False,
    until_round: int | None = None,
) -> Path:
    """Do everything a recipe says, or go on with it, and return the run directory.

    With `until_round` every arm that goes round stops behind that round, and nothing is solved: one job of a chain.

    Raises:
        ConfigError: the recipe names something that does not exist.
        RunError: the directory belongs to another recipe, other code, or another process.
        TrainError: training must not go on.
    """
    trackers = Trackers(recipe.report_to)
    bench = Bench(recipe, both(trackers.listen, progress))
    opened = Run.open(root, recipe.deciding(), allow_code_change=allow_code_change)
    with opened as run, trackers.following(Tracked(recipe.name, recipe.deciding(), run.trackers_path)):
        run.begin(bench.plan(), device_memory)
        bench.prepare(run)
        if until_round is not None:
            for name in filter(bench.goes_round, recipe.arms):
                Rounds(Arm(bench, run, name)).finish(until_round)
            return root
        for name in recipe.arms:
            bench.solve(run, name)
        bench.tell(run, Progress("summary", 0.0))
        render = bench.render(run.root / "stages" / "base")
        results = Results(
            run,
            recipe,
            bench.task,
            bench.methods,
            bench.problems,
            render,
            lambda name: bench.weights(run, name),
            bench.poser,
        )
        summary = results.summarise()
        run.write_summary(to_dict(summary))
        trackers.conclude(summary)
    return root


def train_arm(recipe: Recipe, root: Path, arm: str, *, progress: Listener | None = None) -> Path:
    """Train one arm of a recipe and return its model directory."""
    if arm not in recipe.arms or not recipe.arms[arm].trains:
        trainable = [name for name, a in recipe.arms.items() if a.trains]
        raise ConfigError(f"arm {arm!r} trains no weights of its own. Arms that do: {', '.join(trainable)}.")
    trackers = Trackers(recipe.report_to)
    bench = Bench(recipe, both(trackers.listen, progress))
    opened = Run.open(root, recipe.deciding())
    with opened as run, trackers.following(Tracked(recipe.name, recipe.deciding(), run.trackers_path)):
        run.begin([*bench.first_stages, *bench.training_stages(arm)], device_memory)
        bench.prepare(run)
        return bench.weights(run, arm)


def both(first: Listener, second: Listener | None) -> Listener:
    """Return a listener that tells two."""

    def listen(progress: Progress) -> None:
        first(progress)
        if second is not None:
            second(progress)

    return listen


class Bench:
    """One recipe's task, methods and models, loaded once and shared by its arms."""

    def __init__(self, recipe: Recipe, listen: Listener) -> None:
        """Build task and methods, so that every mistake in a recipe shows before any work is done."""
        from thinktwice.train.settings import Training

        self.recipe = recipe
        self.listen = listen
        shared = merge({"seed": recipe.seed}, recipe.train)
        parse(Training, shared, "train")
        self.settings = {
            name: parse(Training, merge(shared, arm.train), f"arms.{name}.train") for name, arm in recipe.arms.items()
        }
        self.methods: dict[str, Method] = {}
        for name in recipe.arms:
            spec = recipe.method_of(name)
            self.methods[name] = build_method(spec.name, spec.options)
        for name, method in self.methods.items():
            if isinstance(method, Silenced):  # an arm stands on a base that has the other arms' tokens
                own = {token.token for token in _tokens_of(method)}
                others = [token.token for token in self.control_tokens if token.token not in own]
                silenced = tuple(dict.fromkeys((*method.silenced, *others)))
                self.methods[name] = replace(cast(Any, method), silenced=silenced)
        posing: object = build_method(recipe.method.name, recipe.method.options)
        self.poser: Posing | None = posing if isinstance(posing, Posing) else None
        """The recipe's method, where it has problems of its own."""
        self.task: Task = load_task(recipe.task.name, **recipe.task.options)
        """The recipe's task; once its problems are posed, those."""
        check_disjoint(self.task)
        self._loaded: tuple[Path, Any, Render] | None = None

    def tell(self, run: Run, progress: Progress) -> None:
        """Say how far the work is, to the caller and to those who watch the directory."""
        run.tell(progress)
        self.listen(progress)

    def plan(self) -> list[str]:
        """List every stage in the order they are done."""
        stages = [*self.first_stages]
        for name, arm in self.recipe.arms.items():
            source = arm.weights or name
            if self.recipe.arms[source].trained:
                stages += self.training_stages(source)
            if self._calibrates(name):
                stages.append(f"calibrate-{name}")
            stages.append(f"solve-{name}")
        return [*dict.fromkeys(stages), "summary"]

    @property
    def first_stages(self) -> list[str]:
        """What every arm stands on: the base, and the problems where the method makes its own."""
        return ["base"] if self.poser is None else ["base", "pose"]

    def training_stages(self, name: str) -> list[str]:
        """List what leads to an arm's own weights, those it starts from included, in the order it is done."""
        start = self.recipe.arms[name].start
        before = self.training_stages(start) if start is not None else []
        if self.goes_round(name):
            return [*before, *plan(self, name)]
        return [*before, f"collect-{name}", f"train-{name}"]

    def goes_round(self, name: str) -> bool:
        """Say whether an arm's method is trained in rounds."""
        method = self.methods[name]
        return isinstance(method, Evolve) and method.rounds > 0

    def _calibrates(self, name: str) -> bool:
        return isinstance(self.methods[name], Calibrated) and self.recipe.evaluation.dev_problems > 0

    # -- data ----------------------------------------------------------------------------------------------------------

    def problems(self, split: str, level: int) -> list[Problem]:
        """Return the problems of a level that this recipe scores, always the same ones."""
        wanted = self.recipe.evaluation.problems if split == "test" else self.recipe.evaluation.dev_problems
        found = [p for p in self.task.splits[split] if level in (0, p.level)][:wanted]
        if not found and wanted:
            raise DataError(f"{self.task.name} has no {split} problems at level {level}. Change evaluation.levels.")
        return found

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """Every token any arm adds: all arms start from one base."""
        return tuple(dict.fromkeys(token for method in self.methods.values() for token in _tokens_of(method)))

    # -- stages --------------------------------------------------------------------------------------------------------

    def prepare(self, run: Run) -> None:
        """Give the base model the control tokens of every arm, untrained, and save it; have the problems posed."""

        def work(stage: Stage) -> None:
            from thinktwice.train import vocab

            self.tell(run, Progress("base", 0.0))
            base = base_directory(self.recipe.model)
            vocab.prepare_base(base, stage.path, self.control_tokens, seed=self.recipe.seed)

        run.stage("base", work)
        if self.poser is not None:
            self._pose(run, self.poser)

    def _pose(self, run: Run, poser: Posing) -> None:
        """Replace the task's problems by the method's own, made once for all arms."""

        def work(stage: Stage) -> None:
            self.tell(run, Progress("pose", 0.0))
            engine, render = self.engine(run.root / "stages" / "base")
            pose(poser, self.task, engine, render, self.recipe.seed, stage)

        path = run.stage("pose", work, after=["base"])
        self.task = replace(self.task, splits=read_posed(path), oracle=None)
        check_disjoint(self.task)

    def weights(self, run: Run, name: str) -> Path:
        """Return the directory of the model an arm runs on, training it first where it must be."""
        arm = self.recipe.arms[name]
        if arm.weights:
            return self.weights(run, arm.weights)
        if not arm.trained:
            return run.root / "stages" / "base"
        if self.goes_round(name):
            return Rounds(Arm(self, run, name)).finish()
        method, before = self.methods[name], [*self.first_stages]
        if arm.start is not None:
            self.weights(run, arm.start)
            before.append(f"train-{arm.start}")
        run.stage(f"collect-{name}", lambda stage: self._collect(run, name, method, stage), after=before)
        after = [*before, f"collect-{name}"]
        run.stage(f"train-{name}", lambda stage: self._train(run, name, method, stage), after=after)
        return run.root / "stages" / f"train-{name}" / "model"

    def start(self, run: Run, name: str) -> Path:
        """Return the model that an arm's training starts from: the base, or another arm's trained weights."""
        start = self.recipe.arms[name].start
        return run.root / "stages" / "base" if start is None else run.root / "stages" / f"train-{start}" / "model"

    def _collect(self, run: Run, name: str, method: Method, stage: Stage) -> None:
        self.tell(run, Progress(f"collect-{name}", 0.0))
        engine, render = self.engine(self.start(run, name))
        train = list(self.task.splits["train"])
        if isinstance(method, Fitted):
            method = method.prepare(train, engine, render, self.task, self.recipe.seed, stage.path / "fitted")
        traces = method.collect(train, engine, render, self.task, self.recipe.seed)
        if not traces:
            raise DataError(
                f"arm {name!r} collected nothing from {len(train)} training problems. Do they have solutions?"
            )
        write_rows(stage.path / "traces.jsonl", traces)
        write_json(stage.path / "counts.json", {"problems": len(train), "traces": len(traces)})

    def _train(self, run: Run, name: str, method: Method, stage: Stage) -> None:
        from thinktwice.train import StepReport, fit

        self.tell(run, Progress(f"train-{name}", 0.0, "making examples"))
        base, start = plain_base(run.root, self.recipe, name), self.start(run, name)
        self.release()
        render = self.render(start)
        traces = read_rows(run.root / "stages" / f"collect-{name}" / "traces.jsonl", Trace)
        examples = method.examples(self.task.splits["train"], traces, render)
        pairs = [example for example in examples if isinstance(example, Pair)]
        if pairs:
            write_rows(stage.path / "pairs.jsonl", pairs)  # for `thinktwice show`

        def report(step: StepReport) -> None:
            note = f"step {step.step} of {step.steps} · loss {step.loss:.3f}"
            if step.preference is not None:
                note += f" · chosen preferred in {step.preference.accuracy:.0%}"
            share = step.step / step.steps
            numbers = {key: value for key, value in step.to_dict().items() if key != "step" and value is not None}
            told = (note, step.tokens_per_second, step.eta_s, step.step, numbers)
            self.tell(run, Progress(f"train-{name}", share, *told))

        work = stage.scratch / "fit"
        evaluate = self._examiner(method, render, stage) if self.recipe.evaluation.num_test else None
        settings, over = self.settings[name], None if start == base else start.resolve()
        dev: list[Any] = []
        if self.poser is not None:  # what is chosen between is learned, and held out, in one form
            held = self.task.splits["dev"]
            dev = [*method.examples(held, method.collect(held, None, render, self.task, self.recipe.seed), render)]
        model = fit(examples, base.resolve(), work, settings, dev=dev, progress=report, evaluate=evaluate, start=over)
        model.rename(stage.path / "model")
        for path in work.iterdir():
            if path.is_file():
                path.rename(stage.path / path.name)

    def _examiner(self, method: Method, render: Render, stage: Stage) -> Callable[[Any], float]:
        """Return what answers dev problems inside the training loop: always the same ones, drawn once each."""
        levels = self.recipe.evaluation.levels
        dev = [p for p in self.task.splits["dev"] if 0 in levels or p.level in levels]
        chosen = random.Random(self.recipe.evaluation.seed).sample(dev, min(self.recipe.evaluation.num_test, len(dev)))
        if not chosen:
            raise DataError(f"{self.task.name} has no dev problems for evaluation.num_test. Set it to 0.")
        write_json(stage.path / "num_test.json", [p.id for p in chosen])

        def accuracy(model: Any) -> float:
            from thinktwice.engines.local import LocalEngine
            from thinktwice.train.objective import unwrap

            engine: Any = LocalEngine(
                unwrap(model), cast(Any, render.tokenizer), batch_size=self.recipe.decode.batch_size
            )
            traces = method.solve(chosen, engine, render, self.sampling)
            return sum(self.judge(p, t).value for p, t in zip(chosen, traces, strict=True)) / len(chosen)

        return accuracy

    def calibrated(self, run: Run, name: str) -> Method:
        """Return an arm's method with the choices that dev makes."""
        method = self.methods[name]
        if not self._calibrates(name):
            return method
        level = self.recipe.headline.level if self.recipe.headline else self.recipe.evaluation.levels[-1]

        def work(stage: Stage) -> None:
            self.tell(run, Progress(f"calibrate-{name}", 0.0))
            engine, render = self.engine(self.weights(run, name))
            assert isinstance(method, Calibrated)
            chosen, record = method.calibrate(self.problems("dev", level), engine, render, self.sampling, self.task)
            write_json(stage.path / "method.json", to_dict(chosen))
            write_json(stage.path / "calibration.json", record)

        weights = self.weights(run, name)
        source = weights.parent.name if weights.name == "model" else weights.name
        path = run.stage(f"calibrate-{name}", work, after=[source])
        return parse(type(method), read_json(path / "method.json"), f"stages/calibrate-{name}")

    def solve(self, run: Run, name: str) -> None:
        """Answer every test problem with one arm; answered ones are not answered again."""
        weights = self.weights(run, name)
        method = self.with_matched_tokens(run, name, self.calibrated(run, name))
        source = weights.parent.name if weights.name == "model" else weights.name
        inputs = {"method": to_dict(method), "decode": to_dict(self.recipe.decode)}
        after = [source] if self.poser is None else [source, "pose"]

        def work(stage: Stage) -> None:
            rows = run.traces(name, inputs=inputs, after=after)
            total = [(level, p) for level in self.recipe.evaluation.levels for p in self.problems("test", level)]
            left = [(level, p) for level, p in total if key_of(level, p) not in rows.done]
            self._tell_solved(run, name, len(total) - len(left), len(total))
            engine, render = self.engine(weights)
            for start in range(0, len(left), CHUNK):
                started = time.monotonic()
                chunk = left[start : start + CHUNK]
                traces = method.solve([p for _, p in chunk], engine, render, self.sampling)
                records = [
                    self.record(name, level, p, trace, method, render)
                    for (level, p), trace in zip(chunk, traces, strict=True)
                ]
                rows.append([to_dict(record) for record in records])
                done = len(total) - len(left) + start + len(chunk)
                rate = sum(t.sampled_tokens for t in traces) / max(1e-9, time.monotonic() - started)
                self._tell_solved(run, name, done, len(total), rate)
            write_json(stage.path / "method.json", to_dict(method))
            replies = {key: parse(TraceRecord, row, name).trace.reply for key, row in rows.done.items()}
            write_generations(
                stage.path / "generations.txt",
                [(p.prompt, replies[key_of(level, p)], p.solution or p.answer) for level, p in total],
            )

        run.stage(f"solve-{name}", work, inputs=inputs, after=after, traces=[name])

    def _tell_solved(self, run: Run, name: str, done: int, total: int, rate: float | None = None) -> None:
        note = f"{done} of {total} problems"
        log.info("solve-%s: %s", name, note)
        self.tell(run, Progress(f"solve-{name}", done / total, note, rate))

    def record(
        self, name: str, level: int, problem: Problem, trace: Trace, method: Method, render: Render
    ) -> TraceRecord:
        """Score an answer, and say what went wrong with it."""
        score = self.judge(problem, trace)
        failure = describe_failure(problem, trace, score, self.task.oracle)
        notes: tuple[Note, ...] = ()
        if isinstance(method, Explaining):
            why, notes = method.explain(problem, trace, render)
            failure = failure and (why or failure)
        key = key_of(level, problem)
        return TraceRecord(
            key, name, level, problem.prompt, problem.answer, trace, score, failure, problem.support, notes
        )

    def judge(self, problem: Problem, trace: Trace) -> Score:
        """Score a trace; one that ended in an error is not scored, which is counted, not hidden."""
        if trace.stop == "error":
            return Score(0.0, None, trace.error or "the row failed", scored=False)
        if self.poser is not None:
            return self.poser.judge(problem, trace)
        return self.task.score(problem, trace.conclusion)

    def with_matched_tokens(self, run: Run, name: str, method: Method) -> Method:
        """Give an arm as many samples a problem as spend at least the sampled tokens of the arm it is matched to.

        At least 3, below which a vote cannot correct anything: the control never gets less than the method did.
        """
        arm = self.recipe.arms[name]
        if arm.match_tokens is None:
            return method
        if not isinstance(method, Baseline):
            raise ConfigError(f"arms.{name}.match_tokens: only the baseline can answer several times. Set method.name.")
        spent, single = (self._tokens(run, other) for other in (arm.match_tokens, arm.weights or name))
        return replace(method, samples=max(3, math.ceil(spent / single)))

    def _tokens(self, run: Run, name: str) -> float:
        rows = [parse(TraceRecord, row, name) for row in run.traces(name).done.values()]
        if not rows:
            raise ConfigError(
                f"match_tokens: arm {name!r} must come first in `arms`; it has not answered anything yet."
            )
        return sum(row.trace.sampled_tokens for row in rows) / len(rows)

    # -- models --------------------------------------------------------------------------------------------------------

    @property
    def sampling(self) -> Sampling:
        """How every arm writes."""
        decode = self.recipe.decode
        return Sampling(decode.temperature, decode.top_p, decode.top_k, decode.max_new_tokens, seed=self.recipe.seed)

    def engine(self, model: Path) -> tuple[Any, Render]:
        """Load a model, and let go of the one before."""
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None
            chosen = self.recipe.model
            engine = load_engine(
                model,
                dtype=chosen.dtype,
                device=chosen.device,
                batch_size=self.recipe.decode.batch_size,
                attention=chosen.attention,
            )
            self._loaded = model, engine, Render(cast(Any, engine.tokenizer), chosen.template)
        return self._loaded[1:]

    def release(self) -> None:
        """Let go of the model, since what comes needs the room."""
        self._loaded = None

    def render(self, model: Path) -> Render:
        """Load a model's tokenizer alone."""
        from thinktwice.train.vocab import load_tokenizer

        return Render(cast(Any, load_tokenizer(model)), self.recipe.model.template)


def _tokens_of(method: Method) -> tuple[ControlToken, ...]:
    """Return the tokens a method adds; an idea about decoding alone has no such property."""
    return getattr(method, "control_tokens", ())


def device_memory() -> int | None:
    """Return the most bytes that tensors held on the fullest GPU since this was last asked; None while none is used."""
    import torch

    cuda: Any = torch.cuda  # Any: torch does not type all of these
    if not cuda.is_initialized():
        return None
    devices = range(cuda.device_count())
    most = max(int(cuda.max_memory_allocated(device)) for device in devices)
    for device in devices:
        cuda.reset_peak_memory_stats(device)
    return most
