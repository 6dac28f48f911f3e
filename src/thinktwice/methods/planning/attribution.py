"""Was the recalled fact wrong, or the step from it? Wrong answers are attributed as one would without knowing.

Two ways, neither of which looks at what an oracle says of the reply:

* **substitution**: the reference solution's memory lines, with their blocks, are put at the beginning of the model's
  own reply, and the model writes the rest. What this repairs was an error of memory; what it doesn't, one of reasoning.
  Repaired: the model answers rightly as it answers, and so do significantly more than half of m sampled continuations
  (of two possible answers the right one is found half of the time by luck).
* **resampling**: the reply's first i lines are kept and the rest is sampled m times, for every i. The line at which
  the share of right answers first falls significantly (Fisher's exact test, one-sided, Bonferroni over the reply's
  lines) is the faulty one, and the type that the model gave it is the attribution.

Where the task's oracle judges lines, its truth (the first line that says something false) tells how good both ways are.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from thinktwice.engines.base import Engine
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.planning.findings import judge
from thinktwice.methods.planning.tokens import ANSWER
from thinktwice.methods.planning.written import Written, written
from thinktwice.records import TraceRecord
from thinktwice.render import Render
from thinktwice.scoring.stats import fisher_drop
from thinktwice.types import LineVerdict, Problem, Sampling, Task, Trace

if TYPE_CHECKING:
    from thinktwice.methods.planning import Planning

MEMORY, REASON = "memory", "reason"
CHUNK = 8
"""Answers looked into at once."""
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Case:
    """One wrong answer, looked into."""

    key: str
    """The answer's, as in the run's traces."""
    types: tuple[str, ...]
    """Of its lines, as the model wrote them."""
    repaired: bool | None
    """Whether the right memory lines make the answer right; None where no line of the reference is one of memory."""
    mended: int | None
    """How many sampled continuations of those lines are right."""
    right: tuple[int, ...]
    """How many continuations are right after its first 0, 1, ... lines; the last, after all of them, is 0 by itself."""
    faulty: int | None
    """Index of the line at which that falls significantly; None where it never does."""
    truth: str | None = None
    """What the first false line is: memory, reason, or empty where that cannot be told; None where no line is known
    to be false."""
    false_line: int | None = None
    """Its index."""

    @property
    def substitution(self) -> str:
        """What the one way says; empty where it cannot be asked."""
        return "" if self.repaired is None else MEMORY if self.repaired else REASON

    @property
    def resampling(self) -> str:
        """What the other way says; empty where no line is faulty, or its type is neither."""
        return "" if self.faulty is None else _means(self.types[self.faulty].split())


@dataclass(frozen=True)
class Attribution:
    """The wrong answers of one arm, looked into."""

    arm: str
    samples: int
    """Continuations sampled after each line."""
    temperature: float
    wrong: int
    """Wrong answers that the arm has."""
    unfinished: int
    """Of those, left out: the reply did not end by itself, or nothing survives of it."""
    judged: bool
    """Whether an oracle told the truth."""
    cases: tuple[Case, ...] = ()


def attribute(
    method: "Planning",
    problems: Sequence[Problem],
    records: Sequence[TraceRecord],
    engine: Engine,
    render: Render,
    sampling: Sampling,
    task: Task,
    *,
    samples: int = 32,
    temperature: float = 1.0,
    limit: int | None = None,
    listen: Callable[[int, int], None] = lambda done, total: None,
) -> Attribution:
    """Look into wrong answers of one arm. Law: the oracle only tells the truth at the end; nothing depends on it.

    Args:
        method: how the arm answered; its typer must be fitted where it has one.
        problems: at least those that were answered.
        records: the arm's answers.
        engine: with the weights that the arm answered with.
        render: of the same model.
        sampling: as the arm answered.
        task: for its score, and the truth where it has an oracle of lines.
        samples: continuations after each line.
        temperature: of the continuations.
        limit: at most so many wrong answers, drawn by chance (`sampling.seed`); None: all.
        listen: is told (wrong answers done, of how many).

    Raises:
        ConfigError: the method's plan does not stand before each step.
        DataError: there is no wrong answer to look into.
    """
    if method.placement != "every_step":
        raise ConfigError(f"attribution needs a block before every step; this arm has {method.placement}.")
    method = replace(method, force=())  # types of the first steps; a reply that is begun has had them
    wrong = [record for record in records if record.score.scored and record.score.value != 1]
    by_id = {problem.id: problem for problem in problems}
    ended = [(r, lines) for r in wrong if r.trace.stop == "done" and (lines := written(method, r.trace, render))]
    if not ended:
        raise DataError("this arm has no wrong answer that ended by itself; there is nothing to attribute.")
    if limit is not None and limit < len(ended):
        chosen = sorted(random.Random(sampling.seed).sample(range(len(ended)), limit))
        ended = [ended[i] for i in chosen]
    look = _Look(method, engine, render, sampling, task, samples, temperature)
    cases: list[Case] = []
    for start in range(0, len(ended), CHUNK):
        part = ended[start : start + CHUNK]
        about = [by_id[record.trace.problem_id] for record, _ in part]
        mended = look.substituted(about)
        right = look.resampled(about, [lines for _, lines in part])
        for (record, lines), problem, (greedy, often), counts in zip(part, about, mended, right, strict=True):
            truth = first_false(judge(problem, lines, task))
            cases.append(
                Case(
                    record.key,
                    tuple(line.type for line in lines),
                    None if often is None else greedy and usually(often, samples),
                    often,
                    counts,
                    faulty_line(counts, samples),
                    truth and truth[1],
                    truth and truth[0],
                )
            )
        listen(len(cases), len(ended))
    unfinished = sum(r.trace.stop != "done" or not written(method, r.trace, render) for r in wrong)
    judged = any(case.truth is not None for case in cases)
    return Attribution(records[0].arm, samples, temperature, len(wrong), unfinished, judged, tuple(cases))


def faulty_line(right: Sequence[int], samples: int, alpha: float = ALPHA) -> int | None:
    """Return the first line at which the share of right continuations falls significantly; None where it never does.

    Args:
        right: right continuations after the first 0, 1, ... lines.
        samples: continuations after each.
        alpha: of all the reply's lines together.
    """
    lines = len(right) - 1
    falls = (i for i in range(lines) if fisher_drop(right[i], right[i + 1], samples) < alpha / lines)
    return next(falls, None)


def usually(right: int, samples: int, alpha: float = ALPHA) -> bool:
    """Say whether significantly more than half of samples are right (binomial, one-sided)."""
    return sum(math.comb(samples, k) for k in range(right, samples + 1)) / (1 << samples) < alpha


def first_false(verdicts: Sequence[LineVerdict]) -> tuple[int, str] | None:
    """Return (index, memory or reason or empty) of the first line that says something false; None where none does."""
    found = ((i, v) for i, v in enumerate(verdicts) if v.wrong and not v.harmless)
    return next(((i, _means([v.step])) for i, v in found), None)


def _means(types: Sequence[str]) -> str:
    """Return what a line of these types does: recall, or go on from what stands there (the answer too)."""
    return MEMORY if MEMORY in types else REASON if REASON in types or ANSWER in types else ""


@dataclass(frozen=True)
class _Look:
    """What both ways need."""

    method: "Planning"
    engine: Engine
    render: Render
    sampling: Sampling
    task: Task
    samples: int
    temperature: float

    def substituted(self, problems: Sequence[Problem]) -> list[tuple[bool, int | None]]:
        """Return of each problem, given the reference's memory lines: is the answer right, and how many samples are.

        None where the reference has no such line.
        """
        given = [self._memory(problem) for problem in problems]
        asked = [i for i, lines in enumerate(given) if lines]
        jobs = [i for i in asked for _ in range(self.samples)]
        greedy = self._go_on(
            [problems[i] for i in asked], [given[i] for i in asked], self.sampling, [problems[i].key for i in asked]
        )
        drawn = self._go_on(
            [problems[i] for i in jobs],
            [given[i] for i in jobs],
            replace(self.sampling, temperature=self.temperature),
            [problems[i].key + 104_729 + n % self.samples for n, i in enumerate(jobs)],
        )
        counts = Counter(i for i, trace in zip(jobs, drawn, strict=True) if self._right(problems[i], given[i], trace))
        found: list[tuple[bool, int | None]] = [(False, None)] * len(problems)
        for i, trace in zip(asked, greedy, strict=True):
            found[i] = self._right(problems[i], given[i], trace), counts[i]
        return found

    def resampled(self, problems: Sequence[Problem], replies: Sequence[Sequence[Written]]) -> list[tuple[int, ...]]:
        """Return of each wrong reply how many continuations of its first 0, 1, ... lines are right."""
        jobs = [
            (row, kept, sample)
            for row, lines in enumerate(replies)
            for kept in range(len(lines))
            for sample in range(self.samples)
        ]
        begun = [replies[row][:kept] for row, kept, _ in jobs]
        asked = [problems[row] for row, _, _ in jobs]
        keys = [problems[row].key + 7919 * kept + sample for row, kept, sample in jobs]
        drawn = replace(self.sampling, temperature=self.temperature)
        traces = self._go_on(asked, begun, drawn, keys)
        counts = [[0] * (len(lines) + 1) for lines in replies]
        for (row, kept, _), lines, trace in zip(jobs, begun, traces, strict=True):
            counts[row][kept] += self._right(problems[row], lines, trace)
        return [tuple(row) for row in counts]

    def _memory(self, problem: Problem) -> list[Written]:
        """Return the memory lines of a problem's reference, as the method would have taught them."""
        if MEMORY not in problem.labels:
            return []
        (trace,) = self.method.collect([problem], self.engine, self.render, self.task, self.sampling.seed)
        lines = written(self.method, trace, self.render)
        return [line for line, label in zip(lines, problem.labels, strict=False) if label == MEMORY]

    def _go_on(
        self,
        problems: Sequence[Problem],
        begun: Sequence[Sequence[Written]],
        sampling: Sampling,
        keys: Sequence[int],
    ) -> list[Trace]:
        ids = [[i for line in lines for i in line.token_ids] for lines in begun]
        return self.method.go_on(problems, ids, self.engine, self.render, sampling, keys) if problems else []

    def _right(self, problem: Problem, begun: Sequence[Written], trace: Trace) -> bool:
        reply = "".join(line.text for line in begun) + trace.reply
        return trace.stop != "error" and self.task.score(problem, reply).value == 1
