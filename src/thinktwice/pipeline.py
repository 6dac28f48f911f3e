"""The order of the verbs: collect → examples → train → solve, for every arm of a recipe, on the same problems.

Law: choices are made on dev, test is read once, and every stage can be killed: the same command goes on from the last
sealed stage, and inside training and solving from the last checkpoint and the last answered problem.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from thinktwice.answer import base_directory, load_engine
from thinktwice.config import Recipe, merge, parse, to_dict
from thinktwice.errors import ConfigError, DataError, RunError
from thinktwice.methods import Calibrated, Method, Retracting, build_method
from thinktwice.methods.baseline import Baseline
from thinktwice.records import Cell, Comparison, Retraction, Summary, Threshold, ThresholdPoint, TraceRecord
from thinktwice.render import Render
from thinktwice.run import Run, Stage, read_json, write_json
from thinktwice.scoring import stats
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.types import ControlToken, Example, Oracle, Problem, Sampling, Score, Task, Trace

CHUNK = 128
"""Problems solved between two writes to the traces: what a kill can cost."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    stage: str
    done: float
    """Share of the stage, 0 to 1."""
    note: str = ""


Listener = Callable[[Progress], None]


def run_recipe(
    recipe: Recipe, root: Path, *, progress: Listener | None = None, allow_code_change: bool = False
) -> Path:
    """Do everything a recipe says, or go on with it, and return the run directory.

    Raises:
        ConfigError: the recipe names something that does not exist.
        RunError: the directory belongs to another recipe, other code, or another process.
        TrainError: training must not go on.
    """
    bench = Bench(recipe, progress or (lambda _: None))
    with Run.open(root, to_dict(recipe), allow_code_change=allow_code_change) as run:
        bench.prepare(run)
        for name in recipe.arms:
            bench.solve(run, name)
        run.write_summary(to_dict(bench.summarise(run)))
    return root


def train_arm(recipe: Recipe, root: Path, arm: str, *, progress: Listener | None = None) -> Path:
    """Train one arm of a recipe and return its model directory."""
    if arm not in recipe.arms or not recipe.arms[arm].trains:
        trainable = [name for name, a in recipe.arms.items() if a.trains]
        raise ConfigError(f"arm {arm!r} trains no weights of its own. Arms that do: {', '.join(trainable)}.")
    bench = Bench(recipe, progress or (lambda _: None))
    with Run.open(root, to_dict(recipe)) as run:
        bench.prepare(run)
        return bench.weights(run, arm)


