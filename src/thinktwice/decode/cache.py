"""Keys and values that can be edited: a row's token at depth d lives in slot d.

A rewind then costs nothing at all: the row's depth goes back, the slots above it are hidden by the mask and are simply
written again. No slot is ever dead, so nothing is copied, compacted or re-encoded, however often rows rewind.
"""

import inspect
import weakref
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from thinktwice.decode.prefix import ATTENTION
from thinktwice.errors import ModelError

BACKENDS = ("sdpa", "eager", ATTENTION)
"""Attention implementations that take any mask."""

_verified: "weakref.WeakSet[PreTrainedModel]" = weakref.WeakSet()


class SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values, each [rows, heads, slots, head size]; which rows and slots, the cache says."""

    is_sliding = False

    def __init__(self, cache: "SlotCache") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache = cache
        self.states: list[Tensor] = []
        """Keys and values; empty before the first forward."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room for the whole batch. Zeros, since a masked slot is still multiplied, and 0 * nan is nan."""
        rows, slots = self._cache.rows, self._cache.slots
        self.states = [new.new_zeros(rows, new.shape[1], slots, new.shape[3]) for new in (key_states, value_states)]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the states [R, H, T, D] where `SlotCache.aim` said; return what those rows hold.

        Neighbouring rows are returned without a copy.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache, (keys, values) = self._cache, self.states
        where = (cache.write_rows_R1.to(keys.device), slice(None), cache.write_slots_RT.to(keys.device))
        keys[where] = key_states.transpose(1, 2)
        values[where] = value_states.transpose(1, 2)
        return keys[cache.read_rows, :, : cache.span], values[cache.read_rows, :, : cache.span]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of slots in view and their offset."""
        return self._cache.span, 0

    def get_seq_length(self) -> int:
        """Return the number of slots in view."""
        return self._cache.span

    def get_max_length(self) -> int:
        """Return -1: there is no limit."""
        return -1

    get_max_cache_shape = get_max_length  # its name before transformers 5.18


class SlotCache(Cache):
    """The editable cache of one batch. Law: slot d of a row holds the token at depth d of that row's visible text."""

    def __init__(self, layers: int, rows: int, device: torch.device) -> None:
        self.rows, self.slots = rows, 0
        self.span = 0
        self.read_rows: slice | Tensor = slice(0)
        self.write_rows_R1 = torch.empty(0, 1, dtype=torch.long, device=device)
        self.write_slots_RT = self.write_rows_R1
        self._row_numbers_R1 = torch.arange(rows, device=device).unsqueeze(1)
        self._slot_layers = [SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self._slot_layers))

    def aim(self, rows: slice | Tensor, slots_RT: Tensor, span: int) -> None:
        """Say where the next forward writes (`slots_RT` of `rows`) and reads (the first `span` slots of `rows`)."""
        if span > self.slots:
            self._resize(span)
        self.span, self.read_rows = span, rows
        self.write_rows_R1, self.write_slots_RT = self._row_numbers_R1[rows], slots_RT

    def trim(self, longest: int) -> None:
        """Give back slots that the longest row is far from needing.

        Little spare room is fast: attention over a view with gaps between the heads costs up to twice as much (measured
        on CPU), so the cache grows by a sixteenth at a time, which is still geometric, and shrinks too.
        """
        if self.slots > longest + max(32, longest // 4):
            self._resize(longest)

    def _resize(self, needed: int) -> None:
        self.slots = needed + max(16, needed // 16)
        for layer in self._slot_layers:
            layer.states = [_resized(state, self.slots) for state in layer.states]

    def move(self, source: int, target: int) -> None:
        """Overwrite row `target` with row `source`, so that a batch stays dense when a row leaves it."""
        for layer in self._slot_layers:
            for state in layer.states:
                state[target] = state[source]

    def clear(self, row: int) -> None:
        """Zero a row, so that what is not finite in it cannot reach its successor through a masked slot."""
        for layer in self._slot_layers:
            for state in layer.states:
                state[row] = 0


def _resized(state_RHSD: Tensor, slots: int) -> Tensor:
    resized_RHSD = state_RHSD.new_zeros(*state_RHSD.shape[:2], slots, state_RHSD.shape[3])
    shared = min(slots, state_RHSD.shape[2])
    resized_RHSD[:, :, :shared] = state_RHSD[:, :, :shared]
    return resized_RHSD


def context_length(model: PreTrainedModel) -> int | None:
    """Return how many tokens the model was built for, None where its config does not say."""
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(length) if length is not None else None


def vocabulary_size(model: PreTrainedModel) -> int:
    """Return the number of rows of the model's embedding, unused ones included."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight.shape[0]


def feed(
    model: PreTrainedModel, cache: SlotCache, rows: slice | Tensor, ids_RT: Tensor, slots_RT: Tensor, span: int
) -> Tensor:
    """Run `ids_RT` through the model, each token at its slot; return the logits [R, V] after the last column.

    A token sees the slots up to its own. `slots_RT` is [R, T], or [1, T] when all rows have the same.
    """
    cache.aim(rows, slots_RT, span)
    seen = torch.arange(span, device=slots_RT.device)
    # Additive and in the model's type: the one form that both sdpa and eager take as it is.
    hidden_R1TS = torch.where(seen > slots_RT[:, None, :, None], torch.finfo(model.dtype).min, 0.0).to(model.dtype)
    out = model(
        input_ids=ids_RT,
        position_ids=slots_RT.expand(ids_RT.shape),
        attention_mask=hidden_R1TS,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = out.logits
    return logits[:, -1].float()


@torch.inference_mode()
def check_editable(model: PreTrainedModel, max_length: int | None = None) -> int:
    """Check that editing the context of this model is exact; return its number of attention layers.

    What its config promises is checked first, then a rewind is tried on it (once for each model object) against a
    plain forward of what is kept, so that a model of an unknown kind is refused and not decoded wrongly.

    Args:
        model: A causal language model in evaluation mode.
        max_length: The longest text that will be shown; a sliding window at least as long never slides.

    Raises:
        ModelError: if the context cannot be edited: recurrent, linear-attention or sliding-window layers, an encoder,
            positions that are not an input, an attention backend that takes no mask.
    """
    layers = _check_config(model, max_length)
    if model not in _verified:
        ids_1T = torch.arange(5, device=model.device).remainder(vocabulary_size(model))[None]
        slots_1T = torch.arange(3, device=model.device)[None]
        cache = SlotCache(layers, rows=1, device=model.device)
        feed(model, cache, slice(0, 1), ids_1T[:, [0, 3, 4]], slots_1T, 3)
        feed(model, cache, slice(0, 1), ids_1T[:, 1:2], slots_1T[:, 1:2], 2)  # rewinds two, writes another
        edited = feed(model, cache, slice(0, 1), ids_1T[:, 2:3], slots_1T[:, 2:3], 3)
        fresh = model(input_ids=ids_1T[:, :3], use_cache=False).logits[:, -1].float()
        tolerance = 1e-3 if model.dtype == torch.float32 else 0.05
        if not (edited - fresh).norm() <= tolerance * fresh.norm():
            raise ModelError(
                f"{type(model).__name__} gives other logits after a rewind than for the same text read afresh "
                f"(difference {float((edited - fresh).norm() / fresh.norm()):.1%}), so its context cannot be edited. "
                "Use a decoder with full attention (Llama, Qwen, OLMo, Phi, ...)."
            )
        _verified.add(model)
    return layers


def _check_config(model: PreTrainedModel, max_length: int | None) -> int:
    """Refuse what is known not to work; return the number of attention layers."""
    name = type(model).__name__
    advice = "Use a decoder with full attention (Llama, Qwen, OLMo, Phi, ...)."
    if model.config.is_encoder_decoder:
        raise ModelError(f"{name} has an encoder; rewinding needs a decoder-only model. {advice}")
    if getattr(model, "_is_stateful", False):
        raise ModelError(f"{name} carries a recurrent state, which cannot be rewound. {advice}")
    base = getattr(model, "get_base_model", lambda: model)()  # an adapter's forward hides the signature
    missing = {"position_ids", "logits_to_keep"} - set(inspect.signature(type(base).forward).parameters)
    if missing:
        raise ModelError(f"{name} takes no {min(missing)}, which rewinding needs to put a token in its place. {advice}")
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
