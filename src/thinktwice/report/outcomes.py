"""Who answered which problem rightly: the flips between two arms, and the kinds of failure.

Law: rows are read once, and as loosely as older runs need; a problem that one of two arms has not answered is in no
comparison of the two.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from thinktwice.records import Comparison, Summary
from thinktwice.report.claims import find, measured
from thinktwice.show import printable

Row = Mapping[str, Any]

QUESTION = 140
"""Characters of a question that stand in a list."""
ANSWER = 40
"""Characters of an answer that stand in a list."""


@dataclass(frozen=True, slots=True)
class Question:
    """The beginning of a problem, for a list."""

    text: str
    reference: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one arm made of one problem."""

    right: bool
    answer: str
    """What it stated, cut short; empty when nothing was found."""
    failure: str
    """Empty when it is right."""
    partly: bool = False
    """Whether its score lies between wrong and right."""

    @property
    def letter(self) -> str:
        """1 right, p partly right, 0 wrong."""
        return "1" if self.right else "p" if self.partly else "0"

    @property
    def sign(self) -> str:
        """For the eye."""
        return {"1": "✓", "p": "≈", "0": "✗"}[self.letter]


@dataclass
class Spent:
    """The tokens of one arm at one level."""

    problems: int = 0
    sampled: int = 0
    dropped: int = 0
    """Of the sampled ones: not part of the reply (taken back, control tokens, rejected or outvoted)."""
    stops: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Outcomes:
    """Every answer of a run, in brief."""

    questions: dict[int, dict[str, Question]]
    """Level -> key -> problem, in the order they were answered."""
    arms: dict[str, dict[int, dict[str, Outcome]]]
    """Arm -> level -> key -> what became of it; `right` is exactly right where scores are graded."""
    spent: dict[str, dict[int, Spent]]

    @property
    def graded(self) -> bool:
        """Whether any answer is partly right."""
        return any(o.partly for levels in self.arms.values() for found in levels.values() for o in found.values())

    @property
    def keys(self) -> set[str]:
        """The names of all problems."""
        return {key for known in self.questions.values() for key in known}

    @property
    def levels(self) -> list[int]:
        """The levels that any arm has answered."""
        return sorted(self.questions)

    def failures(self, level: int) -> dict[str, Counter[str]]:
        """Count each arm's kinds of failure at a level."""
        return {
            arm: Counter(o.failure for o in levels[level].values() if not o.right)
            for arm, levels in self.arms.items()
            if level in levels
        }


@dataclass(frozen=True, slots=True)
class Flip:
    """A problem that one arm answers rightly and the other does not."""

    key: str
    question: Question
    a: Outcome
    b: Outcome
    link: str
    """Opens it in the trace viewer, both arms side by side."""


@dataclass(frozen=True)
class Flips:
    """Arm `a` against arm `b`, problem by problem."""

    a: str
    b: str
    level: int
    both: int
    gained: tuple[Flip, ...]
    """Only `a` is right."""
    lost: tuple[Flip, ...]
    """Only `b` is right."""
    neither: int
    p: float
    """Exact McNemar p-value of these four numbers."""
    comparison: Comparison | None
    """The difference with its interval, where the summary has it."""

    @property
    def n(self) -> int:
        """Problems both have answered."""
        return self.both + len(self.gained) + len(self.lost) + self.neither


def read_outcomes(rows: Mapping[str, Mapping[str, Row]]) -> Outcomes:
    """Take in the rows of every arm (arm -> key -> row)."""
    questions: dict[int, dict[str, Question]] = {}
    arms: dict[str, dict[int, dict[str, Outcome]]] = {}
    spent: dict[str, dict[int, Spent]] = {}
    for arm, answered in rows.items():
        for key, row in answered.items():
            level = int(row.get("level", 0))
            known = questions.setdefault(level, {})
            if key not in known:
                known[key] = Question(_short(str(row["question"]), QUESTION), _short(str(row["reference"]), ANSWER))
            arms.setdefault(arm, {}).setdefault(level, {})[key] = _outcome(row)
            _count(spent.setdefault(arm, {}).setdefault(level, Spent()), row["trace"])
    return Outcomes(questions, arms, spent)


