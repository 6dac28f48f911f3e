"""Pairs that n-grams cannot tell apart. Law: who is left out is decided by n-grams and chance, never by a verifier.

What a model gets wrong has a style of its own, even where the prompt, the author and the length are the same (a small
model that guesses writes small numbers). A pair that n-grams judge rightly with some confidence is kept with one that
they judge wrongly with the same; what is over is left out. (The idea of adversarial filtering: Le Bras et al., 2020.)
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
        near = order[start : start + BIN]
        sides = [[index for index in near if (towards[index] > 0) == hit] for hit in (True, False)]
        fewest = min(map(len, sides))
        for side in sides:
            kept.update(chance.sample(side, fewest))
    return [item for index, item in enumerate(pairs) if index in kept]
