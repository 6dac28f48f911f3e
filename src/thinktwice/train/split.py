"""The loss of choices, and a backward pass split where keys and values change hands.

    1. the arguer reads its texts; the states that are moved are cut from its graph
    2. the chooser reads its own with these, and its loss goes back as far as the states
    3. their gradients go on through the arguer

(Source of the split: GradCache, Gao et al., 2021.) Between the phases the adapter changes, which one graph over one
base could not survive: PEFT freezes what it switches off, and a checkpointed layer would be run again under the wrong
adapter. With `recompute` phase 1 keeps no graph and phase 3 reads the texts again: memory is that of the larger reader
instead of both, for one more forward pass of the arguer. The gradients are those of both readers in one graph.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from thinktwice.decode.transplant import ChoiceBatch, Verifier, option_logprobs
from thinktwice.train.processes import Processes
from thinktwice.train.settings import Training

SLOTS = 64
"""Options that are told apart in counting how often each is chosen."""


class ChoiceObjective:
    """Computes the summed negative log-likelihood of the right identifiers of a batch. Law: `backward` trains both."""

    def __init__(self, verifier: Verifier, settings: Training, processes: Processes | None = None) -> None:
        """Take the readers. `arguer` and `loss_over` decide what is learned, `gradient_checkpointing` how."""
        self.verifier, self.settings = verifier, settings
        self.processes = processes or Processes()
        self.recompute = settings.gradient_checkpointing
        self._anchor = torch.zeros((), requires_grad=True)
        self._seen, self._right = 0, 0.0
        self._slots: Counter[int] = Counter()
        self.commonest: float | None = None
        """Share of the commonest slot among the verdicts of the last `accuracy`: near 1, a constant answered."""

    def __call__(self, batch: ChoiceBatch) -> Tensor:
        """Return the scalar loss, fp32; its gradients go into the adapters when `backward` reaches it."""
        if not torch.is_grad_enabled():
            with ExitStack() as open_contexts:
                loss, _ = self._read(batch, open_contexts, learns=False)
            return loss
        found: Tensor = cast(Any, _Split).apply(self._anchor, self, batch)
        return found

    def take(self) -> None:
        """Return nothing: choices have no preferences (see `loop`)."""

    def accuracy(self) -> float:
        """Return the share of choices got right without gradients since this was last asked; a tie is half right."""
        counts = [self._right, float(self._seen), *(float(self._slots[slot]) for slot in range(SLOTS))]
        right, seen, *slots = self.processes.sum(counts, self.verifier.model.device)
        self.commonest = max(slots) / max(seen, 1.0)
        self._seen, self._right = 0, 0.0
        self._slots.clear()
        return right / max(seen, 1.0)

    def _read(
        self, batch: ChoiceBatch, open_contexts: ExitStack, learns: bool
    ) -> tuple[Tensor, Callable[[Tensor], None]]:
        """Do phases 1 and 2 forward; return the loss and what does the rest."""
        verifier, device = self.verifier, batch.token_ids_BT.device
        longest = max(batch.token_ids_BT.shape[1], batch.argued_ids_NT.shape[1])
        route = verifier.way(longest, checkpointed=self.recompute)
        through = learns and len(batch.from_U) > 0 and self.settings.arguer != "frozen"
        precision = _present_precision(device)
        chance = _random_state(device) if through and self.recompute else None
        if len(batch.from_U):
            verifier.switch("arguer")
        with torch.set_grad_enabled(through and not self.recompute), route.argue(batch) as argued:
            pass
        leaves = {key: state.detach().requires_grad_(through) for key, state in argued.items()}
        verifier.switch("chooser")
        logits_BV = open_contexts.enter_context(route.choose(batch, leaves))
        loss = self._loss(logits_BV, batch)

        def go_back(gradient: Tensor) -> None:
            verifier.switch("chooser")  # a checkpointed layer is run again
            torch.autograd.backward(loss, gradient)
            open_contexts.close()
            if not through:
                return
            reached = [key for key, leaf in leaves.items() if leaf.grad is not None]
            gradients = [self._turned(leaves[key].grad, batch) for key in reached]
            if not self.recompute:
                torch.autograd.backward([argued[key] for key in reached], gradients)
                return
            verifier.switch("arguer")
            with _replayed(chance, device), precision(), route.argue(batch) as again:
                torch.autograd.backward([again[key] for key in reached], gradients)

        return loss, go_back

    def _turned(self, gradient_U: Tensor | None, batch: ChoiceBatch) -> Tensor | None:
        """Return the gradient of the moved rows, turned round where an adversary argues for a wrong candidate.

        It descends on what the chooser's loss descends on; the other way is up the chooser's loss, which is higher the
        likelier its own candidate is chosen.
        """
        if not self.settings.adversarial or gradient_U is None:
            return gradient_U
        against_U = batch.against_U.to(gradient_U.device)
        shape = (-1, *[1] * (gradient_U.ndim - 1))
        return gradient_U * torch.where(against_U, -self.settings.adversarial, 1.0).to(gradient_U.dtype).view(shape)

    def _loss(self, logits_BV: Tensor, batch: ChoiceBatch) -> Tensor:
        right_B = batch.right_B.to(logits_BV.device)
        logprobs_BO = option_logprobs(logits_BV, batch)
        if not torch.is_grad_enabled():
            best_B = logprobs_BO.max(-1).values
            tied_B = (logprobs_BO == best_B[:, None]).sum(-1)
            hit_B = logprobs_BO.gather(1, right_B[:, None])[:, 0] == best_B
            self._seen += len(right_B)
            self._slots.update(logprobs_BO.argmax(-1).tolist())
            self._right += float((hit_B / tied_B).sum())
        if self.settings.loss_over == "options":
            return F.nll_loss(logprobs_BO, right_B, reduction="sum")
        targets_B = batch.options_BO.to(logits_BV.device).gather(1, right_B[:, None])[:, 0]
        return F.cross_entropy(logits_BV, targets_B, reduction="sum")


class _Split(torch.autograd.Function):
    """One node for the whole of both readers: what `backward` does behind it is `go_back`."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, objective: ChoiceObjective, batch: ChoiceBatch) -> Tensor:
        ctx.open_contexts = ExitStack()
        with torch.enable_grad():
            loss, ctx.go_back = objective._read(batch, ctx.open_contexts, learns=True)
        if not objective.recompute:
            ctx.open_contexts.close()
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        try:
            with torch.enable_grad():
                ctx.go_back(gradient)
        finally:
            ctx.open_contexts.close()
        return None, None, None


def _present_precision(device: torch.device) -> Callable[[], Any]:
    """Return a context that has the autocast there is now: a backward pass has none."""
    if not torch.is_autocast_enabled(device.type):
        return nullcontext
    dtype = torch.get_autocast_dtype(device.type)
    return lambda: torch.autocast(device.type, dtype)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replayed(chance: tuple[Tensor, Tensor | None] | None, device: torch.device) -> Iterator[None]:
    """Draw once more what was drawn from `chance` on (dropout), and go on afterwards as if nothing had been."""
    if chance is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(chance[0])
        if chance[1] is not None:
            torch.cuda.set_rng_state(chance[1], device)
        yield