def _outcome(row: Row) -> Outcome:
    score = row["score"]
    right = score["value"] == 1
    answer = score.get("answer")
    failure = "" if right else _short(str(row.get("failure") or ""), ANSWER) or _failure(row)
    return Outcome(right, _short(str(answer or ""), ANSWER), failure, 0 < score["value"] < 1)


def _failure(row: Row) -> str:
    """Name what went wrong in a row of a run from before failures were written down."""
    stop = row["trace"].get("stop", "done")
    kinds = {"length": "out of context", "budget": "out of tokens", "error": "error"}
    return kinds.get(stop) or ("no answer" if row["score"].get("answer") is None else "wrong answer")


def _count(spent: Spent, trace: Row) -> None:
    spent.problems += 1
    spent.stops[str(trace.get("stop", "done"))] += 1
    for step in trace["steps"]:
        if step.get("sampled", True):
            tokens = len(step.get("token_ids", ()))
            spent.sampled += tokens
            spent.dropped += 0 if step.get("kept", True) else tokens


def _short(text: str, length: int) -> str:
    """Return the beginning of a text on one line, printable."""
    line = " ".join(printable(text[: 2 * length]).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def flips(found: Outcomes, a: str, b: str, level: int, summary: Summary | None) -> Flips | None:
    """Compare two arms problem by problem; None when there is no problem that both have answered."""
    mine, theirs = (found.arms.get(name, {}).get(level, {}) for name in (a, b))
    keys = [key for key in found.questions.get(level, {}) if key in mine and key in theirs]
    if not keys:
        return None
    groups: dict[tuple[bool, bool], list[str]] = {}
    for key in keys:
        groups.setdefault((mine[key].right, theirs[key].right), []).append(key)

    def listed(keys: Sequence[str]) -> tuple[Flip, ...]:
        known = found.questions[level]
        return tuple(Flip(key, known[key], mine[key], theirs[key], link(key, a, b)) for key in keys)

    return Flips(
        a,
        b,
        level,
        len(groups.get((True, True), ())),
        listed(groups.get((True, False), ())),
        listed(groups.get((False, True), ())),
        len(groups.get((False, False), ())),
        _mcnemar([mine[k].right for k in keys], [theirs[k].right for k in keys]),
        find(summary, a, b, level) if summary else None,
    )


def _mcnemar(a: Sequence[bool], b: Sequence[bool]) -> float:
    from thinktwice.scoring import stats  # numpy is not imported with the report

    return stats.mcnemar(a, b)


def link(key: str, *arms: str) -> str:
    """Return the address, inside a page, that opens a problem in its trace viewer."""
    return f"#trace={quote(key, safe='')}&arms={','.join(quote(arm, safe='') for arm in arms)}"


def table(found: Outcomes, names: Sequence[str], summary: Summary | None) -> dict[str, Any]:
    """Return what the page needs to compare any two arms at any level: plain lists, to be packed.

    `right` is one character a problem for each arm: "1", "p" (partly), "0", or "-" where it has not answered. `pairs`
    holds [place of a, place of b, exact McNemar p of the right answers, difference and interval of the mean scores or
    null] for a before b; `measure` names graded scores, and is empty where answers are right or wrong.
    """
    names = [name for name in names if name in found.arms]
    levels = []
    for level in found.levels:
        known = found.questions[level]
        outcomes = [[found.arms[name].get(level, {}).get(key) for key in known] for name in names]
        levels.append({
            "level": level,
            "keys": list(known),
            "questions": [q.text for q in known.values()],
            "references": [q.reference for q in known.values()],
            "right": ["".join("-" if o is None else o.letter for o in row) for row in outcomes],
            "answers": [["" if o is None else o.answer for o in row] for row in outcomes],
            "pairs": list(_pairs(names, outcomes, level, summary)),
        })  # fmt: skip
    return {"arms": names, "levels": levels, "measure": measured(summary) if summary else ""}


def _pairs(
    names: Sequence[str], outcomes: Sequence[Sequence[Outcome | None]], level: int, summary: Summary | None
) -> Iterator[list[Any]]:
    for i, a in enumerate(names):
        for j in range(i + 1, len(names)):
            both = [(x.right, y.right) for x, y in zip(outcomes[i], outcomes[j], strict=True) if x and y]
            if both:
                stored = find(summary, a, names[j], level) if summary else None
                yield [i, j, _mcnemar(*zip(*both, strict=True)), [stored.difference, *stored.ci] if stored else None]
