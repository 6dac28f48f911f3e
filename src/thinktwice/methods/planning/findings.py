"""What the answers of a planning arm say beyond right and wrong, as tables."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from thinktwice.methods.planning.geometry import geometry
from thinktwice.methods.planning.tokens import ANSWER, ASSIGNMENT
from thinktwice.methods.planning.written import NO_BLOCK, UNTYPED, Written, written
from thinktwice.records import Finding, TraceRecord
from thinktwice.render import Render
from thinktwice.scoring.stats import wilson
from thinktwice.types import LineOracle, LineVerdict, Problem, Task

if TYPE_CHECKING:
    from thinktwice.methods.planning import Planning

MOST = 12
"""Types that a table tells apart; rarer ones are counted together."""
OTHERS, START, END, UNREADABLE = "all others", "start", "end", "unreadable"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read."""

    level: int
    lines: tuple[Written, ...]
    verdicts: tuple[LineVerdict, ...]
    """As many as lines up to the answer; none where no oracle judges lines."""

    @property
    def judged(self) -> list[tuple[Written, LineVerdict]]:
        """The lines with their verdicts."""
        return list(zip(self.lines, self.verdicts, strict=False))


def findings(
    method: "Planning",
    problems: Sequence[Problem],
    records: Sequence[TraceRecord],
    render: Render,
    task: Task,
    weights: Path,
) -> tuple[Finding, ...]:
    """Make the tables of one arm. Those that need an oracle of lines are left out, and said to be, where there is none.

    Args:
        method: the arm's.
        problems: at least those that were answered.
        records: the arm's answers.
        render: of a model that has the tokens.
        task: for its oracle.
        weights: what the arm answered with.
    """
    answers = read(method, problems, records, render, task)
    names = _names(method, answers)
    tables = [_steps(answers, names)]
    if isinstance(task.oracle, LineOracle):
        tables += [*_mistakes(answers, names), *_kinds(answers, names), *_first_wrong(answers, names)]
    typed = any(line.types for answer in answers for line in answer.lines)
    tables += [_transitions(answers, names)] if typed else []
    return (*tables, _lengths(answers), *geometry(method, render, weights))


def read(
    method: "Planning", problems: Sequence[Problem], records: Sequence[TraceRecord], render: Render, task: Task
) -> list[Answer]:
    """Read answers line by line, each line judged where an oracle can."""
    by_id = {problem.id: problem for problem in problems}
    answers = []
    for record in records:
        lines = written(method, record.trace, render)
        answers.append(Answer(record.level, tuple(lines), judge(by_id[record.trace.problem_id], lines, task)))
    return answers


def judge(problem: Problem, lines: Sequence[Written], task: Task) -> tuple[LineVerdict, ...]:
    """Return the verdicts on an answer's lines; none where the task's oracle does not judge lines."""
    if not isinstance(task.oracle, LineOracle):
        return ()
    return tuple(task.oracle.verdicts(problem, "\n".join(line.line for line in lines)))


# -- tables ------------------------------------------------------------------------------------------------------------


def _steps(answers: Sequence[Answer], names: Mapping[str, str]) -> Finding:
    lines = Counter(names[line.type] for answer in answers for line in answer.lines)
    total = sum(lines.values())
    title, columns = "Steps of each type", ("type", "steps", "share", "a problem")
    rows = {
        name: (name, f"{lines[name]:,}", percent(lines[name], total), f"{lines[name] / max(1, len(answers)):.2f}")
        for name in dict.fromkeys(names.values())
    }
    judged = [pair for answer in answers for pair in answer.judged]
    if not judged:
        return Finding(
            title,
            columns,
            tuple(rows.values()),
            "Types as the model wrote them. No oracle of this task judges lines, so nothing is said here of which "
            "steps are right.",
        )
    known = Counter(names[line.type] for line, _ in judged)
    right = Counter(names[line.type] for line, verdict in judged if not verdict.wrong)
    full = tuple((*row, interval(right[name], known[name])) for name, row in rows.items())
    return Finding(
        title,
        (*columns, "right"),
        full,
        "Types as the model wrote them; right by the task's oracle, which judges each line by the lines above it as "
        "they stand. 95 % Wilson intervals that take steps as independent; steps of one answer are not quite, so they "
        "are somewhat too narrow.",
    )