class Bench:
    """One recipe's task, methods and models, loaded once and shared by its arms."""

    def __init__(self, recipe: Recipe, listen: Listener) -> None:
        """Build task and methods, so that every mistake in a recipe shows before any work is done."""
        from thinktwice.train.settings import Training

        self.recipe = recipe
        self.listen = listen
        self.settings = parse(Training, merge({"seed": recipe.seed}, recipe.train), "train")
        self.methods: dict[str, Method] = {}
        for name in recipe.arms:
            spec = recipe.method_of(name)
            self.methods[name] = build_method(spec.name, spec.options)
        for name, method in self.methods.items():
            if isinstance(method, Baseline):  # a plain arm stands on a base that has the other arms' tokens
                silenced = dict.fromkeys((*method.silenced, *(token.token for token in self.control_tokens)))
                self.methods[name] = replace(method, silenced=tuple(silenced))
        self.task: Task = load_task(recipe.task.name, **recipe.task.options)
        check_disjoint(self.task)
        self._loaded: tuple[Path, Any, Render] | None = None

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
        return tuple(dict.fromkeys(token for method in self.methods.values() for token in method.control_tokens))

    # -- stages --------------------------------------------------------------------------------------------------------

    def prepare(self, run: Run) -> None:
        """Give the base model the control tokens of every arm, untrained, and save it."""

        def work(stage: Stage) -> None:
            from thinktwice.train import vocab

            base = base_directory(self.recipe.model)
            vocab.prepare_base(base, stage.path, self.control_tokens, seed=self.recipe.seed)

        self.listen(Progress("base", 0.0))
        run.stage("base", work)

    def weights(self, run: Run, name: str) -> Path:
        """Return the directory of the model an arm runs on, training it first where it must be."""
        arm = self.recipe.arms[name]
        if arm.weights:
            return self.weights(run, arm.weights)
        if not arm.trained:
            return run.root / "stages" / "base"
        method = self.methods[name]
        run.stage(f"collect-{name}", lambda stage: self._collect(run, name, method, stage), after=["base"])
        run.stage(
            f"train-{name}", lambda stage: self._train(run, name, method, stage), after=["base", f"collect-{name}"]
        )
        return run.root / "stages" / f"train-{name}" / "model"

    def _collect(self, run: Run, name: str, method: Method, stage: Stage) -> None:
        self.listen(Progress(f"collect-{name}", 0.0))
        engine, render = self.engine(run.root / "stages" / "base")
        train = list(self.task.splits["train"])
        traces = method.collect(train, engine, render, self.task, self.recipe.seed)
        if not traces:
            raise DataError(
                f"arm {name!r} collected nothing from {len(train)} training problems. Do they have solutions?"
            )
        write_traces(stage.path / "traces.jsonl", traces)
        write_json(stage.path / "counts.json", {"problems": len(train), "traces": len(traces)})

    def _train(self, run: Run, name: str, method: Method, stage: Stage) -> None:
        from thinktwice.train import StepReport, fit

        base = run.root / "stages" / "base"
        self._loaded = None  # the trainer needs the room
        render = self.render(base)
        traces = read_traces(run.root / "stages" / f"collect-{name}" / "traces.jsonl")
        examples: list[Example] = method.examples(self.task.splits["train"], traces, render)

        def report(step: StepReport) -> None:
            note = f"loss {step.loss:.3f} · {step.tokens_per_second:,.0f} tokens/s · {step.eta_s:.0f} s left"
            self.listen(Progress(f"train-{name}", step.step / step.steps, note))

        work = stage.scratch / "fit"
        model = fit(examples, base.resolve(), work, self.settings, progress=report)
        model.rename(stage.path / "model")
        for path in work.iterdir():
            if path.is_file():
                path.rename(stage.path / path.name)

    def calibrated(self, run: Run, name: str) -> Method:
        """Return an arm's method with the choices that dev makes."""
        method = self.methods[name]
        if not isinstance(method, Calibrated) or not self.recipe.evaluation.dev_problems:
            return method
        level = self.recipe.headline.level if self.recipe.headline else self.recipe.evaluation.levels[-1]

        def work(stage: Stage) -> None:
            self.listen(Progress(f"calibrate-{name}", 0.0))
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

        def work(stage: Stage) -> None:
            rows = run.traces(name, inputs=inputs, after=[source])
            total = [(level, p) for level in self.recipe.evaluation.levels for p in self.problems("test", level)]
            left = [(level, p) for level, p in total if self._key(level, p) not in rows.done]
            engine, render = self.engine(weights)
            for start in range(0, len(left), CHUNK):
                started = time.monotonic()
                chunk = left[start : start + CHUNK]
                traces = method.solve([p for _, p in chunk], engine, render, self.sampling)
                records = [self.record(name, level, p, trace) for (level, p), trace in zip(chunk, traces, strict=True)]
                rows.append([to_dict(record) for record in records])
                done = len(total) - len(left) + start + len(chunk)
                rate = sum(t.sampled_tokens for t in traces) / max(1e-9, time.monotonic() - started)
                note = f"{done}/{len(total)} problems · {rate:,.0f} tokens/s"
                self.listen(Progress(f"solve-{name}", done / len(total), note))
            write_json(stage.path / "method.json", to_dict(method))

        run.stage(f"solve-{name}", work, inputs=inputs, after=[source], traces=[name])

    def record(self, name: str, level: int, problem: Problem, trace: Trace) -> TraceRecord:
        """Score an answer, and say what went wrong with it."""
        score = self.judge(problem, trace)
        failure = describe_failure(problem, trace, score, self.task.oracle)
        key = self._key(level, problem)
        return TraceRecord(key, name, level, problem.prompt, problem.answer, trace, score, failure)

    def judge(self, problem: Problem, trace: Trace) -> Score:
        """Score a trace; one that ended in an error is not scored, which is counted, not hidden."""
        if trace.stop == "error":
            return Score(0.0, None, trace.error or "the row failed", scored=False)
        return self.task.score(problem, trace.reply)

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

    # -- results -------------------------------------------------------------------------------------------------------

    def summarise(self, run: Run) -> Summary:
        """Read every trace back and count."""
        records = {name: self._records(run, name) for name in self.recipe.arms}
        levels = self.recipe.evaluation.levels
        arms = {
            name: {level: cell([r for r in rows if r.level == level]) for level in levels}
            for name, rows in records.items()
        }
        pairs = self._pairs()
        comparisons = tuple(self._compare(records, a, b, level) for level in levels for a, b in pairs)
        head = self.recipe.headline
        headline = next((c for c in comparisons if head and (c.a, c.b, c.level) == (head.a, head.b, head.level)), None)
        return Summary(
            arms=arms,
            comparisons=comparisons,
            headline=headline,
            retraction=self._retraction(run, records),
            threshold=self._threshold(run),
            failures={"quarantined lines": self.task.quarantined, **failures(records)},
            seconds=run.seconds(),
        )

    def _records(self, run: Run, name: str) -> list[TraceRecord]:
        rows = run.traces(name).done
        keys = [self._key(level, p) for level in self.recipe.evaluation.levels for p in self.problems("test", level)]
        missing = [key for key in keys if key not in rows]
        if missing:
            raise RunError(f"arm {name!r} has no answer to {len(missing)} problems. Run the recipe again to go on.")
        return [parse(TraceRecord, rows[key], f"traces/{name}.jsonl") for key in keys]

    def _pairs(self) -> list[tuple[str, str]]:
        """List the comparisons: the headline's arm against every other, and what splits its gain."""
        names = list(self.recipe.arms)
        head = self.recipe.headline
        if head is None:
            return [(a, names[0]) for a in names[1:]]
        pairs = [(head.a, name) for name in (head.b, *(n for n in names if n not in (head.a, head.b)))]
        extra = [(name, head.b) for name in names if name not in (head.a, head.b)]
        return [*pairs, *extra]

    def _compare(self, records: Mapping[str, Sequence[TraceRecord]], a: str, b: str, level: int) -> Comparison:
        values = [[r.score.value for r in records[name] if r.level == level] for name in (a, b)]
        found = stats.paired_difference(values[0], values[1], seed=self.recipe.evaluation.seed)
        return Comparison(a, b, level, found.value, found.ci, stats.mcnemar(values[0], values[1]))

    def _retraction(self, run: Run, records: Mapping[str, Sequence[TraceRecord]]) -> dict[str, dict[int, Retraction]]:
        render = self.render(run.root / "stages" / "base")
        found: dict[str, dict[int, Retraction]] = {}
        for name, method in self.methods.items():
            if not isinstance(method, Retracting):
                continue
            for level in self.recipe.evaluation.levels:
                traces = [r.trace for r in records[name] if r.level == level]
                judged = method.retractions(self.problems("test", level), traces, render, self.task)
                found.setdefault(name, {})[level] = judged
        return found

    def _threshold(self, run: Run) -> Threshold | None:
        head = self.recipe.headline
        path = run.artefact(f"calibrate-{head.a}", "calibration.json") if head else None
        record = read_json(path) if path else {}
        if not record:
            return None
        points = tuple(
            ThresholdPoint(p["bias"], p["precision"], p["recall"], record["accuracy"].get(str(p["bias"])))
            for p in record["curve"]
        )
        return Threshold(record["bias"], points)

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

    def render(self, model: Path) -> Render:
        """Load a model's tokenizer alone."""
        from thinktwice.train.vocab import load_tokenizer

        return Render(cast(Any, load_tokenizer(model)), self.recipe.model.template)

    @staticmethod
    def _key(level: int, problem: Problem) -> str:
        return f"{level}/{problem.id}"


