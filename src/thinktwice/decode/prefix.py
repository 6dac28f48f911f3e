"""A learned prefix: keys and values, in every layer, that each position attends to before the text.

Source: *Prefix-Tuning: Optimizing Continuous Prompts for Generation* (Li & Liang 2021). The prefix belongs to the
attention layers, not to a cache: training, decoding with edits and probing all see it, and the text's own positions
begin at 0 as ever. PEFT lets them begin behind the prefix; with rotary positions that is the same function, the
prefix's keys being turned once.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from thinktwice.errors import ModelError

ATTENTION = "prefixed"
"""The attention implementation of a model with a prefix: sdpa over prefix and text."""
FILE = "prefix.safetensors"
"""In an adapter's directory: `<layer>.keys` and `<layer>.values`, each [heads, prefix tokens, head size]."""


class Prefix(nn.Module):
    """One layer's prefix, fp32."""

    def __init__(self, keys_HPD: Tensor, values_HPD: Tensor) -> None:
        super().__init__()
        self.keys, self.values = (nn.Parameter(part.detach().float().clone()) for part in (keys_HPD, values_HPD))

    def before(self, key_BHSD: Tensor, value_BHSD: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values with the prefix before them. They are copied, which is what a prefix costs."""
        own = ((self.keys, key_BHSD), (self.values, value_BHSD))
        both = [torch.cat([part.to(text).expand(len(text), -1, -1, -1), text], dim=2) for part, text in own]
        return both[0], both[1]


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend to the prefix and to what the mask shows of the text; without a mask, to all that came before."""
    prefix: Any = getattr(module, "prefix", None)
    if prefix is not None:
        width, texts, rows = prefix.keys.shape[1], key.shape[2], query.shape[2]
        key, value = prefix.before(key, value)
        if attention_mask is None and rows > 1:
            attention_mask = torch.ones(1, 1, rows, texts, dtype=torch.bool, device=key.device).tril(texts - rows)
        if attention_mask is not None:
            open_ = 1 if attention_mask.dtype == torch.bool else 0  # every position sees all of the prefix
            attention_mask = nn.functional.pad(attention_mask, (width, 0), value=open_)
        options["is_causal"] = False
    found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return found


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@torch.no_grad()
def states_of(model: PreTrainedModel, token_ids: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return each layer's keys and values [H, P, D] of a text: what a prefix starts from."""
    cache = DynamicCache(config=model.config)
    model(input_ids=torch.tensor([list(token_ids)], device=model.device), past_key_values=cache, use_cache=True)
    layers: Any = cache.layers
    return [(layer.keys[0], layer.values[0]) for layer in layers]


def attach_prefix(model: PreTrainedModel, states: Sequence[tuple[Tensor, Tensor]]) -> PreTrainedModel:
    """Give a model a prefix, in place; nothing of the model itself changes.

    Raises:
        ModelError: its attention layers are not as many as the prefix's, or are of a kind that takes none.
    """
    layers: dict[Any, Any] = {
        m.layer_idx: m for m in model.modules() if hasattr(m, "layer_idx") and hasattr(m, "is_causal")
    }
    capped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None)
    if sorted(layers) == list(range(len(states))) and states and not capped:
        model.set_attn_implementation(ATTENTION)
    if model.config._attn_implementation != ATTENTION:
        raise ModelError(
            f"{type(model).__name__} takes no prefix: each of its {len(states)} layers needs plain causal attention, "
            "without a cap. Use train.mode=prompt-tuning or lora."
        )
    for index, (keys, values) in enumerate(states):
        prefix: nn.Module = Prefix(keys, values)
        layers[index].prefix = prefix.to(model.device)
    return model


def save_prefix(model: nn.Module, folder: Path) -> None:
    """Write a model's prefix, and nothing else of it."""
    parts: list[Any] = [m for m in model.modules() if isinstance(getattr(m, "prefix", None), Prefix)]
    tensors = {f"{part.layer_idx}.{name}": tensor for part in parts for name, tensor in part.prefix.named_parameters()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / FILE)
    record = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": parts[0].prefix.keys.shape[1]}
    (folder / "adapter_config.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def has_prefix(folder: str | Path | None) -> bool:
    """Return whether a directory holds a prefix."""
    return folder is not None and (Path(folder) / FILE).is_file()


def load_prefix(model: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """Give a model the prefix that a directory holds.

    Raises:
        ModelError: the prefix is another model's.
    """
    tensors = load_file(Path(folder) / FILE)
    states = [(tensors[f"{i}.keys"], tensors[f"{i}.values"]) for i in range(len(tensors) // 2)]
    (own,) = states_of(model, [0])[:1]
    if any(part.shape[::2] != own[0].shape[::2] for pair in states for part in pair):
        raise ModelError(f"The prefix in {folder} was trained for a model of another shape; name its own base.")
    return attach_prefix(model, states)
