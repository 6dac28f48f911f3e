"""The route of the attention interface: rows of the keys and values that the attention function is given.

For models whose keys come out of no projection that could be found. Keys are turned by their position by then, so each
argued text is read at the positions that its rows get in the chooser's text (once for every distance): rotary attention
sees only differences, so the states are those of the text at any other place. With learned positions the text really is
read at its own ones, as its keys hold no position of their own.
"""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from thinktwice.decode.cache import vocabulary_size
from thinktwice.decode.transplant.batch import ChoiceBatch
from thinktwice.decode.transplant.route import States, read_last
from thinktwice.decode.transplant.sites import Enough, Key, Part, body, evaluating, is_checkpointing, layer_count
from thinktwice.errors import ModelError

PREFIX = "transplanting_"
"""Before the name of the attention implementation that does the work."""
WRAPPED = ("sdpa", "eager")
Exchange = Callable[[int, Part, Tensor], Tensor]
"""(layer, part, states (B, heads, T, size)) -> the states that are attended to."""


def _attention(name: str) -> Callable[..., Any]:
    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Any:
        exchange: Exchange | None = getattr(module, "exchange", None)
        if exchange is not None:
            layer: Any = module.layer_idx
            key, value = exchange(layer, "k", key), exchange(layer, "v", value)
        own = sys.modules[type(module).__module__]
        function = own.eager_attention_forward if name == "eager" else ALL_ATTENTION_FUNCTIONS[name]
        return function(module, query, key, value, *args, **options)

    return attend


for _name in WRAPPED:
    AttentionInterface.register(PREFIX + _name, _attention(_name))
    AttentionMaskInterface.register(PREFIX + _name, ALL_MASK_ATTENTION_FUNCTIONS[_name])  # else: no mask at all


class InterfaceRoute:
    """Moves rows of the keys and values that attention is given."""

    trains_checkpointed = True

    def __init__(self, model: PreTrainedModel, keys: Collection[Key]) -> None:
        """Take the model and what is moved.

        Raises:
            ModelError: its attention does not go through the interface, or its rotation depends on the text's length.
        """
        self.model, self.keys = model, frozenset(keys)
        self.implementation = model.config._attn_implementation
        name = type(model).__name__
        if self.implementation not in WRAPPED:
            raise ModelError(
                f"Attention {self.implementation!r} of {name} cannot be looked into; load it with attention=sdpa."
            )
        self.modules = {m.layer_idx: m for m in model.modules() if hasattr(m, "layer_idx") and hasattr(m, "is_causal")}
        self.by_shift = is_shift_invariant(model)
        if self.by_shift and length_dependent(model):
            raise ModelError(
                f"{name} turns keys by an angle that depends on the length of the text (dynamic or long rotary "
                "scaling), so that keys of one text mean nothing in another. Use a model with plain rotary positions."
            )
        seen: set[Key] = set()

        def note(layer: int, part: Part, states: Tensor) -> Tensor:
            seen.add((layer, part))
            return states

        ids_1T = torch.arange(3, device=model.device).remainder(vocabulary_size(model))[None]
        with torch.no_grad(), self._exchanging(note):
            body(model)(input_ids=ids_1T, use_cache=False)
        if missing := sorted(layer for layer in range(layer_count(model)) if (layer, "k") not in seen):
            raise ModelError(
                f"Layers {missing} of {name} neither have a projection that makes their keys nor an attention that can "
                "be looked into. Use a decoder of Transformers' own kind (Llama, Qwen, Mistral, OLMo, Phi, ...)."
            )

    @contextmanager
    def argue(self, batch: ChoiceBatch) -> Iterator[States]:
        """Read the argued texts, each at the positions where its rows will stand."""
        states: States = {}
        early = not is_checkpointing(self.model)

        def take(layer: int, part: Part, states_BHTD: Tensor) -> Tensor:
            if (layer, part) in self.keys:
                rows_UHD = states_BHTD.transpose(1, 2).flatten(0, 1)[batch.from_U.to(states_BHTD.device)]
                states.setdefault((layer, part), rows_UHD)
                if early and len(states) == len(self.keys):
                    raise Enough
            return states_BHTD

        if not len(batch.from_U):
            yield states
            return
        ids_NT = batch.argued_ids_NT
        own_T = torch.arange(ids_NT.shape[1], device=ids_NT.device)
        inputs: dict[str, Tensor] = {"attention_mask": (own_T < batch.argued_lengths_N[:, None]).long()}
        if self.by_shift:
            inputs["position_ids"] = own_T + batch.shifts_N[:, None]
        with ExitStack() as exchange:
            exchange.enter_context(self._exchanging(take))
            with suppress(Enough):
                body(self.model)(input_ids=ids_NT, use_cache=False, **inputs)
            if early:
                exchange.close()
            yield states

    @contextmanager
    def choose(self, batch: ChoiceBatch, states: States) -> Iterator[Tensor]:
        """Read the chooser's texts with rows of its keys and values replaced."""

        def put(layer: int, part: Part, states_BHTD: Tensor) -> Tensor:
            state_UHD = states.get((layer, part))
            if state_UHD is None or not len(batch.to_M):
                return states_BHTD
            device = states_BHTD.device
            rows_RHD = states_BHTD.transpose(1, 2).flatten(0, 1)
            moved_MHD = state_UHD.to(states_BHTD)[batch.take_M.to(device)]
            replaced_RHD = rows_RHD.index_copy(0, batch.to_M.to(device), moved_MHD)
            return replaced_RHD.view(len(states_BHTD), -1, *replaced_RHD.shape[1:]).transpose(1, 2)

        seen_BT = torch.arange(batch.token_ids_BT.shape[1], device=batch.lengths_B.device) < batch.lengths_B[:, None]
        with self._exchanging(put):
            inputs = {"input_ids": batch.token_ids_BT, "attention_mask": seen_BT.long()}
            yield read_last(self.model, batch.lengths_B - 1, **inputs)

    @contextmanager
    def _exchanging(self, exchange: Exchange) -> Iterator[None]:
        self.model.set_attn_implementation(PREFIX + self.implementation)
        for module in self.modules.values():
            module.exchange = exchange  # type: ignore[assignment]
        try:
            yield
        finally:
            for module in self.modules.values():
                del module.exchange
            self.model.set_attn_implementation(self.implementation)


@torch.no_grad()
def is_shift_invariant(model: PreTrainedModel) -> bool:
    """Return whether a text read at later positions gives the same logits: true of rotary positions."""
    ids_1T = torch.arange(5, device=model.device).remainder(vocabulary_size(model))[None]
    places = [{"position_ids": torch.arange(5, device=model.device)[None] + shift} for shift in (0, 9)]
    mask = {"attention_mask": torch.ones_like(ids_1T)}
    try:
        with evaluating(model):
            here, there = (model(input_ids=ids_1T, use_cache=False, **mask, **at).logits.float() for at in places)
    except TypeError:  # positions are no input of it
        return False
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.05
    return bool((here - there).norm() <= tolerance * here.norm())


def length_dependent(model: PreTrainedModel) -> bool:
    """Return whether the angles of the rotary positions depend on how long the text is."""
    config = model.config.get_text_config()
    rope = str(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None))
    return "'dynamic'" in rope or "'longrope'" in rope
