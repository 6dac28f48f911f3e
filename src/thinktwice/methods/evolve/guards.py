"""Whether a round may stand: a written decision, with its numbers. Law: decided on dev problems that nothing else uses.

Self-critique without a gate drifts: published curves rise for some rounds and fall below where they began. So the
critic must be better than chance before the first round, a round is promoted only where it does no harm that can be
seen, one that is not is rolled back (its weights and its data), and after `patience` such rounds the arm stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thinktwice.errors import ConfigError
from thinktwice.scoring.stats import paired_difference

Choice = Literal["promoted", "rejected", "stopped"]


@dataclass(frozen=True, slots=True)
class Guards:
    """What a round must satisfy."""

    on: bool = True
    """Without guards every round is promoted, and what they would have said is written down all the same."""
    critic: bool = True
    """Before the first round: refuse to go on with a critic whose balanced accuracy is not above chance."""
    harm: float = 0.05
    """The lower end of the paired difference on the gate problems, candidate less the best so far, may not lie below
    minus this (a share)."""
    patience: int = 2
    """So many rejected rounds in a row end the arm."""
    diversity: float = 0.5
    """Distinct answers a problem may not fall below this share of the start's."""
    length: float = 0.5
    """Mean length of the answers may not change by more than this share of the start's."""
    forgetting: float = 0.1
    """Accuracy on the forgetting set may not fall by more than this below the start's."""

    def __post_init__(self) -> None:
        for name in ("harm", "diversity", "length", "forgetting"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"method.guards.{name} is {getattr(self, name)}; it must be between 0 and 1.")
        if self.patience < 1:
            raise ConfigError(f"method.guards.patience is {self.patience}; it must be at least 1.")


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured of one model on dev."""

    gate: tuple[float, ...]
    """Score of each gate problem, in their order."""
    distinct: float
    """Distinct answers a problem, of k samples."""
    length: float
    """Mean tokens an answer."""
    forgetting: float | None = None
    """Accuracy on the forgetting set; None where there is none."""


@dataclass(frozen=True)
class Decision:
    """What became of a round, and why."""

    round: int
    choice: Choice
    why: str
    """In one sentence, with the numbers."""
    difference: float | None = None
    """Candidate less the best so far, on the gate problems."""
    low: float | None = None
    high: float | None = None
    broken: tuple[str, ...] = ()
    """The guards that said no, each with its number; also where guards are off."""
    best: int = 0
    """The round whose weights the next one answers with; 0: the start."""
    rejected_in_a_row: int = 0

    @property
    def stops(self) -> bool:
        """Whether no further round follows."""
        return self.choice == "stopped"


def decide(
    guards: Guards, number: int, candidate: Reading, best: Reading, start: Reading, before: Sequence[Decision]
) -> Decision:
    """Decide on round `number`, from what was measured of it, of the best model so far, and of the start."""
    found = paired_difference(candidate.gate, best.gate)
    broken = []
    if found.low < -guards.harm:
        broken.append(f"harm: {_points(found.value)} on {len(best.gate)} gate problems, from {_points(found.low)}")
    if candidate.distinct < guards.diversity * start.distinct:
        broken.append(
            f"diversity: {candidate.distinct:.2f} distinct answers a problem, {start.distinct:.2f} at the start"
        )
    if abs(candidate.length - start.length) > guards.length * start.length:
        broken.append(f"length: {candidate.length:.0f} tokens an answer, {start.length:.0f} at the start")
    if candidate.forgetting is not None and start.forgetting is not None:
        lost = start.forgetting - candidate.forgetting
        if lost > guards.forgetting:
            broken.append(f"forgetting: {_points(-lost)} on what it could do before")
    last = before[-1] if before else None
    best_round, in_a_row = (last.best, last.rejected_in_a_row) if last else (0, 0)
    numbers = {"difference": found.value, "low": found.low, "high": found.high, "broken": tuple(broken)}
    measured = f"{_points(found.value)} [{_points(found.low)}, {_points(found.high)}] against round {best_round}"
    if not broken or not guards.on:
        why = f"{measured}; " + ("no guard objects" if not broken else f"guards are off; {'; '.join(broken)}")
        return Decision(number, "promoted", why, best=number, **numbers)  # type: ignore[arg-type]
    in_a_row += 1
    choice: Choice = "stopped" if in_a_row >= guards.patience else "rejected"
    why = f"{measured}; rolled back: {'; '.join(broken)}"
    return Decision(number, choice, why, best=best_round, rejected_in_a_row=in_a_row, **numbers)  # type: ignore[arg-type]


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"
