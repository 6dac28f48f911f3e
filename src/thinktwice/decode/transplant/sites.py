# ruff: noqa: N815  shape suffixes
"""Where a model makes keys and values. Law: found by measuring the model, not by the names of its parts.

A short text is read with the output of every projection cut from the graph; the gradient of a layer's cached keys then
reaches only the outputs, and only the columns, that these keys are made of. So a fused projection needs no table of who
stores what where, and a name that merely ends like another is never taken for it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from thinktwice.decode.cache import vocabulary_size
from thinktwice.errors import ModelError

Part = Literal["k", "v"]
Key = tuple[int, Part]
"""A layer, and whether its keys or its values are meant."""
ATTENDING = {"full_attention", "sliding_attention", "chunked_attention"}
WEIGHTINGS = 4
"""Sums of a key's entries, weighted at random, whose gradients are looked at: in half precision a column's gradient may
come out as 0 by rounding, but hardly in all of them."""
ADVICE = "Use a decoder whose layers all attend to keys and values of their own (Llama, Qwen, Mistral, OLMo, Phi, ...)."


class Enough(Exception):  # noqa: N818  not an error
    """Ends a forward pass early: everything that was asked for has been seen."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the keys, or the values, of one layer come out of a projection: before norms and before positions."""

    layer: int
    part: Part
    path: str
    """Of the projection in the model."""
    module: nn.Module
    columns_C: Tensor | None
    """The columns of its output that they are; None: all of them."""

    @property
    def key(self) -> Key:
        """What it holds."""
        return self.layer, self.part

    def rows(self, output_BTD: Tensor, rows: Tensor) -> Tensor:
        """Return rows (flat indices) of the projection's output, its columns only: (rows, C), differentiable."""
        found_RD = output_BTD.flatten(0, 1)[rows.to(output_BTD.device)]
        return found_RD if self.columns_C is None else found_RD[:, self.columns_C.to(output_BTD.device)]

    def replace(self, output_BTD: Tensor, rows: Tensor, states_RC: Tensor) -> Tensor:
        """Return the projection's output with rows (flat indices) replaced in its columns: a copy, differentiable."""
        flat_RD, rows = output_BTD.flatten(0, 1), rows.to(output_BTD.device)
        states_RC = states_RC.to(output_BTD)
        if self.columns_C is None:
            return flat_RD.index_copy(0, rows, states_RC).view_as(output_BTD)
        where = (rows[:, None], self.columns_C.to(output_BTD.device)[None])
        return flat_RD.index_put(where, states_RC).view_as(output_BTD)


class Collector(DynamicCache):
    """A cache that only hands on what it is given: `states[layer]` are the keys and values (B, heads, T, size)."""

    def __init__(self, last: int | None = None) -> None:
        """Take the layer after which nothing more is needed; None: read to the end."""
        super().__init__()
        self.states: dict[int, tuple[Tensor, Tensor]] = {}
        self.last = last

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep the states and return them."""
        self.states[layer_idx] = (key_states, value_states)
        if layer_idx == self.last:
            raise Enough
        return key_states, value_states


def inner(model: nn.Module) -> PreTrainedModel:
    """Return the Transformers model inside PEFT's wrapper; adapters are injected into it."""
    get_base: Any = getattr(model, "get_base_model", None)
    found = model if get_base is None else get_base()
    assert isinstance(found, PreTrainedModel)
    return found


def body(model: PreTrainedModel) -> nn.Module:
    """Return the model without its head, where it has one."""
    found: nn.Module = model.base_model
    return found


def layer_count(model: PreTrainedModel) -> int:
    """Return the number of the model's layers."""
    return int(model.config.get_text_config().num_hidden_layers)


def is_checkpointing(model: PreTrainedModel) -> bool:
    """Return whether a backward pass would run the layers once more."""
    on = getattr(model, "is_activation_checkpointing", None)  # its name from transformers 5.2x on
    return bool(model.training and (model.is_gradient_checkpointing if on is None else on))


