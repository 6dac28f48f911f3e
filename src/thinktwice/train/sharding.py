"""Training that DeepSpeed's ZeRO shares out: what is refused, what identifies it, and whole weights at its end."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thinktwice.errors import ConfigError
from thinktwice.train.checkpoint import sha256
from thinktwice.train.settings import Training
from thinktwice.train.zero import Zero


def stage_of(settings: Training) -> int:
    """Return the ZeRO stage; 0 without DeepSpeed."""
    return Zero.read(settings.deepspeed).stage


def check_deepspeed(settings: Training) -> None:
    """Refuse what cannot be shared out.

    Raises:
        ConfigError: DeepSpeed is missing; no such file; weights that stage 3 cannot cut, or cannot keep the best of.
    """
    if settings.deepspeed is None:
        return
    if find_spec("deepspeed") is None:
        raise ConfigError("training.deepspeed needs DeepSpeed: pip install deepspeed, or leave it out.")
    if stage_of(settings) < 3:
        return
    if settings.mode == "qlora":
        raise ConfigError(
            "training.deepspeed: stage 3 would cut quantised matrices up; use stage 2 (zero2.json), or mode=lora."
        )
    if settings.early_stopping:
        raise ConfigError(
            "training.deepspeed: with stage 3 no process holds the best weights; set early_stopping=0, or use stage 2."
        )


def configured(settings: Training) -> dict[str, str]:
    """Return the part of a checkpoint's identity that stands in a DeepSpeed configuration."""
    return {} if settings.deepspeed is None else {"deepspeed": sha256(Path(settings.deepspeed))}


def gather(model: nn.Module, keep: bool) -> None:
    """Put weights that ZeRO-3 shared out together again, one by one, in the host's memory of the process that saves."""
    zero: Any = import_module("deepspeed").zero
    whole: dict[int, nn.Parameter] = {}  # a tied matrix stays one
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in whole:
                with zero.GatheredParameters([parameter]):
                    copied = parameter.detach().to("cpu", copy=True) if keep else torch.empty(0)
                whole[id(parameter)] = nn.Parameter(copied, requires_grad=parameter.requires_grad)
            module.register_parameter(name, whole[id(parameter)])
