"""Texts as vectors, to see which are alike. Law: the same texts in the same order are the same vectors, and a text's
own tokens alone make its vector (the public code averaged padding in).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from thinktwice.engines.base import Engine, ReadingEngine
from thinktwice.errors import ConfigError
from thinktwice.render import Render

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from thinktwice.engines.sentences import SentenceEncoder

PIECES = r"(?u)\w+|[^\w\s]"
"""What is counted: words, numbers of any length, and marks. scikit-learn's own rule would not see that `4 + 4 = 9` and
`4 * 4 = 8` differ, as it leaves out marks and single digits."""
TOGETHER = 64
"""Texts whose states are held in memory at a time."""


class Vectors(Protocol):
    """Turns texts into vectors."""

    def __call__(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return one vector a text, (texts, H), in their order."""
        ...


@dataclass(frozen=True, slots=True)
class HashedWords:
    """Words and marks, hashed and weighted by how few of these texts have them (tf-idf), of length 1. No model needed.

    A text without a word is the zero vector.
    """

    width: int = 1024
    """H. Words that fall on the same place count as one; 1024 places tell the words of a few critiques apart."""

    def __call__(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Embed.

        Raises:
            ConfigError: scikit-learn is not installed.
        """
        if not texts:
            return np.zeros((0, self.width), np.float32)
        words = needs_sklearn("feature_extraction.text")
        hashing = words.HashingVectorizer(
            n_features=self.width, token_pattern=PIECES, norm=None, alternate_sign=False, dtype=np.float64
        )
        weighted = words.TfidfTransformer(norm="l2").fit_transform(hashing.transform(texts))
        return np.asarray(weighted.toarray(), np.float32)


@dataclass(frozen=True, slots=True)
class ModelStates:
    """The states of the model itself: last layer, mean over the text's tokens. A text without tokens is all zeros."""

    engine: ReadingEngine
    render: Render

    def __call__(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Embed.

        Raises:
            DataError: a text is longer than the model reads; nothing is cut.
        """
        found = []
        for start in range(0, len(texts), TOGETHER):
            chunk = [self.render.encode(text) for text in texts[start : start + TOGETHER]]
            for states in self.engine.token_states(chunk):  # (T, H)
                found.append(states.mean(axis=0) if len(states) else np.zeros(states.shape[1], np.float32))
        return np.stack(found) if found else np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Sentences:
    """A sentence encoder's vectors."""

    encoder: "SentenceEncoder"

    def __call__(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Embed.

        Raises:
            DataError: a text is longer than the encoder reads; nothing is cut.
        """
        return self.encoder(texts, [f"feedback {text[:40]!r} is a text" for text in texts])


def vectors_of(embed: str, engine: Engine | None, render: Render | None) -> Vectors:
    """Return what a recipe's word names: "words", "model" (the engine's own states), or a sentence encoder's place.

    Args:
        embed: the word, or the directory or hub id of a sentence encoder.
        engine: of the model; only a local one shows its states.
        render: of the engine's model.

    Raises:
        ConfigError: "model" is asked of an engine that shows no states.
        ModelError: no sentence encoder could be loaded.
    """
    if embed == "words":
        return HashedWords()
    if embed == "model":
        if render is None or not isinstance(engine, ReadingEngine):
            raise ConfigError('this engine shows no states, so it embeds nothing; use a local model, or "words".')
        return ModelStates(engine, render)
    from thinktwice.engines.sentences import SentenceEncoder

    return Sentences(SentenceEncoder(embed))


def needs_sklearn(module: str) -> Any:
    """Return a module of scikit-learn; ConfigError when it is not installed."""
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise ConfigError(
            "votes and prompt examples compare texts with scikit-learn; pip install 'thinktwice[train]'"
        ) from error
