"""The loss: weighted negative log-likelihood of explicit targets, computed only where something is learned."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from thinktwice.decode.prefix import ATTENTION
from thinktwice.errors import ModelError
from thinktwice.train.batch import Batch, visible

HEAD_CHUNK = 1 << 27
"""Logits held at once, in elements (half a GB in fp32); more are computed in recomputed chunks."""
LAYOUT_ATTENTION = ("sdpa", "eager", ATTENTION)
"""Attention backends that take an arbitrary 4-D mask."""


def unwrap(model: nn.Module) -> PreTrainedModel:
    """Return the Transformers model inside PEFT's wrapper (adapters are injected into it, so nothing is lost)."""
    get_base: Any = getattr(model, "get_base_model", None)
    inner = model if get_base is None else get_base()
    assert isinstance(inner, PreTrainedModel)
    return inner


def embedding(model: nn.Module) -> Tensor:
    """Return the input embeddings, one row for every token."""
    weight: Tensor = cast(Any, unwrap(model)).get_input_embeddings().weight
    return weight


def output_head(model: nn.Module) -> nn.Module | None:
    """Return the layer that turns hidden states into scores, where there is one."""
    head: nn.Module | None = cast(Any, unwrap(model)).get_output_embeddings()
    return head


def layout_problem(model: nn.Module, longest: int) -> str | None:
    """Return why this model can't be trained on an attention layout, or None when it can.

    Recurrent layers carry what was retracted in their state; sliding windows would be lost in a 4-D mask.
    """
    config = unwrap(model).config.get_text_config()
    backend = getattr(config, "_attn_implementation", None)
    if backend not in LAYOUT_ATTENTION:
        return f"attention backend {backend!r} takes no 4-D mask (use sdpa or eager)"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if other := sorted(kinds - {"full_attention", "sliding_attention"}):
        return f"layers of kind {', '.join(other)} keep what was retracted"
    window = getattr(config, "sliding_window", None)
    if "sliding_attention" not in kinds and getattr(config, "layer_types", None):
        window = None
    if window is not None and longest > window and getattr(config, "use_sliding_window", True):
        return f"sliding-window layers ({window} tokens) are shorter than the longest row ({longest})"
    if getattr(config, "model_type", "") in ("mamba", "mamba2", "rwkv", "xlstm", "recurrent_gemma"):
        return "a recurrent model keeps what was retracted"
    return None


def forward_inputs(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """Return the keyword arguments of the model's forward for `batch`."""
    inner = unwrap(model)
    inputs: dict[str, Any] = {"input_ids": batch.input_ids_BT, "use_cache": False}
    if batch.dead_from_BT is not None:
        seen = visible(batch.dead_from_BT)
        if inner.config.get_text_config()._attn_implementation != "sdpa":  # only SDPA takes a boolean mask
            hidden = torch.finfo(inner.dtype).min
            seen = torch.zeros(seen.shape, dtype=inner.dtype, device=seen.device).masked_fill(~seen, hidden)
        inputs["attention_mask"] = seen
    if batch.positions_BT is not None:
        inputs["position_ids"] = batch.positions_BT
    # Without either, padding stands on the right and causal attention alone keeps it out of every real token.
    return inputs


class Objective:
    """Computes sum(weight * nll) of a batch. Law: the same number as full logits and a hand-written cross entropy.

    Hidden states are gathered at the supervised positions before the head; a model that does more to its logits than
    its head (soft-capping, scaling) is recognised by a probe and gets its own full forward.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.inner = unwrap(model)
        self.plain_head = self._head_is_plain()

    @torch.no_grad()
    def _head_is_plain(self) -> bool:
        head, body = output_head(self.inner), self.inner.base_model
        if head is None or body is self.inner:
            return False
        training = self.model.training
        self.model.eval()
        try:
            device = embedding(self.inner).device
            probe = torch.arange(4, device=device)[None] % self.inner.config.get_text_config().vocab_size
            full = self.model(input_ids=probe, use_cache=False).logits
            ours = head(body(input_ids=probe, use_cache=False).last_hidden_state)
            # Small logits hardly feel a cap, so the probe alone could miss one: known names are looked up as well.
            capped = any(
                getattr(self.inner.config.get_text_config(), name, None) not in (None, 1, 1.0)
                for name in ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
            )
            return not capped and full.shape == ours.shape and bool(torch.allclose(full, ours, atol=1e-5, rtol=1e-4))
        finally:
            self.model.train(training)

    def __call__(self, batch: Batch) -> Tensor:
        """Return the scalar sum(weight * nll), fp32, differentiable."""
        total: Tensor = (self.nll(batch) * batch.weights_BT.reshape(-1)[batch.supervised_N]).sum()
        return total

    def take(self) -> None:
        """Return what there is to say of the batches so far beyond their loss: of examples, nothing."""

    def nll(self, batch: Batch) -> Tensor:
        """Return the negative log-likelihood of the target at every supervised position (N,), fp32, differentiable."""
        targets_N = batch.targets_BT.reshape(-1)[batch.supervised_N]
        inputs = forward_inputs(self.inner, batch)
        if not self.plain_head:
            logits_BTV = self.model(**inputs).logits
            return _nll(logits_BTV.flatten(0, 1)[batch.supervised_N], targets_N)
        hidden_BTD = self.inner.base_model(**inputs).last_hidden_state
        hidden_ND = hidden_BTD.reshape(-1, hidden_BTD.shape[-1])[batch.supervised_N]
        head = output_head(self.inner)
        assert head is not None
        rows = max(1, HEAD_CHUNK // self.inner.config.get_text_config().vocab_size)
        if len(hidden_ND) <= rows:
            return _nll(head(hidden_ND), targets_N)

        def chunk(hidden: Tensor, targets: Tensor) -> Tensor:
            return _nll(head(hidden), targets)

        parts = zip(torch.split(hidden_ND, rows), torch.split(targets_N, rows), strict=True)
        return torch.cat([cast(Tensor, checkpoint(chunk, *part, use_reentrant=False)) for part in parts])


def _nll(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    nll_N: Tensor = F.cross_entropy(logits_NV.float(), targets_N, reduction="none")
    return nll_N


def check_layout(model: nn.Module, longest: int) -> None:
    """Refuse an attention layout the model can't express.

    Raises:
        ModelError: naming the reason and the setting that avoids it.
    """
    if problem := layout_problem(model, longest):
        raise ModelError(f"This model cannot train on an attention layout: {problem}. Set training.attention=unrolled.")