def _mistakes(answers: Sequence[Answer], names: Mapping[str, str]) -> Iterator[Finding]:
    wrong = Counter((names[line.type], v.wrong) for answer in answers for line, v in answer.judged if v.wrong)
    kinds = [kind for kind, _ in Counter(kind for _, kind in wrong.elements()).most_common()]
    if kinds:
        rows = tuple(
            (name, *(f"{wrong[name, kind]:,}" for kind in kinds))
            for name in dict.fromkeys(names.values())
            if any(wrong[name, kind] for kind in kinds)
        )
        note = "Steps by their type and by what the oracle says is wrong with them."
        columns = ("type", *(kind.replace("_", " ") for kind in kinds))
        yield Finding("What is wrong with the steps of each type", columns, rows, note)


def _kinds(answers: Sequence[Answer], names: Mapping[str, str]) -> Iterator[Finding]:
    """Yield types as they were written against what the lines really are."""
    pairs = [(names[line.type], v.step or UNREADABLE) for answer in answers for line, v in answer.judged]
    counts = Counter(pairs)
    kinds = sorted({kind for _, kind in pairs}, key=lambda kind: (kind in (ANSWER, UNREADABLE), kind))
    if all(name in (UNTYPED, NO_BLOCK) for name, _ in pairs):
        return
    rows = tuple(
        (name, *(f"{counts[name, kind]:,}" for kind in kinds))
        for name in dict.fromkeys(names.values())
        if any(counts[name, kind] for kind in kinds)
    )
    yield Finding(
        "The type that was written, and the kind of step it is",
        ("written", *(f"is {kind}" if kind != UNREADABLE else kind for kind in kinds)),
        rows,
        _agreement([pair for pair in pairs if pair[1] not in (ANSWER, UNREADABLE)]),
    )


def _agreement(pairs: Sequence[tuple[str, str]]) -> str:
    """Say how often the type is the kind, against always naming the most frequent kind; the answer line left out."""
    n = len(pairs)
    if not n:
        return "No step besides answers has a kind that the oracle can tell."
    kinds = Counter(kind for _, kind in pairs)
    (usual, most), *_ = kinds.most_common()
    same_names = not kinds.keys().isdisjoint(name for name, _ in pairs)
    by_type: dict[str, Counter[str]] = {}
    for name, kind in pairs:
        by_type.setdefault(name, Counter())[kind] += 1
    means = {name: name if same_names else found.most_common(1)[0][0] for name, found in by_type.items()}
    agreed = sum(means[name] == kind for name, kind in pairs)
    said = Counter(means[name] for name, _ in pairs)
    chance = sum(said[kind] * kinds[kind] for kind in kinds) / n**2
    kappa = f", Cohen's κ {(agreed / n - chance) / (1 - chance):.2f}" if chance < 1 else ""
    how = "have the type that they are" if same_names else "are of the kind that their type most often stands for"
    return (
        f"Of {n:,} steps before the answer whose kind the oracle can tell, {interval(agreed, n)} {how}{kappa}. "
        f"Always saying “{usual}” would be right of {percent(most, n)}."
    )


