"""The self-test: that on this model what is moved arrives, and nothing else changes. One sentence a finding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from thinktwice.decode.transplant.batch import check_choice, collate_choices
from thinktwice.decode.transplant.route import Route
from thinktwice.decode.transplant.sites import evaluating, layer_count
from thinktwice.decode.transplant.verifier import Verifier, probe
from thinktwice.errors import DataError, ModelError
from thinktwice.types import Choice, Move


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    passed: bool
    sentence: str


def check(
    model: nn.Module, *, verifier: Verifier | None = None, adapters: Sequence[str] = (), choices: Sequence[Choice] = ()
) -> list[Finding]:
    """Try the transplant on a model and say what was found. Law: the model is left as it was.

    Args:
        model: a causal language model, or PEFT's wrapper of one.
        verifier: over that model; default: one that moves everything.
        adapters: names of the adapters of its roles, whose weights must be different memory.
        choices: whose moved rows must spell the same ids in both texts.
    """
    found: list[Finding] = []
    try:
        verifier = verifier or Verifier(model)
    except ModelError as error:
        return [Finding(False, str(error))]
    own = verifier.model
    with evaluating(own):
        for finding in _look(verifier):
            found.append(finding)
    if adapters:
        found.append(_adapters_apart(model, adapters))
    if choices:
        found.append(_same_spans(choices))
    return found


def _look(verifier: Verifier) -> Iterator[Finding]:
    model, route = verifier.model, verifier.route
    layers = layer_count(model)
    used = sorted({layer for layer, _ in verifier.keys})
    parts = " and ".join(name for part, name in (("k", "keys"), ("v", "values")) if (used[0], part) in verifier.keys)
    way = {"HookRoute": "its projections", "InterfaceRoute": "the attention interface"}[type(route).__name__]
    yield Finding(True, f"{parts} of {len(used)} of {layers} layers are moved, at {way}")
    arrived = _layers_reached(verifier)
    yield Finding(arrived == used, f"states were taken from {len(arrived)} layers; {len(used)} were to be moved")
    off = _self_transplant(verifier)
    yield Finding(off == 0.0, f"a text's own states put back into it change its logits by {off:g} (must be exactly 0)")
    apart = _effect(verifier)
    yield Finding(apart > 0.0, f"another text's states change the logits by {apart:.3g} (must be more than 0)")
    gradient = _gradient(verifier)
    yield Finding(gradient > 0.0, f"the chooser's gradient reaches what the arguer read: norm {gradient:.3g}")
    leak = _leak(model, route)
    yield Finding(leak == 0.0, f"a later token changes the logits of an earlier one by {leak:g} (the mask is there)")
    if verifier.fast is not None:
        yield Finding(True, "the chooser may skip the moved rows: measured to give the same logits")
    else:
        yield Finding(True, f"the chooser computes the moved rows too: {verifier.fast_problem}")


def _run(verifier: Verifier, choices: Sequence[Choice]) -> Tensor:
    batch = verifier.collate(choices)
    with verifier.route.argue(batch) as states, verifier.route.choose(batch, states) as logits_BV:
        return logits_BV


@torch.no_grad()
def _layers_reached(verifier: Verifier) -> list[int]:
    with verifier.route.argue(verifier.collate(probe(verifier.model))) as states:
        return sorted({layer for layer, _ in states})


@torch.no_grad()
def _self_transplant(verifier: Verifier) -> float:
    """Move every row but the last of a text into itself."""
    text = probe(verifier.model)[0].token_ids
    alone = Choice((text,), text, (), (0, 1), None)
    batch = verifier.collate([replace(alone, moves=(Move(0, 0, 0, len(text) - 1),))])
    # The arguer reads the last row too: in a text of another length, sums are rounded otherwise.
    batch = replace(batch, argued_ids_NT=batch.token_ids_BT, argued_lengths_N=batch.lengths_B)
    as_it_is_BV = _run(verifier, [alone])
    with verifier.route.argue(batch) as states, verifier.route.choose(batch, states) as logits_BV:
        return float((logits_BV - as_it_is_BV).abs().max())


@torch.no_grad()
def _effect(verifier: Verifier) -> float:
    choices = probe(verifier.model)[:1]
    alone = [replace(choice, moves=()) for choice in choices]
    return float((_run(verifier, choices) - _run(verifier, alone)).norm())


def _gradient(verifier: Verifier) -> float:
    """Return the norm of the gradient of a logit with respect to what the arguer's first layer was given."""
    leaves: list[Tensor] = []

    def cut(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    embedding: Any = verifier.model.get_input_embeddings()
    with torch.inference_mode(False), torch.enable_grad():
        handle = embedding.register_forward_hook(cut)
        try:
            logits_BV = _run(verifier, probe(verifier.model)[:1])
        finally:
            handle.remove()
        arguer = leaves[0]
        (gradient,) = torch.autograd.grad(logits_BV.logsumexp(-1).sum() + logits_BV[:, 0].sum(), [arguer])
    return float(gradient.norm())


@torch.no_grad()
def _leak(model: Any, route: Route) -> float:
    """Return how much a token changes what was said before it, when the model is read as the route reads it."""
    choice = probe(model)[0]
    tail = choice.token_ids[-1]
    longer = replace(choice, token_ids=(*choice.token_ids, choice.token_ids[0]))
    other = replace(choice, token_ids=(*choice.token_ids, tail))
    logits = []
    for each in (longer, other):
        batch = collate_choices([each], by_shift=route.by_shift).to(model.device)
        batch = replace(batch, lengths_B=batch.lengths_B - 1)
        with route.argue(batch) as states, route.choose(batch, states) as logits_BV:
            logits.append(logits_BV)
    return float((logits[0] - logits[1]).abs().max())


def _adapters_apart(model: nn.Module, adapters: Sequence[str]) -> Finding:
    places: dict[str, set[int]] = {name: set() for name in adapters}
    for path, parameter in model.named_parameters():
        for name in adapters:
            if f".{name}." in path:
                places[name].add(parameter.data_ptr())
    shared = set.intersection(*places.values()) if len(adapters) > 1 else set()
    names = " and ".join(adapters)
    there = all(places.values())
    return Finding(
        there and not shared,
        f"the adapters {names} have {sum(map(len, places.values()))} tensors, {len(shared)} of them shared"
        if there
        else f"the model has no adapter {min(name for name in adapters if not places[name])}",
    )


def _same_spans(choices: Sequence[Choice]) -> Finding:
    try:
        for choice in choices:
            check_choice(choice)
    except DataError as error:
        return Finding(False, str(error))
    moved = sum(move.n for choice in choices for move in choice.moves)
    return Finding(True, f"the {moved} moved rows of {len(choices)} choices spell the same tokens in both texts")
