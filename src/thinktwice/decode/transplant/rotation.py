# ruff: noqa: N815  shape suffixes
"""How a layer turns its keys by their position. Law: measured on the model, layer by layer, or not used at all."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from thinktwice.decode.cache import vocabulary_size
from thinktwice.decode.transplant.sites import Collector, body, layer_count

Layout = Literal["none", "halves", "neighbours"]
"""Which two entries of a head are turned together: i and i + half, 2 i and 2 i + 1; none: keys hold no rotation."""
PROBED = 7
"""Positions between the two places where a text is read, to see how its keys differ."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """The rotation of one layer's keys (Su et al., 2021): by `shift` x `frequencies`, in radians."""

    layout: Layout
    frequencies_F: Tensor
    """Radians a position, for each pair of entries; the entries after the last pair are not turned."""

    def turn(self, keys_MHD: Tensor, shift_M: Tensor) -> Tensor:
        """Return keys as if they stood `shift_M` positions later; computed in fp32, differentiable."""
        if self.layout == "none" or not len(keys_MHD):
            return keys_MHD
        angle_M1F = (shift_M.to(keys_MHD.device)[:, None] * self.frequencies_F.to(keys_MHD.device))[:, None]
        cos, sin = angle_M1F.cos(), angle_M1F.sin()
        size = 2 * self.frequencies_F.shape[0]
        turned, rest = keys_MHD[..., :size].float(), keys_MHD[..., size:]
        if self.layout == "halves":
            a, b = turned.chunk(2, dim=-1)
            both = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
        else:
            a, b = turned[..., ::2], turned[..., 1::2]
            both = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
        return torch.cat([both.to(keys_MHD), rest], dim=-1)


@torch.no_grad()
def measure_rotations(model: PreTrainedModel) -> list[Rotation] | None:
    """Return the rotation of every layer's keys, or None where one of them is of no known kind.

    The same text is read at two places; the known rotation that takes the keys of the first to those of the second is
    the layer's own.
    """
    device = model.device
    frequencies = [b.detach().float() for name, b in model.named_buffers() if name.endswith("inv_freq")]
    none = Rotation("none", torch.zeros(0, device=device))
    if not frequencies:
        return [none] * layer_count(model)
    ids_1T = torch.arange(1, 6, device=device).remainder(vocabulary_size(model))[None]
    found = []
    for shift in (0, PROBED):
        collector = Collector()
        positions_1T = torch.arange(5, device=device)[None] + shift
        mask = torch.full((5, 5), torch.finfo(model.dtype).min, dtype=model.dtype, device=device).triu(1)[None, None]
        body(model)(input_ids=ids_1T, position_ids=positions_1T, attention_mask=mask, past_key_values=collector)
        found.append([collector.states[layer][0][0].transpose(0, 1) for layer in range(layer_count(model))])
    unique: list[Tensor] = []
    for each in frequencies:
        if not any(torch.equal(each, other) for other in unique):
            unique.append(each)
    known = [Rotation(layout, each) for each in unique for layout in ("halves", "neighbours")]
    rotations = []
    shift_T = torch.full((5,), PROBED, device=device)
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.03
    for here_THD, there_THD in zip(*found, strict=True):
        for rotation in (none, *known):
            if 2 * len(rotation.frequencies_F) <= here_THD.shape[-1]:
                turned_THD = rotation.turn(here_THD, shift_T).float()
                if (turned_THD - there_THD.float()).norm() <= tolerance * there_THD.float().norm():
                    rotations.append(rotation)
                    break
        else:
            return None
    return rotations
