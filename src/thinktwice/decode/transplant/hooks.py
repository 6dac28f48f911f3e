"""The route of hooks: rows of the projections' outputs, before norms and positions.

Moved there, keys get the chooser's own norm and its own positions, so nothing has to be put right afterwards; it is
what the seed's patched attention did. Exact in every number format, differentiable, right under gradient checkpointing.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from thinktwice.decode.transplant.batch import ChoiceBatch
from thinktwice.decode.transplant.route import States, hooked, read_last
from thinktwice.decode.transplant.sites import Enough, Key, Site, body, is_checkpointing
from thinktwice.errors import ModelError


class HookRoute:
    """Moves rows of what the key and value projections put out."""

    by_shift = False
    trains_checkpointed = True

    def __init__(self, model: PreTrainedModel, sites: Sequence[Site], keys: Collection[Key]) -> None:
        """Take the model, where its keys and values are made, and which of them are moved.

        Raises:
            ModelError: keys are to be moved without values, or the other way round, and both are made of one thing.
        """
        self.model = model
        self.sites = [site for site in sites if site.key in keys]
        made_of = {site.key: (site.path, None if site.columns_C is None else int(site.columns_C[0])) for site in sites}
        one = {layer for layer, part in made_of if made_of[layer, "k"] == made_of[layer, "v"]}
        if alone := sorted(layer for layer in one if len({(layer, "k"), (layer, "v")} & set(keys)) == 1):
            raise ModelError(
                f"Layers {alone} of {type(model).__name__} make keys and values of the same numbers, so that neither "
                "can be moved alone; set train.transplant_parts=kv."
            )

    @contextmanager
    def argue(self, batch: ChoiceBatch) -> Iterator[States]:
        """Read the argued texts. Layers above the last that is moved are not computed."""
        states: States = {}
        # A checkpointed layer is run once more in the backward pass, and must then do the same again.
        early = not is_checkpointing(self.model)

        def take(site: Site, _: nn.Module, __: Any, output: Tensor) -> None:
            states.setdefault(site.key, site.rows(output, batch.from_U))
            if early and len(states) == len(self.sites):
                raise Enough

        if not len(batch.from_U):
            yield states
            return
        with ExitStack() as hooks:
            hooks.enter_context(hooked((site.module, partial(take, site)) for site in self.sites))
            with suppress(Enough):
                body(self.model)(input_ids=batch.argued_ids_NT, use_cache=False)
            if early:
                hooks.close()
            yield states

    @contextmanager
    def choose(self, batch: ChoiceBatch, states: States) -> Iterator[Tensor]:
        """Read the chooser's texts; rows that are replaced are computed first, to no effect where all are."""

        def put(site: Site, _: nn.Module, __: Any, output: Tensor) -> Tensor:
            state_UC = states[site.key]
            return site.replace(output, batch.to_M, state_UC[batch.take_M.to(state_UC.device)])

        sites = self.sites if len(batch.to_M) else []
        with hooked((site.module, partial(put, site)) for site in sites):
            yield read_last(self.model, batch.lengths_B - 1, input_ids=batch.token_ids_BT)
