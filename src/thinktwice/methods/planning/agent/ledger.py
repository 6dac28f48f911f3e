"""What became of every problem: one row each, written once. Law: counts in = kept + every reason dropped + open."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from thinktwice.methods.planning.agent.agreement import Agreement
from thinktwice.methods.planning.agent.replies import Labelled

KEPT, DROPPED = "kept", "dropped"
WRONG = "wrong answer"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that a role was asked about one problem. Law: each is listed once, in its order."""

    role: str
    """planner or knowledge."""
    outcome: str
    """kept, or the reason why the reply was not used."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A problem that is settled."""

    key: str
    """Of the problem, whole, and of all settings that decide its labels."""
    id: str
    question: str
    answer: str
    state: str
    """kept or dropped."""
    reason: str
    """Why it was dropped; empty when it was kept."""
    attempts: tuple[Attempt, ...]
    cot_steps: tuple[str, ...]
    """`[rag]: ...` and `[reason]: ...`; empty when it was dropped, and then no row is written."""
    date: str

    @property
    def steps(self) -> tuple[Labelled, ...]:
        """The steps, label and text apart."""
        split = [step.partition("]: ") for step in self.cot_steps]
        return tuple(Labelled(label[1:], text) for label, _, text in split)


@dataclass(frozen=True)
class Summary:
    """The counts of one labelling; saved as summary.json."""

    problems: int
    kept: int
    dropped: dict[str, int]
    """Reason -> problems."""
    open: dict[str, int]
    """Problems that the server failed on, by reason; the same command asks again."""
    attempts: int
    """Replies that were read, those of both roles."""
    unused: dict[str, int]
    """Reason -> replies that were not used, also those of problems that were kept in the end."""
    plans: int
    """Plans that followed the rules: what the correctness filter saw."""
    right: int
    """Those whose own answer was the reference."""
    steps: dict[str, int] = field(default_factory=dict)
    """Label -> steps of the kept problems."""
    agreement: Agreement | None = None
    """With the second labeller, where there is one."""
    second: str | None = None
    """Who that is."""
    unlabelled: int = 0
    """Kept problems for which the second labeller gave no usable labels."""

    def __str__(self) -> str:
        """Tell where everything went, a line each."""
        lines = [f"{self.problems} problems = {self.kept} kept + {sum(self.dropped.values())} dropped"]
        lines[0] += f" + {sum(self.open.values())} open" if self.open else ""
        lines += [f"  dropped {count}: {reason}" for reason, count in self.dropped.items()]
        lines += [f"  open {count}: {reason}; the same command asks again" for reason, count in self.open.items()]
        lines += [
            f"{self.attempts} replies, {sum(self.unused.values())} not used; {self.right} of {self.plans} plans right"
        ]
        lines += [f"  not used {count}: {reason}" for reason, count in self.unused.items()]
        if self.steps:
            lines.append("steps: " + ", ".join(f"{count} {label}" for label, count in self.steps.items()))
        if self.agreement is not None:
            without = f"; {self.unlabelled} problems without its labels" if self.unlabelled else ""
            lines.append(f"second labeller {self.second}: {self.agreement}{without}")
        return "\n".join(lines)


def summarise(entries: Iterable[Entry], opened: Iterable[str]) -> Summary:
    """Count settled problems, and the reasons of those that are open."""
    entries = list(entries)
    attempts = [attempt for entry in entries for attempt in entry.attempts]
    waiting = Counter(opened)
    wrong = sum(attempt.outcome == WRONG for attempt in attempts)
    # A right plan ends in "kept" of the planner; every other outcome of the planner broke a rule or was wrong.
    right = sum(attempt.role == "planner" and attempt.outcome == KEPT for attempt in attempts)
    return Summary(
        problems=len(entries) + waiting.total(),
        kept=sum(entry.state == KEPT for entry in entries),
        dropped=_counted(entry.reason for entry in entries if entry.state == DROPPED),
        open=dict(waiting.most_common()),
        attempts=len(attempts),
        unused=_counted(attempt.outcome for attempt in attempts if attempt.outcome != KEPT),
        plans=right + wrong,
        right=right,
        steps=_counted(step.label for entry in entries for step in entry.steps),
    )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0])))