def check_transplantable(model: PreTrainedModel) -> None:
    """Refuse a model in which moved keys and values are not all that passes from token to token.

    Raises:
        ModelError: an encoder, recurrent or linear-attention layers, latent attention, shared keys and values.
    """
    name, config = type(model).__name__, model.config.get_text_config()
    if model.config.is_encoder_decoder:
        raise ModelError(f"{name} has an encoder; a transplant needs a decoder-only model. {ADVICE}")
    kinds = set(getattr(config, "layer_types", None) or ()) - ATTENDING
    stateful = getattr(model, "_is_stateful", False) or getattr(config, "layers_block_type", None)
    layers = [] if stateful else DynamicCache(config=model.config).layers
    if kinds or stateful or any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        what = f" ({', '.join(sorted(map(str, kinds)))})" if kinds else ""
        raise ModelError(
            f"{name} has recurrent, convolutional or indexed layers{what}: their state carries the candidate's text "
            f"around the transplant, so that it would be in part only. {ADVICE}"
        )
    if getattr(config, "kv_lora_rank", None):
        raise ModelError(
            f"{name} keeps keys and values compressed (multi-head latent attention), for which a transplant has not "
            f"been verified. {ADVICE}"
        )
    if getattr(config, "num_kv_shared_layers", 0):
        raise ModelError(f"Layers of {name} share keys and values, which a transplant would change twice. {ADVICE}")


def find_sites(model: PreTrainedModel) -> tuple[Site, ...] | None:
    """Return where every layer's keys and values come from, in order; None where they come from no projection.

    One text of four tokens is read, with gradients of activations only.

    Raises:
        ModelError: see `check_transplantable`; layers that keep no keys and values.
    """
    check_transplantable(model)
    names = {module: path for path, module in model.named_modules()}
    layers = layer_count(model)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model), _cut(model) as outputs:
        ids_1T = torch.arange(4, device=model.device).remainder(vocabulary_size(model))[None]
        collector = Collector()
        body(model)(input_ids=ids_1T, past_key_values=collector, use_cache=True)
        if sorted(collector.states) != list(range(layers)):
            raise ModelError(
                f"{type(model).__name__} has {layers} layers, of which {len(collector.states)} keep keys and values; "
                f"the others carry the candidate's text around the transplant. {ADVICE}"
            )
        found: list[Site] = []
        for layer, states in sorted(collector.states.items()):
            for part, state in zip(("k", "v"), states, strict=True):
                site = _source(layer, part, state, outputs, names)  # type: ignore[arg-type]
                if site is None:
                    return None
                found.append(site)
    return tuple(found)


def _source(
    layer: int, part: Part, state: Tensor, outputs: dict[nn.Module, Tensor], names: dict[nn.Module, str]
) -> Site | None:
    """Return the one projection that `state` (1, heads, T, size) is made of, row by row; None where there is none."""
    modules = list(outputs)
    if not state.requires_grad or not modules:
        return None
    last = state[:, :, -1]
    draw = torch.Generator().manual_seed(0)
    reached_TD: dict[nn.Module, Tensor] = {}
    for _ in range(WEIGHTINGS):
        weights = torch.randn(last.shape, generator=draw).to(last)
        gradients = torch.autograd.grad(
            (last * weights).sum(), [outputs[m] for m in modules], allow_unused=True, retain_graph=True
        )
        for module, gradient in zip(modules, gradients, strict=True):
            if gradient is not None and bool(gradient.any()):
                hit_TD = gradient[0] != 0
                reached_TD[module] = reached_TD.get(module, hit_TD) | hit_TD
    if len(reached_TD) != 1:
        return None
    ((module, hit_TD),) = reached_TD.items()
    if bool(hit_TD[:-1].any()):  # a row made of its neighbours is no row that could be moved
        return None
    columns_C = hit_TD[-1].nonzero()[:, 0]
    if len(columns_C) != state.shape[1] * state.shape[3]:
        return None
    whole = len(columns_C) == hit_TD.shape[-1]
    return Site(layer, part, names[module], module, None if whole else columns_C)


@contextmanager
def _cut(model: PreTrainedModel) -> Iterator[dict[nn.Module, Tensor]]:
    """Make what every part of the model puts out (1, T, D) a leaf of its own, norms apart, and collect these."""
    outputs: dict[nn.Module, Tensor] = {}

    def cut(module: nn.Module, _: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or output.ndim != 3 or not output.is_floating_point():
            return None  # (complex: the angles of rotary positions)
        outputs[module] = output.detach().requires_grad_()
        return outputs[module].clone()  # some layers add to it in place

    with ExitStack() as hooks:
        for part in body(model).modules():
            if "norm" not in type(part).__name__.lower():  # what a key's own norm puts out comes after the projection
                handle = part.register_forward_hook(cut)
                hooks.callback(handle.remove)
        yield outputs


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Put the model in evaluation mode until the context is left."""
    training = model.training
    model.train(False)
    try:
        yield
    finally:
        model.train(training)
