"""How far two labellers agree beyond chance."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from thinktwice.errors import DataError


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two labellers of the same steps."""

    steps: int
    accuracy: float
    """Share of steps with the same label."""
    kappa: float | None
    """Cohen's kappa: 1 is full agreement, 0 what chance gives; None where chance alone gives full agreement."""
    confusion: dict[str, dict[str, int]]
    """First labeller's label -> second labeller's -> steps."""

    def __str__(self) -> str:
        """One line."""
        kappa = "undefined" if self.kappa is None else f"{self.kappa:.3f}"
        return f"{self.accuracy:.1%} of {self.steps} steps have the same label, Cohen's kappa {kappa}"


def agreement(labels_a: Sequence[str], labels_b: Sequence[str]) -> Agreement:
    """Compare two labellings step by step.

    Source: Cohen, *A coefficient of agreement for nominal scales* (1960): (observed - expected) / (1 - expected).

    Raises:
        DataError: they are not of the same steps, or there are none.

    Example:
        >>> agreement(["rag", "rag", "reason", "reason"], ["rag", "reason", "reason", "reason"]).kappa
        0.5
    """
    if len(labels_a) != len(labels_b) or not labels_a:
        raise DataError(f"agreement needs two labels for each step; got {len(labels_a)} and {len(labels_b)}.")
    count = len(labels_a)
    pairs = Counter(zip(labels_a, labels_b, strict=True))
    first, second = Counter(labels_a), Counter(labels_b)
    same = sum(number for (a, b), number in pairs.items() if a == b)
    chance = sum(first[label] * second[label] for label in first)  # times count squared: whole numbers stay exact
    kappa = None if chance == count**2 else (same * count - chance) / (count**2 - chance)
    confusion = {a: {b: pairs[a, b] for b in sorted(second)} for a in sorted(first)}
    return Agreement(count, same / count, kappa, confusion)
