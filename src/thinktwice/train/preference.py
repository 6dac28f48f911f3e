"""The loss of pairs: direct preference optimisation, with the reference's log-probabilities known beforehand.

For a pair with log-ratios r = log p - log p_ref of its learned tokens, summed with their weights (a weight other than 0
and 1 multiplies its token's log-ratio, as it multiplies its loss in supervised training):

    loss = -logsigmoid(beta * (r_chosen - r_rejected)) + nll_weight * (mean nll of chosen's tokens)

averaged over the pairs of a step (Rafailov et al., 2023, equation 7; the second term: Pang et al., 2024, equation 1).
"""

import logging
import math
from collections import deque
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thinktwice.errors import TrainError
from thinktwice.train.batch import Batch
from thinktwice.train.metrics import Preference
from thinktwice.train.objective import Objective
from thinktwice.train.pairs import PairBatch
from thinktwice.train.settings import Training

log = logging.getLogger("thinktwice.train")
DROP_WINDOW = 10
"""Steps over which the change of chosen's log-probability is averaged before it is compared with the limit."""
SUMS = 8
"""Numbers kept of every batch; see `measure`."""


def pair_loss(policy_R: Tensor, reference_R: Tensor, learned_R: Tensor, settings: Training) -> tuple[Tensor, Tensor]:
    """Return (loss of each of P pairs, reward margin of each), differentiable.

    Args:
        policy_R: log-probability of each of 2P rows (chosen first, then rejected) under the model, in nats.
        reference_R: the same under the reference.
        learned_R: sum of the weights of each row.
        settings: `beta`, `label_smoothing`, `length_normalised`, `nll_weight`.
    """
    ratio_R = policy_R - reference_R
    if settings.length_normalised:
        ratio_R = ratio_R / learned_R
    chosen_P, rejected_P = ratio_R.chunk(2)
    margin_P = settings.beta * (chosen_P - rejected_P)
    smooth = settings.label_smoothing
    loss_P = -(1 - smooth) * F.logsigmoid(margin_P)
    if smooth:
        loss_P = loss_P - smooth * F.logsigmoid(-margin_P)
    if settings.nll_weight:
        pairs = len(margin_P)
        loss_P = loss_P - settings.nll_weight * (policy_R / learned_R)[:pairs]
    return loss_P, margin_P


def row_sums(values_N: Tensor, batch: Batch) -> Tensor:
    """Return for every row the sum of weight x value over its supervised positions, float64."""
    rows, length = batch.weights_BT.shape
    weights_N = batch.weights_BT.reshape(-1)[batch.supervised_N]
    sums_R = values_N.new_zeros(rows, dtype=torch.float64)
    return sums_R.index_add(0, batch.supervised_N // length, (values_N * weights_N).double())


def measure(nll_N: Tensor, batch: PairBatch, settings: Training) -> tuple[Tensor, Tensor]:
    """Return (loss summed over the pairs of a batch, its numbers summed likewise).

    The numbers (SUMS): pairs, margin, pairs with chosen above rejected, log-probability of chosen and of rejected, and
    nats a token: change of chosen and of rejected since the start, and chosen's log-probability.
    """
    policy_R = -row_sums(nll_N, batch.rows)
    learned_R = batch.rows.weights_BT.double().sum(1)
    loss_P, margin_P = pair_loss(policy_R, batch.reference_R, learned_R, settings)
    with torch.no_grad():
        chosen_P, rejected_P = policy_R.chunk(2)
        chosen_change_P, rejected_change_P = ((policy_R - batch.reference_R) / learned_R).chunk(2)
        each = (
            torch.ones_like(margin_P),
            margin_P,
            (margin_P > 0).double(),
            chosen_P,
            rejected_P,
            chosen_change_P,
            rejected_change_P,
            chosen_P / learned_R.chunk(2)[0],
        )
        numbers = torch.stack([value.sum() for value in each]).detach()
    return loss_P.sum(), numbers


def summary(numbers: Sequence[float]) -> Preference | None:
    """Return the means of summed numbers; None when there were no pairs."""
    pairs, *sums = numbers
    return Preference(*(value / pairs for value in sums)) if pairs else None


class PairObjective:
    """Computes the summed loss of a batch of pairs, as `Objective` does that of a batch of examples."""

    def __init__(self, model: nn.Module, settings: Training) -> None:
        self.settings = settings
        self.rows = Objective(model)
        self._numbers = [0.0] * SUMS

    def __call__(self, batch: PairBatch) -> Tensor:
        """Return the scalar sum of the pairs' losses, differentiable; its numbers are kept for `take`."""
        loss, numbers = measure(self.rows.nll(batch.rows), batch, self.settings)
        self._numbers = [a + b for a, b in zip(self._numbers, numbers.tolist(), strict=True)]
        return loss

    def take(self) -> Preference | None:
        """Return the means over every batch since this was last asked."""
        found, self._numbers = summary(self._numbers), [0.0] * SUMS
        return found


class DropGuard:
    """Watches chosen's log-probability: DPO may lower both sides, chosen less than rejected, and call it progress."""

    def __init__(self, limit: float, recent: Sequence[float] = ()) -> None:
        """Take the largest fall allowed, in nats a token (0: any), and what was seen before a resume."""
        self.limit = limit
        self.recent: deque[float] = deque(recent, DROP_WINDOW)
        self._warned = False

    def see(self, step: int, preference: Preference | None) -> None:
        """Take in one step.

        Raises:
            TrainError: chosen has fallen by more than the limit.
        """
        if preference is None or not self.limit:
            return
        self.recent.append(preference.chosen_change)
        fall = -math.fsum(self.recent) / len(self.recent)
        if fall > self.limit:
            raise TrainError(
                f"chosen's log-probability has fallen by {fall:.3f} nats a token since the start (steps up to {step}; "
                f"training.max_chosen_drop={self.limit}). The model is unlearning what it should prefer: set "
                "training.nll_weight (0.1 to 1), lower training.lr or training.steps, or raise training.beta."
            )
        if fall > self.limit / 2 and not self._warned:
            self._warned = True
            log.warning(
                "chosen's log-probability has fallen by %.3f nats a token by step %d; training stops at %g. "
                "training.nll_weight holds it up.",
                fall,
                step,
                self.limit,
            )


def still(model: nn.Module, keep: str = "lora_dropout") -> None:
    """Switch the model's own dropout off, so that it starts equal to its reference; adapters keep what was asked."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Dropout) and keep not in path:
            module.p = 0.0
        for name in ("attention_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
