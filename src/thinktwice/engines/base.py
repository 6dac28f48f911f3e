"""What an engine is: token ids in, token ids out."""

from collections.abc import Callable, Sequence
from typing import Protocol

from thinktwice.types import Completion, Control, RowView, Sampling

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