def describe_failure(problem: Problem, trace: Trace, score: Score, oracle: Oracle | None) -> str:
    """Name the kind of failure: why nothing came, or the kind of the first wrong step where an oracle can tell."""
    if score.value == 1:
        return ""
    if trace.stop != "done":
        return {"length": "out of context", "budget": "out of tokens", "error": "error"}[trace.stop]
    found = oracle.first_wrong(problem, trace.reply) if oracle is not None else None
    if found is not None:
        return found[1]
    return "no answer" if score.answer is None else "wrong answer"


def cell(records: Sequence[TraceRecord]) -> Cell:
    """Count one arm at one level."""
    n = len(records)
    right = sum(r.score.value == 1 for r in records)
    tokens = sum(r.trace.sampled_tokens for r in records) / n
    unscored = sum(not r.score.scored for r in records)
    return Cell(n, right / n, stats.wilson(right, n), unscored, tokens)


def failures(records: Mapping[str, Sequence[TraceRecord]]) -> dict[str, int]:
    """Count everything that went wrong, over all arms; a zero is written too."""
    rows = [r for arm in records.values() for r in arm]
    counts = {f"stopped: {stop}": sum(r.trace.stop == stop for r in rows) for stop in ("length", "budget", "error")}
    counts["no answer found"] = sum(r.score.scored and r.score.answer is None for r in rows)
    counts["unscored"] = sum(not r.score.scored for r in rows)
    return counts


def write_traces(path: Path, traces: Sequence[Trace]) -> None:
    """Write traces, one JSON line each."""
    path.write_text(
        "".join(json.dumps(to_dict(trace), ensure_ascii=False) + "\n" for trace in traces), encoding="utf-8"
    )


def read_traces(path: Path) -> list[Trace]:
    """Read traces back."""
    return [parse(Trace, json.loads(line), path.name) for line in path.read_text(encoding="utf-8").splitlines()]
