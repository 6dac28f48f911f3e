"""Pairs that n-grams cannot tell apart. Law: who is left out is decided by n-grams and chance, never by a verifier.

What a model gets wrong has a style of its own, even where the prompt, the author and the length are the same (a small
model that guesses writes small numbers). A pair that n-grams judge rightly with some confidence is kept with one that
they judge wrongly with the same, and one whose right candidate is the longer text with one whose is the shorter; what
is over is left out. (The idea of adversarial filtering: Le Bras et al., 2020.)
"""

import random
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from thinktwice.methods.transplant.data import Item, folds
from thinktwice.methods.transplant.shortcuts import Scores, n_grams

BIN = 20
"""Pairs of like confidence that are evened out together."""
PARTS = 5


def even(pairs: Mapping[str, Sequence[Item]], seed: int = 0) -> dict[str, list[Item]]:
    """Return, by split, as many pairs that n-grams judge rightly as wrongly, at every confidence.

    They are fitted on the train pairs; these are judged out of fold, all pairs of a question in one fold.

    Args:
        pairs: by split, "train" among them.
        seed: of chance.
    """
    score = partial(n_grams, unit="char_wb")
    train = list(pairs["train"])
    kept: dict[str, list[Item]] = {}
    for split, own in pairs.items():
        if split != "train":
            kept[split] = _evened(own, score(train, own), seed)
            continue
        scores = np.zeros(len(train))
        parts = folds(train, min(PARTS, len({item.group for item in train})), seed)
        for part in parts:
            held = set(part)
            known = [item for index, item in enumerate(train) if index not in held]
            if part and known:
                scores[part] = score(known, [train[index] for index in part])
        kept[split] = _evened(train, scores, seed)
    return kept


def _evened(pairs: Sequence[Item], scores: Scores, seed: int) -> list[Item]:
    towards = np.where([item.right == 0 for item in pairs], scores, -scores)
    order = sorted(range(len(pairs)), key=lambda index: abs(float(towards[index])))
    chance = random.Random(f"even:{seed}")
    kept: set[int] = set()
    for start in range(0, len(order), BIN):
        cells: dict[tuple[bool, int], list[int]] = {}
        for index in order[start : start + BIN]:
            cells.setdefault((bool(towards[index] > 0), _longer(pairs[index])), []).append(index)
        for (hit, longer), some in cells.items():
            others = cells.get((not hit, -longer), [])
            kept.update(chance.sample(some, min(len(some), len(others))))
    return [item for index, item in enumerate(pairs) if index in kept]


def even_lengths(pairs: Sequence[Item], seed: int = 0) -> list[Item]:
    """Return as many pairs in which the right candidate's text is the longer one as pairs in which it is the shorter.

    For what was chosen among evened pairs: one a question counts questions with few pairs for more.
    """
    sides = [[item.id for item in pairs if _longer(item) == side] for side in (1, -1)]
    fewest = min(map(len, sides))
    over = {name for side in sides for name in side}
    for side in sides:
        over -= set(random.Random(f"lengths:{seed}").sample(side, fewest))
    return [item for item in pairs if item.id not in over]


def _longer(pair: Item) -> int:
    """Return 1 where the right candidate's text is longer, -1 where it is shorter, 0 where both are as long."""
    right, wrong = sorted(pair.candidates, key=lambda candidate: not candidate.right)
    return (len(right.text) > len(wrong.text)) - (len(right.text) < len(wrong.text))
