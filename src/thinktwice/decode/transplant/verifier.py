"""An arguer and a chooser on one model, and the routes that carry the first's states into the second."""

import weakref
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from thinktwice.decode.cache import context_length, vocabulary_size
from thinktwice.decode.transplant.batch import ChoiceBatch, check_choice, collate_choices
from thinktwice.decode.transplant.cached import CachedRoute
from thinktwice.decode.transplant.hooks import HookRoute
from thinktwice.decode.transplant.interface import InterfaceRoute, length_dependent
from thinktwice.decode.transplant.rotation import measure_rotations
from thinktwice.decode.transplant.route import Route
from thinktwice.decode.transplant.sites import Key, evaluating, find_sites, inner, layer_count
from thinktwice.errors import ConfigError, DataError
from thinktwice.types import Choice, Move

Role = Literal["arguer", "chooser"]
Parts = Literal["k", "v", "kv"]
Switch = Callable[[Role], None]
"""Puts the adapter of a role on the model."""


class Verifier:
    """Says which candidate is right. Law: the same choices give the same answer whatever else is in the batch."""

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        switch: Switch | None = None,
        layers: Sequence[int] = (),
        parts: Parts = "kv",
        fast: bool | None = None,
        pad_id: int = 0,
    ) -> None:
        """Look into the model and choose the way.

        Args:
            model: a causal language model, or PEFT's wrapper of one.
            switch: puts a role's adapter on it; None: both roles are the model as it is.
            layers: whose keys and values are moved; empty: all.
            parts: keys, values, or both.
            fast: whether the chooser skips the moved rows; None: where that has been measured to give the same.
            pad_id: stands behind shorter texts.

        Raises:
            ModelError: keys and values of this model cannot be moved.
            ConfigError: a layer that it does not have; `fast` where it is not the same.
        """
        self.model: PreTrainedModel = inner(model)
        self.switch: Switch = switch or (lambda role: None)
        self.pad_id = pad_id
        count = layer_count(self.model)
        if wrong := [layer for layer in layers if not 0 <= layer < count]:
            raise ConfigError(f"Layers {wrong} are not among this model's {count} (0 to {count - 1}); name others.")
        chosen = sorted(set(layers)) or list(range(count))
        self.keys: list[Key] = [(layer, part) for layer in chosen for part in ("k", "v") if part in parts]
        sites = find_sites(self.model)
        self.route: Route = (
            InterfaceRoute(self.model, self.keys) if sites is None else HookRoute(self.model, sites, self.keys)
        )
        """The way that is right in training, too."""
        self.fast: Route | None = None
        self.fast_problem = "switched off"
        """Why the chooser computes the moved rows; empty where it does not."""
        if fast is not False:
            self.fast, self.fast_problem = self._fast()
            if fast and self.fast is None:
                raise ConfigError(f"The chooser cannot skip the moved rows: {self.fast_problem}. Leave `fast` out.")

    def _fast(self) -> tuple[Route | None, str]:
        if len(self.keys) < 2 * layer_count(self.model):
            return None, "some layers, or keys or values, are the chooser's own"
        if self.model not in _measured:
            _measured[self.model] = _measure_fast(self.model, self.route)
        return _measured[self.model]

    def way(self, longest: int, *, checkpointed: bool = False) -> Route:
        """Return the route for texts of up to `longest` tokens."""
        window = getattr(self.model.config.get_text_config(), "sliding_window", None)
        if self.fast is None or checkpointed or (window is not None and longest >= window):
            return self.route  # a 4-D mask would hide that layers see a window only
        return self.fast

    @property
    def longest(self) -> int:
        """Tokens the model reads at most."""
        return context_length(self.model) or 1 << 40

    def collate(self, choices: Sequence[Choice]) -> ChoiceBatch:
        """Put choices into tensors on the model's device."""
        return collate_choices(choices, self.pad_id, by_shift=self.route.by_shift).to(self.model.device)

    def check(self, choices: Sequence[Choice]) -> None:
        """Refuse choices that contradict themselves or that the model cannot read.

        Raises:
            DataError: naming the problem.
        """
        rows = vocabulary_size(self.model)
        for choice in choices:
            check_choice(choice)
            if max(max(choice.token_ids), max(choice.options), *map(max, choice.argued), 0) >= rows:
                raise DataError(
                    f"Choice of problem {choice.problem_id!r} has a token id beyond the model's {rows} rows; use the "
                    "base's own tokenizer."
                )
            if (longest := max(map(len, (choice.token_ids, *choice.argued)))) > self.longest:
                raise DataError(
                    f"Choice of problem {choice.problem_id!r} has a text of {longest} tokens, the model reads "
                    f"{self.longest}. "
                    "Nothing is cut: leave it out, or use a model with a longer context."
                )

    def choose(self, choices: Sequence[Choice], batch_size: int = 64) -> list[tuple[float, ...]]:
        """Return the log-probability of each option of each choice; choices of like length are read together.

        Raises:
            DataError: see `check`.
        """
        self.check(choices)
        order = sorted(range(len(choices)), key=lambda i: (-len(choices[i].token_ids), sorted(choices[i].argued)))
        found: dict[int, tuple[float, ...]] = {}
        for start in range(0, len(order), batch_size):
            members = order[start : start + batch_size]
            logprobs_BO = self.option_logprobs(self.collate([choices[index] for index in members]))
            for index, row in zip(members, logprobs_BO.tolist(), strict=True):
                found[index] = tuple(row[: len(choices[index].options)])
        return [found[index] for index in range(len(choices))]

    @torch.no_grad()
    def option_logprobs(self, batch: ChoiceBatch) -> Tensor:
        """Return the log-probability of every option (B, O), normalised over the options shown; -inf for none."""
        route = self.way(max(batch.token_ids_BT.shape[1], batch.argued_ids_NT.shape[1]))
        if len(batch.from_U):
            self.switch("arguer")
        with route.argue(batch) as states:
            pass
        self.switch("chooser")
        with route.choose(batch, states) as logits_BV:
            return option_logprobs(logits_BV, batch)


