"""Keys and values that can be edited: a row's token at depth d lives in slot d.

A rewind then costs nothing at all: the row's depth goes back, the slots above it are hidden by the mask and are simply
written again. No slot is ever dead, so nothing is copied, compacted or re-encoded, however often rows rewind.
"""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from thinktwice.errors import ModelError

BACKENDS = ("sdpa", "eager")
"""Attention implementations that take any mask."""


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values, shape [rows, heads, slots, head size]; rows and slots as the cache says."""

    is_sliding = False

    def __init__(self, cache: "SlotCache") -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate room for the whole batch. Zeros, since a masked slot is still multiplied, and 0 * nan is nan."""
        rows, slots = self._cache.rows, self._cache.slots
        self.keys = key_states.new_zeros(rows, key_states.shape[1], slots, key_states.shape[3])
        self.values = value_states.new_zeros(rows, value_states.shape[1], slots, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the states [R, H, T, D] where `SlotCache.aim` said and return what those rows hold, in place."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        cache, device = self._cache, key_states.device
        where = (cache.write_rows_R1.to(device), slice(None), cache.write_slots_RT.to(device))
        self.keys[where] = key_states.transpose(1, 2)
        self.values[where] = value_states.transpose(1, 2)
        return self.keys[cache.read_rows, :, : cache.span], self.values[cache.read_rows, :, : cache.span]

    def resize(self, slots: int) -> None:
        """Make room for more slots."""
        if self.is_initialized:
            assert self.keys is not None and self.values is not None
            extra = (0, 0, 0, slots - self.keys.shape[2])
            self.keys = torch.nn.functional.pad(self.keys, extra)
            self.values = torch.nn.functional.pad(self.values, extra)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of slots in view and their offset."""
        return self._cache.span, 0

    def get_seq_length(self) -> int:
        """Return the number of slots in view."""
        return self._cache.span

    def get_max_length(self) -> int:
        """Return -1: there is no limit."""
        return -1


class SlotCache(Cache):
    """The editable cache of one batch. Law: slot d of a row holds the token at depth d of that row's visible text."""

    def __init__(self, layers: int, rows: int, slots: int, device: torch.device) -> None:
        self.rows, self.slots = rows, slots
        self.span = 0
        self.read_rows: slice = slice(0)
        self.write_rows_R1 = torch.empty(0, 1, dtype=torch.long, device=device)
        self.write_slots_RT = self.write_rows_R1
        self._row_numbers_R1 = torch.arange(rows, device=device).unsqueeze(1)
        super().__init__(layers=[SlotLayer(self) for _ in range(layers)])

    def aim(self, rows: slice, slots_RT: Tensor, span: int) -> None:
        """Say where the next forward writes (`slots_RT` of `rows`) and reads (the first `span` slots of `rows`)."""
        if span > self.slots:
            self.slots = max(span, 2 * self.slots)  # geometric, so that growing costs O(1) a token
            for layer in self.layers:
                layer.resize(self.slots)
        self.span, self.read_rows = span, rows
        self.write_rows_R1, self.write_slots_RT = self._row_numbers_R1[rows], slots_RT

    def move(self, source: int, target: int) -> None:
        """Overwrite row `target` with row `source`, so that a batch stays dense when a row leaves it."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.keys[target] = layer.keys[source]
                layer.values[target] = layer.values[source]

    def clear(self, row: int) -> None:
        """Zero a row, so that what is not finite in it cannot reach its successor through a masked slot."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.keys[row] = 0
                layer.values[row] = 0


def context_length(model: PreTrainedModel) -> int | None:
    """Return how many tokens the model was built for, None where its config does not say."""
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(length) if length is not None else None


def count_layers(model: PreTrainedModel, max_length: int | None = None) -> int:
    """Return the number of attention layers of a model whose context can be edited.

    Args:
        model: A causal language model.
        max_length: The longest text that will be shown; a sliding window at least as long never slides.

    Raises:
        ModelError: if the context cannot be edited: recurrent, linear-attention or sliding-window layers, an encoder,
            positions that are not an input, an attention backend that takes no mask.
    """
    name = type(model).__name__
    advice = "Use a decoder with full attention (Llama, Qwen, OLMo, Phi, ...)."
    if model.config.is_encoder_decoder:
        raise ModelError(f"{name} has an encoder; rewinding needs a decoder-only model. {advice}")
    if getattr(model, "_is_stateful", False):
        raise ModelError(f"{name} carries a recurrent state, which cannot be rewound. {advice}")
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "position_ids" not in inspect.signature(base.forward).parameters:
        raise ModelError(f"{name} takes no position_ids, so a rewound token could not be put in its place. {advice}")
    backend = model.config._attn_implementation
    if backend not in BACKENDS:
        raise ModelError(
            f"Attention backend {backend!r} cannot mask single tokens; load {name} with attn_implementation='sdpa'."
        )
    layers = DynamicCache(config=model.config).layers
    limit = max_length or context_length(model)
    for index, layer in enumerate(layers):
        if type(layer) is DynamicSlidingWindowLayer:
            window = layer.sliding_window
            if limit is None or limit > window:
                raise ModelError(
                    f"Layer {index} of {name} sees only the last {window} tokens, and a sliding window cannot be "
                    f"rewound. Limit the text with max_length={window} or less, or use a model with full attention."
                )
        elif type(layer) is not DynamicLayer:
            raise ModelError(f"Layer {index} of {name} keeps a {type(layer).__name__}, not keys and values. {advice}")
    return len(layers)
