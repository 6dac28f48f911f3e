"""The weights that a training starts from: a base, or a base with an adapter that an earlier training left."""

import json
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from thinktwice.decode.prefix import has_prefix, load_prefix
from thinktwice.errors import ModelError
from thinktwice.train import adapters
from thinktwice.train.device import choose_device, choose_precision
from thinktwice.train.settings import Training
from thinktwice.train.vocab import control_token_ids, load_model, load_tokenizer, quiet

CONTINUED = {"LORA": ("lora", "qlora"), "TRAINABLE_TOKENS": ("prompt-tuning",), "PREFIX_TUNING": ("prefix-tuning",)}
"""PEFT's name of an adapter -> the modes that train it further."""


def load_start(base_dir: str | Path, settings: Training, start: Path | None = None) -> nn.Module:
    """Return the model that `fit` trains, with what it trains requiring a gradient.

    Args:
        base_dir: a model.
        settings: the mode decides what is trained.
        start: an adapter over it. Merged first with mode=full; with its own mode it is itself trained further.

    Raises:
        ModelError: an adapter of another base or mode, or of other sizes; missing 4-bit support.
    """
    if settings.mode == "full":
        return load_model(base_dir) if start is None else adapters.merged(start, base_dir)
    if start is not None:
        check_continues(start, settings)
        adapters.find_base(start, base_dir)
    device = choose_device()
    precision = choose_precision(settings, device)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16 if precision == "bf16" else torch.float16
    quantised = settings.mode == "qlora"
    model = adapters.load_quantised(base_dir, dtype, settings.bits) if quantised else load_model(base_dir, dtype)
    if start is not None:
        return _trained_further(model, start)
    torch.manual_seed(settings.seed)  # the adapters' initial weights
    if settings.mode == "prefix-tuning":
        return adapters.attach_learned_prefix(model, settings, load_tokenizer(base_dir))
    attach = adapters.attach_rows if settings.mode == "prompt-tuning" else adapters.attach_lora
    return attach(model, settings, tuple(control_token_ids(base_dir).values()))


def check_continues(start: Path, settings: Training) -> None:
    """Refuse to train an adapter further with settings of another one.

    Raises:
        ModelError: naming the setting and both values.
    """
    config = json.loads((start / "adapter_config.json").read_text(encoding="utf-8"))
    kind = str(config.get("peft_type"))
    modes = CONTINUED.get(kind, ())
    if settings.mode not in modes:
        merges = "" if kind == "PREFIX_TUNING" else ", or mode=full, which merges it into the weights first"
        raise ModelError(
            f"training.mode={settings.mode} cannot go on from the {kind.replace('_', ' ').lower()} adapter in {start}; "
            f"set mode={' or '.join(modes)}{merges}."
        )
    asked = {
        "r": ("lora_rank", settings.lora_rank),
        "lora_alpha": ("lora_alpha", settings.lora_alpha),
        "num_virtual_tokens": ("prefix_tokens", settings.prefix_tokens),
    }
    for name, (field, value) in asked.items():
        if name in config and kind != "TRAINABLE_TOKENS" and config[name] != value:
            raise ModelError(
                f"training.{field}={value}, but the adapter in {start}, which is trained further, has {config[name]}; "
                f"set {field}={config[name]}, or mode=full, which merges it into the weights first."
            )


def _trained_further(model: PreTrainedModel, start: Path) -> PreTrainedModel | PeftModel:
    if has_prefix(start):
        model.requires_grad_(False)
        return load_prefix(model, start)
    with quiet():
        adapted: PeftModel = PeftModel.from_pretrained(model, str(start), is_trainable=True)
    return adapted
