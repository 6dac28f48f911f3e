"""What the traces of a run say, counted. Law: every comparison is paired on the same problems."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thinktwice.config import Recipe, parse
from thinktwice.errors import RunError
from thinktwice.methods import Comparing, Method, Observed, Posing, Retracting
from thinktwice.records import Cell, Comparison, Finding, Retraction, Summary, Threshold, ThresholdPoint, TraceRecord
from thinktwice.render import Render
from thinktwice.run import Run, read_json
from thinktwice.scoring import stats
from thinktwice.types import Oracle, Problem, Score, Task, Trace


@dataclass(frozen=True)
class Results:
    """What a run's traces are counted with."""

    run: Run
    recipe: Recipe
    task: Task
    methods: Mapping[str, Method]
    """By arm."""
    problems: Callable[[str, int], list[Problem]]
    """The problems of a split and a level that the recipe scores."""
    render: Render
    weights: Callable[[str], Path]
    """The model that an arm answered with."""
    poser: Posing | None = None
    """The recipe's method, where it makes its own problems."""

    def summarise(self) -> Summary:
        """Read every trace back and count."""
        records = {name: self._records(name) for name in self.recipe.arms}
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
            retraction=self._retraction(records),
            threshold=self._threshold(),
            failures={"quarantined lines": self.task.quarantined, **failures(records)},
            seconds=self.run.seconds(),
            memory=self.run.memory(),
            findings=self._findings(records),
            measure=self.task.measure,
        )

    def _records(self, name: str) -> list[TraceRecord]:
        rows = self.run.traces(name).done
        keys = [key_of(level, p) for level in self.recipe.evaluation.levels for p in self.problems("test", level)]
        missing = [key for key in keys if key not in rows]
        if missing:
            raise RunError(f"arm {name!r} has no answer to {len(missing)} problems. Run the recipe again to go on.")
        return [parse(TraceRecord, rows[key], f"traces/{name}.jsonl") for key in keys]

    def _pairs(self) -> list[tuple[str, str]]:
        """List the comparisons: the headline's arm against every other, what splits its gain, and each arm that goes
        on from another's weights against that one.
        """
        names = list(self.recipe.arms)
        head = self.recipe.headline
        if head is None:
            pairs = [(a, names[0]) for a in names[1:]]
        else:
            pairs = [(head.a, name) for name in (head.b, *(n for n in names if n not in (head.a, head.b)))]
            pairs += [(name, head.b) for name in names if name not in (head.a, head.b)]
        origins = [(name, arm.start or arm.weights) for name, arm in self.recipe.arms.items()]
        known = {frozenset(pair) for pair in pairs}
        return [*pairs, *((name, of) for name, of in origins if of and frozenset((name, of)) not in known)]

    def _compare(self, records: Mapping[str, Sequence[TraceRecord]], a: str, b: str, level: int) -> Comparison:
        values = [[r.score.value for r in records[name] if r.level == level] for name in (a, b)]
        found = stats.paired_difference(values[0], values[1], seed=self.recipe.evaluation.seed)
        binary = {*values[0], *values[1]} <= {0, 1}
        return Comparison(a, b, level, found.value, found.ci, stats.mcnemar(values[0], values[1]) if binary else None)

    def _retraction(self, records: Mapping[str, Sequence[TraceRecord]]) -> dict[str, dict[int, Retraction]]:
        found: dict[str, dict[int, Retraction]] = {}
        for name, method in self.methods.items():
            if not isinstance(method, Retracting):
                continue
            for level in self.recipe.evaluation.levels:
                traces = [r.trace for r in records[name] if r.level == level]
                judged = method.retractions(self.problems("test", level), traces, self.render, self.task)
                found.setdefault(name, {})[level] = judged
        return found

    def _findings(self, records: Mapping[str, Sequence[TraceRecord]]) -> dict[str, tuple[Finding, ...]]:
        problems = [p for level in self.recipe.evaluation.levels for p in self.problems("test", level)]
        observed = {name: m for name, m in self.methods.items() if isinstance(m, Observed)}
        found = {
            name: method.findings(problems, records[name], self.render, self.task, self.weights(name))
            for name, method in observed.items()
        }
        if self.poser is not None:
            head = self.recipe.headline
            first = head.a if head else next(iter(self.recipe.arms))
            pair = (head.a, head.b) if head else None
            shared = self.poser.account(self.run.root / "stages" / "pose", problems, records, self.task, pair)
            found[first] = (*shared, *found.get(first, ()))
        head = self.recipe.headline
        named = self.methods[head.a] if head else None
        if head is not None and isinstance(named, Comparing):
            weights = {name: self.weights(name) for name in self.methods}
            shared = named.compare(self.methods, records, (head.a, head.b), weights)
            found[head.a] = (*shared, *found.get(head.a, ()))
        return found

    def _threshold(self) -> Threshold | None:
        head = self.recipe.headline
        path = self.run.artefact(f"calibrate-{head.a}", "calibration.json") if head else None
        record = read_json(path) if path else {}
        if not record:
            return None
        points = tuple(
            ThresholdPoint(p["bias"], p["precision"], p["recall"], record["accuracy"].get(str(p["bias"])))
            for p in record["curve"]
        )
        return Threshold(record["bias"], points)


def key_of(level: int, problem: Problem) -> str:
    """Name the answer to a problem at a level, in every arm the same."""
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
    """Average one arm at one level; a graded score (F1) counts by its value."""
    found = stats.average([r.score.value for r in records])
    tokens = sum(r.trace.sampled_tokens for r in records) / len(records)
    unscored = sum(not r.score.scored for r in records)
    return Cell(len(records), found.value, found.ci, unscored, tokens)


def failures(records: Mapping[str, Sequence[TraceRecord]]) -> dict[str, int]:
    """Count everything that went wrong, over all arms; a zero is written too."""
    rows = [r for arm in records.values() for r in arm]
    counts = {f"stopped: {stop}": sum(r.trace.stop == stop for r in rows) for stop in ("length", "budget", "error")}
    counts["no answer found"] = sum(r.score.scored and r.score.answer is None for r in rows)
    counts["unscored"] = sum(not r.score.scored for r in rows)
    return counts
