"""Types found in data without a network: k-means over embeddings, and the word that marks a step.

Source: the public code of *Guiding Language Model Reasoning with Planning Tokens* (Wang et al. 2024), `k-means` and
`tf-idf`. scikit-learn finds the centres; a fitted typer needs numpy alone.
"""

import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from thinktwice.config import parse
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.planning.typers.artefact import (
    Fit,
    check_embedder,
    check_fitted,
    fit_of,
    need_embedder,
    read_tensors,
    write_typer,
)
from thinktwice.methods.planning.typers.embedding import Embed, Solution

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 4096
"""Vectors compared with the centres at a time."""


def by_solution(found: Sequence[tuple[str, ...]], solutions: Sequence[Solution]) -> list[list[tuple[str, ...]]]:
    """Give each solution the types of its steps back; as many as there are steps, or it is a programmer's error."""
    rest = iter(found)
    shared = [[next(rest) for _ in s.steps] for s in solutions]
    if next(rest, None) is not None:
        raise AssertionError("more types than steps")
    return shared


@dataclass(frozen=True, slots=True, eq=False)
class KMeans:
    """The nearest of K centres; `kmeans0` is the type of most steps. The centres are the best of ten starts."""

    types: tuple[str, ...]
    centres: "NDArray[np.float32] | None" = None
    fitted: Fit | None = None
    kind: ClassVar[str] = "k-means"

    @classmethod
    def build(cls, num_types: int, labels: tuple[str, ...]) -> Self:
        """Return the unfitted typer."""
        return cls(numbered("kmeans", num_types))

    def fit(self, solutions: Sequence[Solution], embed: Embed | None, seed: int) -> Self:
        """Return the typer with its centres; needs scikit-learn.

        Raises:
            DataError: fewer different steps than types, or nothing that embeds.
        """
        embed = need_embedder(self.kind, embed)
        cluster, exceptions = needs_sklearn(self.kind)
        vectors = embed(solutions)
        check_enough(self.kind, len(self.types), len(vectors), solutions)
        model = cluster.KMeans(len(self.types), n_init=10, random_state=seed)
        one_thread = import_module("threadpoolctl").threadpool_limits(limits=1)
        # One thread: several add up their shares in the order they finish, and rounding would differ from run to run.
        with one_thread, warnings.catch_warnings():
            warnings.simplefilter("error", exceptions.ConvergenceWarning)
            try:
                model.fit(vectors)
            except exceptions.ConvergenceWarning as error:
                raise DataError(
                    f"{self.kind} with {len(self.types)} types found fewer different steps than types; set "
                    "method.num_plan_types lower."
                ) from error
        order = np.argsort(-np.bincount(model.labels_, minlength=len(self.types)), kind="stable")
        centres = model.cluster_centers_[order].astype(np.float32)
        found = [self.types[k] for k in nearest_centre(vectors, centres)]
        return replace(self, centres=centres, fitted=fit_of(solutions, found, self.types, seed, embed))

    def predict(self, solutions: Sequence[Solution], embed: Embed | None) -> list[list[tuple[str, ...]]]:
        """Return the type of the nearest centre, for steps seen or not.

        Raises:
            DataError: not fitted, or fitted with another embedder.
        """
        embed = check_embedder(self.kind, self.fitted, embed)
        assert self.centres is not None
        nearest = nearest_centre(embed(solutions), self.centres)
        return by_solution([(self.types[k],) for k in nearest], solutions)

    def save(self, directory: Path) -> None:
        """Write types, fit and centres."""
        fitted = check_fitted(self.kind, self.fitted)
        assert self.centres is not None
        write_typer(directory, self.kind, {"types": list(self.types)}, {"centres": self.centres}, fitted)

    @classmethod
    def load(cls, saved: dict[str, Any], directory: Path) -> Self:
        """Read it back."""
        types = tuple(saved["fields"]["types"])
        centres = read_tensors(saved, directory)["centres"]
        if centres.ndim != 2 or len(centres) != len(types):
            raise DataError(f"{directory} has {len(types)} types and centres of shape {centres.shape}.")
        return cls(types, centres, parse(Fit, saved["fit"], str(directory)))


def nearest_centre(vectors: "NDArray[np.float32]", centres: "NDArray[np.float32]") -> list[int]:
    """Return the index of the nearest centre of each vector; of several as near, the first."""
    found: list[int] = []
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float64)
        far = np.stack([np.square(block - centre).sum(axis=1) for centre in centres], axis=1)
        found += far.argmin(axis=1).tolist()
    return found


_WORD = re.compile(r"[^\W\d_]{2,}")
FUNCTION_WORDS = frozenset(
    _WORD.findall(
        """about after again also am an and any are as at be because been before but by can cannot could did do
        does for from had has have he her here hers him his how if in into is it its me might must my no nor
        not of off on or our over she should so some such than that the their them then there therefore these
        they this those thus to too under up us was we were what when where which while who whom why will with
        would you your
        """
    )
)
"""Words that stand in any kind of step. Words of quantity (each, less, more, half, twice) are none of them."""


