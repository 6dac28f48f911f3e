"""What a typer reads, and how its steps become vectors. Law: a step's vector is made of exactly that step's own tokens.

Source: *Guiding Language Model Reasoning with Planning Tokens* (Wang et al. 2024): the last layer of the model that is
to be tuned, mean over the tokens of a step, which the model read after the question and the steps before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from thinktwice.engines.base import Engine, ReadingEngine
from thinktwice.errors import DataError
from thinktwice.render import Render

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROBE = "Ann has 3 apples.\nSo 3 + 4 = 7, which is more than 5.\n"
"""What an embedder's identity looks at: the same text must be the same ids, and those have the same rows."""
TOGETHER = 64
"""Texts whose states are held in memory at a time."""


@dataclass(frozen=True, slots=True)
class Solution:
    """What a typer reads of one problem."""

    problem_id: str
    question: str
    steps: tuple[str, ...]
    """The lines before the answer line, without line breaks."""
    labels: tuple[str, ...] = ()
    """The dataset's own, one a step, or none."""


class Embed(Protocol):
    """Turns the steps of solutions into vectors. A typer that was fitted with one refuses every other."""

    @property
    def identity(self) -> str:
        """Names the embedder for a person, with a hash of what its vectors depend on."""
        ...

    def __call__(self, solutions: Sequence[Solution]) -> "NDArray[np.float32]":
        """Return one vector a step, (sum of steps, H), in the order of the solutions and their steps."""
        ...


def embedder_of(engine: Engine | None, render: Render, encoder: str | None = None) -> Embed | None:
    """Return what embeds steps: a sentence encoder where one is named, else the engine's own model; None where neither.

    Args:
        engine: a local one shows its states; a server does not.
        render: of the engine's model.
        encoder: directory or hub id of a sentence encoder.
    """
    if encoder is not None:
        from thinktwice.methods.planning.typers.sentences import SentenceEncoder

        return SentenceEncoder(encoder)
    return ModelEmbedder(engine, render) if isinstance(engine, ReadingEngine) else None


@dataclass(frozen=True)
class ModelEmbedder:
    """The states of the model itself: last layer, mean over the step's tokens, after the question and earlier steps.

    Question and steps are encoded as in training, each step by itself, so where a step begins is known by counting ids.
    """

    engine: ReadingEngine
    render: Render

    @property
    def identity(self) -> str:
        """The model, apart from rows that were added to its vocabulary, and how it is shown a question."""
        return self.engine.fingerprint((*self.render.question(PROBE), *self.render.encode(PROBE)))

    def __call__(self, solutions: Sequence[Solution]) -> "NDArray[np.float32]":
        """Embed.

        Raises:
            DataError: a step holds a line break or has no tokens, or a text is longer than the model reads.
        """
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(solutions), TOGETHER):
            chunk = solutions[start : start + TOGETHER]
            prompts = [self.render.question(s.question) for s in chunk]
            steps = [self._encoded(s) for s in chunk]
            texts = [
                (*prompt, *(i for ids in lines for i in ids)) for prompt, lines in zip(prompts, steps, strict=True)
            ]
            for prompt, lines, states in zip(prompts, steps, self._states(texts, chunk), strict=True):
                at = len(prompt)
                for ids in lines:
                    found.append(states[at : at + len(ids)].mean(axis=0))
                    at += len(ids)
        return np.stack(found) if found else np.zeros((0, 0), np.float32)

    def _states(self, texts: Sequence[tuple[int, ...]], solutions: Sequence[Solution]) -> "list[NDArray[np.float32]]":
        try:
            return self.engine.token_states(texts)
        except DataError as error:
            longest = max(range(len(texts)), key=lambda index: len(texts[index]))
            raise DataError(f"problem {solutions[longest].problem_id}: {error}") from error

    def _encoded(self, solution: Solution) -> list[tuple[int, ...]]:
        """Return the ids of each step: its line as training has it, line break included."""
        if not solution.steps:
            return []
        lines = list(self.render.steps("".join(f"{step}\n" for step in solution.steps)))
        if len(lines) != len(solution.steps):
            raise DataError(f"a step of problem {solution.problem_id} holds a line break of its own; steps are lines.")
        lines[-1] = lines[-1][:-1]  # the end token is not the step's
        if not all(lines):
            raise DataError(f"problem {solution.problem_id} has a step without tokens; take empty lines out.")
        return lines
