"""Steps as vectors without their context, by a sentence encoder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from thinktwice.engines import sentences
from thinktwice.methods.planning.typers.embedding import PROBE, Solution

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SentenceEncoder:
    """A sentence encoder from a directory or the hub; each step is read by itself."""

    def __init__(self, path: str) -> None:
        """Load it.

        Raises:
            ModelError: it is not there, or it pools neither by the mean nor by the first token.
        """
        self.encoder = sentences.SentenceEncoder(path)

    @property
    def identity(self) -> str:
        """The model, its vocabulary, and how it pools."""
        return self.encoder.identity(PROBE)

    def __call__(self, solutions: Sequence[Solution]) -> "NDArray[np.float32]":
        """Embed.

        Raises:
            DataError: a step is longer than the encoder reads; nothing is cut.
        """
        steps = [(step, f"problem {s.problem_id} has a step") for s in solutions for step in s.steps]
        return self.encoder([step for step, _ in steps], [name for _, name in steps])
