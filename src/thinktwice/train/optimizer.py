"""AdamW and Muon, with the learning rate set by the schedule before every step."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from thinktwice.train.objective import embedding, output_head
from thinktwice.train.settings import Training

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration whose slope at 0 is steepest (Keller Jordan, 2024)."""


def orthogonalise(matrices_KRC: Tensor, iterations: int = 5) -> Tensor:
    """Return the nearest semi-orthogonal matrix of each, roughly: singular values end between about 0.7 and 1.2.

    Newton-Schulz, five steps (Keller Jordan et al., "Muon: an optimizer for hidden layers", 2024). Shape (K, R, C).
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrices_KRC
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz, for the 2-D hidden matrices. Law: deterministic; same shapes batched.

    Update: lr * sqrt(max(1, rows / columns)) * orthogonalise(nesterov momentum) (Keller Jordan's reference
    implementation, https://github.com/KellerJordan/Muon); weight decay is decoupled.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                directions = []
                for parameter in parameters:
                    gradient, state = parameter.grad, self.state[parameter]
                    assert gradient is not None
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(parameter)
                    momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
                    directions.append(gradient.lerp(momentum, group["momentum"]))
                stacked = torch.stack(directions)
                # bf16 is enough for the iteration and several times faster on a GPU.
                updates = orthogonalise(stacked.bfloat16() if stacked.is_cuda else stacked.float())
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.to(parameter.dtype), alpha=-scale)


def build_optimizers(model: nn.Module, settings: Training) -> list[torch.optim.Optimizer]:
    """Return the optimisers of all trainable weights; every group carries its own `peak` learning rate."""
    outside = {id(embedding(model))}
    if (head := output_head(model)) is not None:
        outside.add(id(head.weight))
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()} | outside
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hidden = [p for p in trainable if p.ndim == 2 and id(p) not in embeddings and settings.optimizer == "muon"]
    taken = {id(p) for p in hidden}
    matrices = [p for p in trainable if p.ndim >= 2 and id(p) not in taken]
    vectors = [p for p in trainable if p.ndim < 2]
    peak = settings.lr if settings.optimizer == "adamw" else (settings.embedding_lr or settings.lr)
    groups: list[dict[str, Any]] = [
        {"params": params, "weight_decay": decay, "peak": peak}
        for params, decay in ((matrices, settings.weight_decay), (vectors, 0.0))
        if params
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=peak, betas=settings.betas, fused=_can_fuse(trainable)))
    if hidden:
        muon = Muon(hidden, lr=settings.lr, weight_decay=settings.weight_decay)
        for group in muon.param_groups:
            group["peak"] = settings.lr
        optimizers.append(muon)
    return optimizers


def _can_fuse(parameters: list[nn.Parameter]) -> bool:
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], settings: Training, step: int, steps: int) -> float:
    """Set every group's learning rate for `step` and return the main one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate(step, steps, group["peak"])
    return settings.learning_rate(step, steps)
