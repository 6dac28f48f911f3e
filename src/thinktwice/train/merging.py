"""Models made of several models' weights: average, exponential moving average, TIES. Law: tensor by tensor, in float32.

A merge is of whole models. An adapter is merged into its base first, in 16 or 32 bits, never into quantised weights
(PEFT warns that rounding ruins what was learned there). Sources: model soups (Wortsman et al. 2022), TIES (Yadav et al.
2023, arXiv 2306.01708), which trims each task vector, elects a sign, and averages what agrees with it.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from thinktwice.errors import ConfigError, ModelError
from thinktwice.train.vocab import control_token_ids, load_model, load_tokenizer, save_model

Policy = Literal["average", "ties"]


def merge(base: Path, models: Sequence[Path], out: Path, *, policy: Policy = "average",
          shares: Sequence[float] | None = None, density: float = 0.2) -> Path:  # fmt: skip
    """Merge fine-tunings of one base and save the result as a whole model.

    Args:
        base: what all of them were tuned from.
        models: whole models or adapters over `base`; at least one.
        out: the directory to write.
        policy: average: the mean of the weights, by `shares`; ties: base plus the merged task vectors.
        shares: of each model; they are normalised. None: equal.
        density: ties only: the share of each task vector's entries that is kept, the largest ones.

    Raises:
        ConfigError: nothing to merge, or shares that cannot be.
        ModelError: models whose tensors do not match the base's.
    """
    if not models:
        raise ConfigError("there is nothing to merge; name at least one model.")
    if not 0 < density <= 1:
        raise ConfigError(f"density is {density}; it must be above 0 and at most 1.")
    given = [1.0] * len(models) if shares is None else [float(share) for share in shares]
    if len(given) != len(models) or min(given) < 0 or not sum(given) > 0:
        raise ConfigError(f"{len(given)} shares {given} for {len(models)} models; give one each, 0 or more.")
    given = [share / sum(given) for share in given]
    model = load_model(base)
    own = model.state_dict()
    others = [_weights(base, path) for path in models]
    for path, weights in zip(models, others, strict=True):
        odd = own.keys() ^ weights.keys() or {k for k in own if own[k].shape != weights[k].shape}
        if odd:
            raise ModelError(f"{path} is no tuning of {base}: {sorted(odd)[0]} differs. Merge models of one base.")
    done: set[int] = set()
    with torch.no_grad():
        for name, tensor in own.items():
            if not tensor.is_floating_point() or tensor.data_ptr() in done:  # a tied head is the embedding: once
                continue
            done.add(tensor.data_ptr())
            start = tensor.float()
            moved = [weights[name].float() - start for weights in others]
            step = _ties(moved, given, density) if policy == "ties" else sum(
                (share * delta for share, delta in zip(given, moved, strict=True)), torch.zeros_like(start)
            )  # fmt: skip
            tensor.copy_(start + step)
    shutil.rmtree(out, ignore_errors=True)
    return save_model(model, load_tokenizer(base), out, control_tokens=control_token_ids(base))


def _weights(base: Path, path: Path) -> dict[str, Tensor]:
    if not (path / "adapter_config.json").is_file():
        found: dict[str, Tensor] = load_model(path).state_dict()
        return found
    from thinktwice.train.adapters import merged  # PEFT takes seconds to import

    whole: dict[str, Tensor] = merged(path, base).state_dict()
    return whole


def _ties(moved: Sequence[Tensor], shares: Sequence[float], density: float) -> Tensor:
    """Trim, elect a sign by summed mass, and average the entries that agree with it."""
    trimmed = []
    for delta in moved:
        keep = max(1, round(density * delta.numel()))
        least = delta.abs().flatten().kthvalue(delta.numel() - keep + 1).values
        trimmed.append(torch.where(delta.abs() >= least, delta, torch.zeros_like(delta)))
    scaled = torch.stack([share * delta for share, delta in zip(shares, trimmed, strict=True)])
    sign = scaled.sum(0).sign()
    agrees = (scaled.sign() == sign) & (scaled != 0)
    weights = torch.tensor(shares).view(-1, *(1,) * (scaled.dim() - 1))
    total = (agrees * weights).sum(0)
    return torch.where(total > 0, (scaled * agrees).sum(0) / total.clamp(min=1e-12), torch.zeros_like(scaled[0]))
