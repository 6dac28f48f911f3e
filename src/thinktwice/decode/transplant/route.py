"""What a way of moving keys and values is, and the last step that all of them share: the scores of the identifiers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from thinktwice.decode.transplant.batch import ChoiceBatch
from thinktwice.decode.transplant.sites import Key

States = dict[Key, Tensor]
"""Of every moved layer and part, the states of the U rows: (U, C) or (U, heads, size), as the route keeps them."""


class Route(Protocol):
    """A way to move keys and values. Law: all ways give the same logits, up to rounding.

    Both methods are contexts. Under gradient checkpointing the layers are run once more by `backward`, and what was
    hooked into the model must still be there: a context is left after the backward pass of what it gave, and one
    is left before the other is entered. Without checkpointing neither matters.
    """

    @property
    def by_shift(self) -> bool:
        """Batches must be made with this `by_shift`."""
        ...

    @property
    def trains_checkpointed(self) -> bool:
        """Gradients are right under gradient checkpointing too."""
        ...

    def argue(self, batch: ChoiceBatch) -> AbstractContextManager[States]:
        """Read the argued texts and give the states of the rows that are moved from them."""
        ...

    def choose(self, batch: ChoiceBatch, states: States) -> AbstractContextManager[Tensor]:
        """Read the chooser's texts with these states in their place; give the logits (B, V) after the last token."""
        ...


@contextmanager
def hooked(modules: Iterator[tuple[nn.Module, Any]]) -> Iterator[None]:
    """Put forward hooks on modules until the context is left."""
    handles = [module.register_forward_hook(hook) for module, hook in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def read_last(model: PreTrainedModel, last_B: Tensor, **inputs: Any) -> Tensor:
    """Run the model and return its logits (B, V) after token `last_B` of every row, fp32.

    Only these rows go through the head, and what the model does to its logits (caps, scales) is done to them.
    """
    rows_B = torch.arange(len(last_B), device=last_B.device)

    def gather(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden_BTD = arguments[0]
        if hidden_BTD.ndim != 3:
            return arguments
        kept_B1D = hidden_BTD[rows_B.to(hidden_BTD.device), last_B.to(hidden_BTD.device)][:, None]
        return (kept_B1D, *arguments[1:])

    head: Any = cast(Any, model).get_output_embeddings()
    handle = None if head is None else head.register_forward_pre_hook(gather)
    try:
        logits_BTV = model(**inputs, use_cache=False).logits
    finally:
        if handle is not None:
            handle.remove()
    if logits_BTV.shape[1] != 1:  # a head that is no module of its own
        logits_BTV = logits_BTV[rows_B, last_B][:, None]
    found: Tensor = logits_BTV[:, 0].float()
    return found