def _first_wrong(answers: Sequence[Answer], names: Mapping[str, str]) -> Iterator[Finding]:
    """Yield how often each type is the first wrong step, of how often it stood where it could have been."""
    first: Counter[str] = Counter()
    stood: Counter[str] = Counter()
    for answer in answers:
        up_to = list(takewhile(lambda pair: not pair[1].wrong, answer.judged))
        stood.update(names[line.type] for line, _ in answer.judged[: len(up_to) + 1])
        first.update(names[line.type] for line, _ in answer.judged[len(up_to) : len(up_to) + 1])
    n, total = sum(first.values()), sum(stood.values())
    if not n:
        return
    rows = []
    for name in dict.fromkeys(names.values()):
        if stood[name]:
            times = f"{first[name] / n / (stood[name] / total):.2f}"
            hazard = interval(first[name], stood[name])
            rows.append(
                (name, f"{first[name]:,}", interval(first[name], n), percent(stood[name], total), times, hazard)
            )
    yield Finding(
        "The type of the first wrong step",
        ("type", "first wrong", "share of them", "base rate", "times as often", "goes wrong first"),
        tuple(rows),
        f"{n:,} answers have a wrong step. Base rate: the type's share of all steps up to the first wrong one, in "
        "every answer; a type that is no more to blame than others has as large a share of the first wrong steps. "
        "Goes wrong first: of the type's steps that stood where all before was right.",
    )


def _transitions(answers: Sequence[Answer], names: Mapping[str, str]) -> Finding:
    counted = Counter(
        pair for answer in answers for pair in pairwise([START, *(names[line.type] for line in answer.lines), END])
    )
    to = [name for name in (*dict.fromkeys(names.values()), END) if any(b == name for _, b in counted)]
    rows = []
    for one in (START, *dict.fromkeys(names.values())):
        n = sum(count for (a, _), count in counted.items() if a == one)
        if n:
            rows.append(
                (one, f"{n:,}", *(percent(counted[one, other], n) if counted[one, other] else "–" for other in to))
            )
    return Finding(
        "What follows what",
        ("after", "times", *to),
        tuple(rows),
        "Share of each type among the steps that follow a step of the row's type.",
    )


def _lengths(answers: Sequence[Answer]) -> Finding:
    rows = []
    levels = sorted({answer.level for answer in answers})
    for level in (*levels, *([None] if len(levels) > 1 else [])):
        chosen = [answer for answer in answers if level in (None, answer.level)]
        n = max(1, len(chosen))
        lines = [line for answer in chosen for line in answer.lines]
        planning, drawn = sum(line.planning for line in lines), sum(line.drawn for line in lines)
        other = sum(len(line.token_ids) for line in lines) - planning
        bare = sum(not line.planning for line in lines)
        counts = (f"{value / n:.2f}" for value in (len(lines), planning, drawn, other, bare))
        rows.append(("all" if level is None else str(level), f"{len(chosen):,}", *counts))
    return Finding(
        "Steps and planning tokens an answer",
        ("level", "answers", "steps", "planning tokens", "of them drawn", "other tokens", "steps without a block"),
        tuple(rows),
        "Means an answer, of what survives. Planning tokens that were not drawn were appended by the grammar, in one "
        "forward pass a block.",
    )


# -- words -------------------------------------------------------------------------------------------------------------


def _names(method: "Planning", answers: Iterable[Answer]) -> dict[str, str]:
    """Return every type that was written or could have been -> how tables call it, in the order of tables."""
    counts = Counter(line.type for answer in answers for line in answer.lines)
    declared = [key for key in method.inventory.keys if key not in (ANSWER, ASSIGNMENT)]
    tagged = list(method.types) if method.tags else []
    last = [name for name in (ASSIGNMENT, UNTYPED, NO_BLOCK, ANSWER) if counts[name]]
    seen = [name for name, _ in counts.most_common() if name not in (*declared, *tagged, *last)]
    every = [*declared, *tagged, *seen]
    shown = every if len(every) <= MOST else [name for name, _ in counts.most_common() if name in every][:MOST]
    rare = [name for name in every if name not in shown]
    return {name: name for name in every if name in shown} | {name: name for name in last} | dict.fromkeys(rare, OTHERS)


def percent(part: int, whole: int) -> str:
    """Return a share: "45.2 %"; a dash of nothing."""
    return f"{100 * part / whole:.1f}\u00a0%" if whole else "–"


def interval(part: int, whole: int) -> str:
    """Return a share with its 95 % Wilson interval: "45.2 % (40.1 to 50.3)"."""
    low, high = wilson(part, whole)
    return f"{percent(part, whole)} ({100 * low:.1f} to {100 * high:.1f})" if whole else "–"