def option_logprobs(logits_BV: Tensor, batch: ChoiceBatch) -> Tensor:
    """Return the log-probability of every option (B, O), normalised over the options shown; differentiable."""
    logits_BO = logits_BV.gather(1, batch.options_BO.to(logits_BV.device))
    return logits_BO.masked_fill(~batch.shown_BO.to(logits_BO.device), float("-inf")).log_softmax(-1)


_measured: "weakref.WeakKeyDictionary[PreTrainedModel, tuple[CachedRoute | None, str]]" = weakref.WeakKeyDictionary()


def probe(model: PreTrainedModel) -> list[Choice]:
    """Return two choices of different lengths, of ids that every model has, with rows moved up and down."""
    size = vocabulary_size(model)
    text = [3 + (7 * k * k + 5 * k) % max(2, size - 3) for k in range(24)]
    ids = [i % size for i in text]
    argued = (tuple(ids[:9]), tuple(ids[4:10]))
    first = Choice(
        argued,
        (*ids[10:14], *argued[0][2:9], ids[20], *argued[1][1:6], *ids[14:17]),
        (Move(0, 2, 4, 7), Move(1, 1, 12, 5)),
        (0, 1),
        0,
    )
    second = Choice(argued, (ids[18], *argued[1][3:6], *ids[5:7]), (Move(1, 3, 1, 3),), (0, 1), 0)
    return [first, second]


def probe_logits(model: PreTrainedModel, route: Route) -> Tensor:
    """Return the logits (2, V) of the `probe` choices."""
    batch = collate_choices(probe(model), by_shift=route.by_shift).to(model.device)
    with route.argue(batch) as states, route.choose(batch, states) as logits_BV:
        return logits_BV


@torch.no_grad()
def _measure_fast(model: PreTrainedModel, route: Route) -> tuple[CachedRoute | None, str]:
    """Return the fast route where it gives the same logits as the other on this model, or why there is none."""
    if length_dependent(model):
        return None, "the angle of its rotary positions depends on the length of the text"
    try:
        with evaluating(model):
            rotations = measure_rotations(model)
            if rotations is None:
                return None, "its keys are turned by their positions in a way that is not known"
            fast = CachedRoute(model, rotations)
            found = [probe_logits(model, way) for way in (route, fast)]
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return None, f"it takes no cache with a mask ({reason[:120]})"
    difference = float((found[0] - found[1]).norm() / found[0].norm())
    if not difference <= (1e-3 if model.dtype == torch.float32 else 0.05):
        return None, f"its logits would be off by {difference:.1%}"
    return fast, ""
