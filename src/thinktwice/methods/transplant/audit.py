"""The bar that a verifier must beat, before it is trained: `audit` of pairs of candidates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from thinktwice.errors import DataError
from thinktwice.methods.transplant.data import Item, Likeness, Pairing, folds, pairs
from thinktwice.methods.transplant.measures import Fact, facts
from thinktwice.methods.transplant.seed_data import Source
from thinktwice.methods.transplant.shortcuts import Scores, Shortcut, available
from thinktwice.scoring.verifier import clustered

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """How far one shortcut comes. Law: a coin is half right; every tested pair counts."""

    name: str
    accuracy: float
    ci: tuple[float, float]
    """95 % interval: bootstrap over questions."""
    n: int
    undecided: int = 0
    """Pairs on which it has nothing to say."""
    legible: bool = True
    """Whether the candidates' texts show it."""
    repeated: tuple[float, float] | None = None
    """Mean and standard deviation over other random splits, where they were asked for."""


@dataclass(frozen=True)
class Audit:
    """What a set of pairs gives away."""

    kind: str
    items: int
    pairs: int
    questions: int
    split: str
    """How train and test were parted, in words."""
    tested: int
    bars: tuple[Bar, ...]
    facts: tuple[Fact, ...]

    @property
    def bar(self) -> Bar:
        """The best shortcut that the texts (and the argument) allow."""
        return max((bar for bar in self.bars if bar.legible), key=lambda bar: bar.accuracy)

    @property
    def sentence(self) -> str:
        """What a verifier must beat."""
        best = self.bar
        low, high = best.ci
        said = (
            f"A verifier must beat {100 * best.accuracy:.1f} % on this split ({best.name}, 95 % interval "
            f"{100 * low:.1f} to {100 * high:.1f}, n = {best.n})."
        )
        hidden = max((bar for bar in self.bars if not bar.legible), key=lambda bar: bar.accuracy, default=None)
        if hidden is not None and hidden.ci[0] > 0.5:
            said += (
                f" Knowing who wrote each candidate alone gives {100 * hidden.accuracy:.1f} %: pair within a "
                "generator, or balance."
            )
        return said


def audit(
    source: Source,
    *,
    by_generator: Pairing = "any",
    alike: Likeness = "any",
    most: int | None = None,
    repeats: int = 0,
    seed: int = 0,
) -> Audit:
    """Measure every shortcut on the authors' split, or by 5 folds over questions where there is none.

    Args:
        source: what `read_source` returns.
        by_generator: how candidates become pairs (`pairs`).
        alike: which candidates may meet (`pairs`).
        most: pairs of one question at most.
        repeats: so many random 90/10 splits more, for the spread (the n-grams of characters are left out: slow).
        seed: of pairing, folds and repeats.

    Raises:
        DataError: no pair of a right and a wrong candidate is left, or too few questions to hold some out.
    """
    paired = pairs(source.items, by_generator=by_generator, alike=alike, most=most, seed=seed)
    if not paired:
        raise DataError(
            "no question has a right and a wrong candidate" + (" under this pairing" if source.items else "") + "; "
            "sample more, or harder questions, or allow pairs of different generators."
        )
    fixed = source.test if len(paired) == len(source.items) else ()
    splits = [_split(len(paired), fixed)] if fixed else _by_fold(paired, seed)
    how = f"the authors' test rows, {len(paired) - len(fixed)} to train on" if fixed else f"{FOLDS} folds by question"
    tested = [index for _, test in splits for index in test]
    spread = {s.name: _repeated(s, paired, repeats, seed) for s in available(paired)} if repeats else {}
    bars = [_bar(shortcut, paired, splits, spread.get(shortcut.name)) for shortcut in available(paired)]
    return Audit(
        kind=source.kind,
        items=len(source.items),
        pairs=len(paired),
        questions=len({item.group for item in paired}),
        split=how,
        tested=len(tested),
        bars=tuple(bars),
        facts=tuple(facts(paired, fixed)),
    )


Split = tuple[list[int], list[int]]


def _split(count: int, test: Sequence[int]) -> Split:
    held = set(test)
    return [index for index in range(count) if index not in held], list(test)


def _by_fold(paired: Sequence[Item], seed: int) -> list[Split]:
    if len({item.group for item in paired}) < FOLDS:
        raise DataError(f"{len(paired)} pairs of fewer than {FOLDS} questions are too few to hold some out.")
    return [_split(len(paired), part) for part in folds(paired, FOLDS, seed)]


def _bar(
    shortcut: Shortcut, paired: Sequence[Item], splits: Iterable[Split], repeated: tuple[float, float] | None
) -> Bar:
    tested: list[Item] = []
    credits: list[float] = []
    undecided = 0
    for train, test in splits:
        asked = [paired[index] for index in test]
        scores = shortcut.fit([paired[index] for index in train], asked)
        undecided += int((np.abs(scores) < 1e-12).sum())
        credits += credit(scores, asked).tolist()
        tested += asked
    mean = clustered(credits, [item.group for item in tested])
    return Bar(shortcut.name, mean.value, mean.ci, len(tested), undecided, shortcut.legible, repeated)


def credit(scores: Scores, items: Sequence[Item]) -> Scores:
    """Return 1 for each pair whose right slot has the higher score, 0 for the other, a half where it is a coin."""
    towards = np.where([item.right == 0 for item in items], scores, -scores)
    return np.where(np.abs(towards) < 1e-12, 0.5, (towards > 0).astype(float))


def _repeated(shortcut: Shortcut, paired: Sequence[Item], repeats: int, seed: int) -> tuple[float, float] | None:
    if "characters" in shortcut.name:
        return None
    found = []
    for repeat in range(repeats):
        train, test = _split(len(paired), folds(paired, 10, seed + 1 + repeat)[0])
        asked = [paired[index] for index in test]
        found.append(float(credit(shortcut.fit([paired[index] for index in train], asked), asked).mean()))
    return float(np.mean(found)), float(np.std(found, ddof=1)) if repeats > 1 else 0.0