@dataclass(frozen=True, slots=True)
class TfIdf:
    """The word of highest tf-idf in a step, among the K words of highest tf-idf in all steps. No such word: no type."""

    types: tuple[str, ...]
    words: tuple[str, ...] = ()
    """The word of each type, the heaviest first."""
    idf: tuple[float, ...] = ()
    """Natural logarithm of (1 + steps) / (1 + steps with the word), plus 1."""
    fitted: Fit | None = None
    kind: ClassVar[str] = "tf-idf"

    @classmethod
    def build(cls, num_types: int, labels: tuple[str, ...]) -> Self:
        """Return the unfitted typer; its words are not known yet, so its types are numbered."""
        return cls(numbered("tfidf", num_types))

    def fit(self, solutions: Sequence[Solution], embed: Embed | None, seed: int) -> Self:
        """Return the typer with its words.

        Raises:
            DataError: fewer words than types.
        """
        counted = [words_of(step) for s in solutions for step in s.steps]
        spread = Counter(word for words in counted for word in words)
        # A word of every other step tells no step from another, and one that stands once is no type.
        usable = {w for w, n in spread.items() if 2 <= n <= len(counted) / 2 and w not in FUNCTION_WORDS}
        idf = {word: math.log((1 + len(counted)) / (1 + spread[word])) + 1 for word in usable}
        weight: Counter[str] = Counter()
        for words in counted:
            known = {word: n * idf[word] for word, n in words.items() if word in usable}
            norm = math.hypot(*known.values())
            weight.update({word: value / norm for word, value in known.items()})
        chosen = sorted(weight, key=lambda word: (-round(weight[word], 9), word))[: len(self.types)]
        if len(chosen) < len(self.types):
            raise DataError(
                f"{self.kind} needs {len(self.types)} words that stand in 2 steps or more and at most half; but "
                f"{len(counted)} steps of {len(solutions)} problems have {len(chosen)}. Lower method.num_plan_types."
            )
        fitted = replace(self, words=tuple(chosen), idf=tuple(idf[word] for word in chosen))
        found = [name for words in counted for name in fitted._type(words)]
        return replace(fitted, fitted=fit_of(solutions, found, self.types, seed))

    def predict(self, solutions: Sequence[Solution], embed: Embed | None) -> list[list[tuple[str, ...]]]:
        """Return the type of each step's word; () where it has none of the words."""
        check_fitted(self.kind, self.fitted)
        return [[self._type(words_of(step)) for step in s.steps] for s in solutions]

    def _type(self, words: "Counter[str]") -> tuple[str, ...]:
        known = zip(self.words, self.idf, self.types, strict=True)
        weights = [(words[word] * idf, name) for word, idf, name in known if word in words]
        return (max(weights, key=lambda pair: pair[0])[1],) if weights else ()

    def save(self, directory: Path) -> None:
        """Write types, words and fit."""
        fields = {"types": list(self.types), "words": list(self.words), "idf": list(self.idf)}
        write_typer(directory, self.kind, fields, fit=check_fitted(self.kind, self.fitted))

    @classmethod
    def load(cls, saved: dict[str, Any], directory: Path) -> Self:
        """Read it back."""
        read = parse(cls, {**saved["fields"], "fitted": saved["fit"]}, str(directory))
        if not len(read.types) == len(read.words) == len(read.idf):
            raise DataError(f"{directory} has {len(read.types)} types and {len(read.words)} words.")
        return read


def words_of(step: str) -> "Counter[str]":
    """Return the words of a step in small letters, counted; numbers are none."""
    return Counter(_WORD.findall(step.lower()))


def numbered(name: str, count: int) -> tuple[str, ...]:
    """Return `name0`, `name1`, ...; ConfigError for fewer than two types, which would tell nothing apart."""
    if count < 2:
        raise ConfigError(f"method.num_plan_types={count} types tell no step from another; set 2 or more.")
    return tuple(f"{name}{i}" for i in range(count))


def check_enough(kind: str, types: int, steps: int, solutions: Sequence[Solution]) -> None:
    """Raise a DataError when there are fewer steps than types."""
    if steps < types:
        raise DataError(
            f"{kind} with {types} types needs at least {types} steps to be fitted on; the {len(solutions)} problems "
            f"have {steps}. Set method.num_plan_types lower, or give more problems."
        )


def needs_sklearn(kind: str) -> tuple[Any, Any]:
    """Return scikit-learn's `cluster` and `exceptions`; ConfigError when it is not installed."""
    try:
        return import_module("sklearn.cluster"), import_module("sklearn.exceptions")
    except ImportError as error:
        raise ConfigError(f"types of kind {kind} are fitted by scikit-learn; pip install scikit-learn") from error
