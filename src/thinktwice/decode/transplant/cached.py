"""The fast route: the arguer's keys and values as a cache before the chooser, which reads only its own rows.

Where every layer's keys and values are moved, what the chooser would compute at those rows reaches nothing. It then
reads the few rows that are left, with a mask that shows each what stands before it in the text, in place or in the
cache.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from thinktwice.decode.transplant.batch import ChoiceBatch
from thinktwice.decode.transplant.rotation import Rotation
from thinktwice.decode.transplant.route import States, read_last
from thinktwice.decode.transplant.sites import Collector, Enough, body

NEVER = 1 << 40
"""Position of padding: after everything."""


class CachedRoute:
    """Moves whole rows of the cache. Only for all layers, keys and values both."""

    by_shift = False
    trains_checkpointed = False  # a checkpointed layer is given no cache

    def __init__(self, model: PreTrainedModel, rotations: Sequence[Rotation]) -> None:
        """Take the model and how its layers turn their keys."""
        self.model, self.rotations = model, rotations

    @contextmanager
    def argue(self, batch: ChoiceBatch) -> Iterator[States]:
        """Read the argued texts; nothing after the last layer's keys and values is computed."""
        states: States = {}
        if len(batch.from_U):
            collector = Collector(last=len(self.rotations) - 1)
            with suppress(Enough):
                body(self.model)(input_ids=batch.argued_ids_NT, past_key_values=collector, use_cache=True)
            for layer, both in collector.states.items():
                keys_RHD, values_RHD = (state_BHTD.transpose(1, 2).flatten(0, 1) for state_BHTD in both)
                from_U = batch.from_U.to(keys_RHD.device)
                states[layer, "k"], states[layer, "v"] = keys_RHD[from_U], values_RHD[from_U]
        yield states

    @contextmanager
    def choose(self, batch: ChoiceBatch, states: States) -> Iterator[Tensor]:
        """Read the chooser's own rows."""
        if not len(batch.to_M):
            yield read_last(self.model, batch.lengths_B - 1, input_ids=batch.token_ids_BT)
            return
        rows, width = batch.token_ids_BT.shape
        device = batch.to_M.device
        column_T = torch.arange(width, device=device)
        moved_BT = torch.zeros(rows, width, dtype=torch.bool, device=device)
        moved_BT.view(-1)[batch.to_M] = True
        own_BT = (column_T < batch.lengths_B[:, None]) & ~moved_BT
        counts_B = own_BT.sum(1)
        most = int(counts_B.max())
        # Own rows first, in their order; what is beyond a row's count is padding.
        order_BQ = torch.argsort((~own_BT).to(torch.uint8), dim=1, stable=True)[:, :most]
        real_BQ = column_T[:most] < counts_B[:, None]
        positions_BQ = order_BQ.where(real_BQ, 0)
        ids_BQ = batch.token_ids_BT.gather(1, order_BQ)
        row_M = batch.to_M // width
        before_B = moved_BT.sum(1).cumsum(0) - moved_BT.sum(1)
        slot_M = torch.arange(len(batch.to_M), device=device) - before_B[row_M]
        slots = int(slot_M.max()) + 1
        position_BP = torch.full((rows, slots), NEVER, device=device)
        position_BP[row_M, slot_M] = batch.to_M % width
        at_BK = torch.cat([position_BP, order_BQ.where(real_BQ, NEVER)], dim=1)
        hidden_BQK = at_BK[:, None] > positions_BQ[:, :, None]
        dtype = self.model.dtype
        mask_B1QK = torch.where(hidden_BQK, torch.finfo(dtype).min, 0.0).to(dtype)[:, None]
        flat_M = row_M * slots + slot_M
        cache = DynamicCache()
        for layer, rotation in enumerate(self.rotations):
            keys_UHD, values_UHD = states[layer, "k"], states[layer, "v"]
            keys_MHD = rotation.turn(keys_UHD[batch.take_M.to(keys_UHD.device)], batch.shift_M)
            values_MHD = values_UHD[batch.take_M.to(values_UHD.device)]
            cache.update(_spread(keys_MHD, flat_M, rows, slots), _spread(values_MHD, flat_M, rows, slots), layer)
        inputs = {"input_ids": ids_BQ, "position_ids": positions_BQ, "attention_mask": mask_B1QK}
        yield read_last(self.model, counts_B - 1, **inputs, past_key_values=cache)


def _spread(moved_MHD: Tensor, flat_M: Tensor, rows: int, slots: int) -> Tensor:
    """Return the rows in their slots, (B, heads, P, size); empty slots are 0, which the mask hides."""
    room = moved_MHD.new_zeros(rows * slots, *moved_MHD.shape[1:])
    filled = room.index_copy(0, flat_M.to(moved_MHD.device), moved_MHD)
    return filled.view(rows, slots, *moved_MHD.shape[1:]).transpose(1, 2)
