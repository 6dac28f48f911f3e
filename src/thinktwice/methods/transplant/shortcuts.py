"""What reaches a score on pairs of candidates without understanding them. Law: no language model, no look at test.

Every shortcut is a score of each pair: above 0 says slot 1, below 0 slot 2, 0 is a coin. The n-grams are a logistic
regression on the difference of two TF-IDF vectors, so that it has no slot to prefer; how they are cut and how strongly
they are regularised was chosen on the seed's training rows alone (5 folds), before its test rows were read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinktwice.errors import ConfigError
from thinktwice.methods.transplant.data import Candidate, Item, folds, last_step_start
from thinktwice.tasks.equations import equations

Scores = NDArray[np.float64]
Fit = Callable[[Sequence[Item], Sequence[Item]], Scores]
"""`(train, test) -> scores of test`."""

INNER_FOLDS = 5
STRENGTH = 10.0
"""Inverse regularisation of the n-grams' regression."""


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A way to a score."""

    name: str
    fit: Fit
    legible: bool = True
    """Whether a verifier that reads the candidates can take it; who wrote a candidate is not written in it."""
    argued: bool = False
    """Whether it needs the argument of the data."""


def available(items: Sequence[Item]) -> list[Shortcut]:
    """Return the shortcuts that these pairs allow."""
    found = [
        Shortcut("always slot 1", lambda train, test: np.ones(len(test))),
        Shortcut("always slot 2", lambda train, test: -np.ones(len(test))),
        Shortcut("follow the argument", follow, argued=True),
        Shortcut("longer text", lambda train, test: _by(test, lambda c: float(len(c.text)))),
        Shortcut("fewer false equations", lambda train, test: _by(test, lambda c: -float(false_equations(c.text)))),
        Shortcut("n-grams of words", partial(n_grams, unit="word")),
        Shortcut("n-grams of characters", partial(n_grams, unit="char_wb")),
        Shortcut("n-grams of the last step", partial(n_grams, unit="word", part=last_step)),
        Shortcut("n-grams + the argument's choice", stacked, argued=True),
        Shortcut("who wrote it", generators, legible=False),
    ]
    argued = any(item.argued_for is not None for item in items)
    named = len({candidate.generator for item in items for candidate in item.candidates}) > 1
    return [s for s in found if (argued or not s.argued) and (named or s.legible)]


def follow(train: Sequence[Item], test: Sequence[Item]) -> Scores:
    """Score the candidate that the argument chooses."""
    return np.array([0.0 if i.argued_for is None else 1.0 - 2.0 * i.argued_for for i in test])


def false_equations(text: str) -> int:
    """Return how many equations of a text are certainly wrong."""
    return sum(equation.is_false for line in text.splitlines() for equation in equations(line + "\n"))


def last_step(text: str) -> str:
    """Return the last step of a text (`data.last_step_start`)."""
    return text[last_step_start(text) :]


def _by(items: Sequence[Item], value: Callable[[Candidate], float]) -> Scores:
    return np.sign([value(item.candidates[0]) - value(item.candidates[1]) for item in items])


# -- learned -----------------------------------------------------------------------------------------------------------


def n_grams(
    train: Sequence[Item], test: Sequence[Item], *, unit: str, part: Callable[[str], str] = lambda text: text
) -> Scores:
    """Score by n-grams of the candidates: words and marks (1 to 2) or characters within words (2 to 5)."""
    differences = _vectors([*train, *test], len(train), unit, part)
    learned = _learn(differences[: len(train)], _labels(train))
    return np.asarray(differences[len(train) :] @ learned, dtype=np.float64)


def stacked(train: Sequence[Item], test: Sequence[Item]) -> Scores:
    """Score by n-grams of words and by which slot the argument chooses, each slot with its own weight.

    The n-grams' scores of train that the second regression learns from are out of fold.
    """
    labels = _labels(train)
    differences = _vectors([*train, *test], len(train), "word", lambda text: text)
    known, asked = differences[: len(train)], differences[len(train) :]
    out_of_fold = np.zeros(len(train))
    for held in folds(train, INNER_FOLDS):
        rest = np.setdiff1d(np.arange(len(train)), held)
        if len(rest) and len(held):
            out_of_fold[held] = known[held] @ _learn(known[rest], labels[rest])
    scale = float(out_of_fold.std()) or 1.0
    second = _learn(_with_choice(out_of_fold / scale, train), labels, solver="lbfgs")
    scores = np.asarray(asked @ _learn(known, labels)) / scale
    return np.asarray(_with_choice(scores, test) @ second, dtype=np.float64)


def generators(train: Sequence[Item], test: Sequence[Item]) -> Scores:
    """Score by who wrote the candidates, and by nothing else."""
    names = sorted({candidate.generator for item in train for candidate in item.candidates})
    known, asked = (
        np.array(
            [
                [float(i.candidates[0].generator == n) - float(i.candidates[1].generator == n) for n in names]
                for i in some
            ]
        )
        for some in (train, test)
    )
    return np.asarray(asked.reshape(len(test), len(names)) @ _learn(known, _labels(train)), dtype=np.float64)


def _labels(items: Sequence[Item]) -> NDArray[np.int64]:
    """Return 1 where slot 1 is right, else -1."""
    return np.array([1 if item.right == 0 else -1 for item in items])


def _with_choice(scores: Scores, items: Sequence[Item]) -> Scores:
    chosen = np.array([[float(item.argued_for == 0), float(item.argued_for == 1)] for item in items])
    return np.column_stack([scores, chosen])


def _vectors(items: Sequence[Item], train: int, unit: str, part: Callable[[str], str]) -> Any:
    """Return slot 1's TF-IDF vector less slot 2's, a row a pair; the vocabulary is of the first `train` pairs."""
    extraction = sklearn("feature_extraction.text")
    shape: dict[str, Any] = (
        {"ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"}
        if unit == "word"
        else {"ngram_range": (2, 5), "analyzer": unit}
    )
    vectorizer = extraction.TfidfVectorizer(sublinear_tf=True, min_df=2 if train > 50 else 1, **shape)
    sides = [[part(item.candidates[slot].text) for item in items] for slot in (0, 1)]
    vectorizer.fit([*sides[0][:train], *sides[1][:train]])
    places = {text: place for place, text in enumerate(dict.fromkeys([*sides[0], *sides[1]]))}
    vectors = vectorizer.transform(list(places))  # a candidate of many pairs is cut up once
    first, second = ([places[text] for text in side] for side in sides)
    return (vectors[first] - vectors[second]).tocsr()


def _learn(features: Any, labels: NDArray[np.int64], solver: str = "liblinear") -> Scores:
    """Return the weights of a logistic regression without intercept that sees every pair in both orders.

    Seeing (x, y) and (-x, -y) gives the same likelihood twice, so each pair is given once, in alternate orders: the
    solver then has both classes whatever the labels.
    """
    linear = sklearn("linear_model")
    turn = np.where(np.arange(len(labels)) % 2, -1, 1) * labels  # the classes alternate
    if len(labels) < 2:
        return np.zeros(features.shape[1])
    turned = features.multiply(turn[:, None]).tocsr() if hasattr(features, "multiply") else features * turn[:, None]
    model = linear.LogisticRegression(C=STRENGTH, fit_intercept=False, solver=solver, random_state=0)
    return np.asarray(model.fit(turned, turn * labels).coef_[0], dtype=np.float64)


def sklearn(module: str) -> Any:
    """Return one of scikit-learn's modules.

    Raises:
        ConfigError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(f"sklearn.{module}")
    except ModuleNotFoundError:
        raise ConfigError("n-grams and probes need scikit-learn; pip install 'thinktwice[train]'.") from None
