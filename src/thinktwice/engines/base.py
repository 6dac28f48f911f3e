"""What an engine is: token ids in, token ids out."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from thinktwice.types import Choice, Completion, Control, RowView, Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LogitsRule = Callable[[Sequence[RowView], "object"], "object"]
"""`(rows, logits_BV) -> logits_BV`: changes next-token scores (torch float tensor) knowing only the visible ids."""


class Engine(Protocol):
    """Turns prompts into completions. Law: order and length are preserved; a row that fails is data, not a crash."""

    @property
    def name(self) -> str:
        """Names the model and the way it is run, for records."""
        ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        controls: Sequence[Control] = (),
        rules: Sequence[LogitsRule] = (),
        keys: Sequence[int] | None = None,
    ) -> list[Completion]:
        """Complete every prompt (token ids).

        `keys[r]` makes row r's random stream independent of its place in the batch; default: its index.
        """
        ...


class ProbingEngine(Engine, Protocol):
    """An engine whose model can be looked into: local ones."""

    def token_margins(self, sequences: Sequence[Sequence[int]], token_id: int) -> list[list[float]]:
        """Return, after each token of each sequence, the logit of `token_id` less the largest other logit."""
        ...


@runtime_checkable
class ChoosingEngine(Protocol):
    """An engine that says which candidate is right, reading states of their texts: local ones."""

    def choose(self, choices: Sequence[Choice]) -> list[tuple[float, ...]]:
        """Return, for each choice, the natural-log probability of each of its options, normalised over the options."""
        ...


@runtime_checkable
class ReadingEngine(Protocol):
    """An engine that shows what its model makes of a text: local ones."""

    def token_states(self, sequences: Sequence[Sequence[int]]) -> "list[NDArray[np.float32]]":
        """Return, for each sequence of T ids, the last layer's states (T, H)."""
        ...

    def fingerprint(self, token_ids: Sequence[int]) -> str:
        """Return one line that is the same for models with the same states."""
        ...
