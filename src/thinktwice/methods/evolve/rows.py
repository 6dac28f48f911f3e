"""What a round writes down: sampled answers, feedback on them, and what was decided. Law: truth stands apart.

Whether an answer is right is known to the scorer alone; it is written to a file of its own, which only measures, and
what declares that it sees gold, may read.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

from thinktwice.methods.evolve.feedback import Feedback
from thinktwice.types import Problem, StopReason


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sampled answer."""

    problem_id: str
    sample: int
    """Which of the problem's samples, from 0."""
    token_ids: tuple[int, ...]
    """As sampled, without the end token; never re-encoded."""
    text: str
    answer: str | None
    """What it states, as the task's scorer reads it; None where it states nothing."""
    stop: StopReason
    logprob: float = 0.0
    """Mean natural-log probability of its tokens."""
    mended: bool = False
    """Whether it was written with feedback on an earlier answer."""

    @property
    def key(self) -> str:
        """Names it among the round's answers."""
        return f"{self.problem_id}/{self.sample}" + ("/mended" if self.mended else "")


@dataclass(frozen=True, slots=True)
class Critique:
    """One feedback on one answer, and the ids that wrote it."""

    key: str
    """The attempt's."""
    feedback: Feedback
    token_ids: tuple[int, ...]
    """After the prompt; where the answer is shown line by line, its lines are among them."""
    written: tuple[bool, ...]
    """Of each id: whether the critic wrote it, so that it can be learned."""
    sure: float | None = None
    """Probability of being right that the critic gives the answer; None where it gives none."""


@dataclass(frozen=True, slots=True)
class Voted:
    """What the feedback on one answer comes to."""

    key: str
    verdict: str
    """correct, incorrect, unsure, unparsed, or "abstained" where there is no majority."""
    chosen: Critique | None
    """The feedback that stands for the majority; None where it abstained."""
    agreement: float
    """Share of the readable feedback that says the verdict."""
    sure: float
    """Estimated probability that the answer is right: mean over the critiques."""
    why: str = ""


@dataclass
class Ledger:
    """Counts of a stage. Law: in = kept + every reason dropped."""

    came: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def drop(self, why: str, n: int = 1) -> None:
        """Count what was left out, with its reason; none is no reason."""
        if n:
            self.dropped[why] += n

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values.

        Raises:
            AssertionError: the counts do not add up, a programmer's error.
        """
        assert self.came == self.kept + self.dropped.total(), (self.came, self.kept, self.dropped)
        return {"in": self.came, "kept": self.kept, "dropped": dict(sorted(self.dropped.items()))}


def blind(problem: Problem) -> Problem:
    """Return a problem without its answer: all that a critic may see where gold is not declared visible."""
    return replace(problem, answer="", answers=(), solution=None, labels=(), support=())
