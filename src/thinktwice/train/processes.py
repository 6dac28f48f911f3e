"""Several processes that train one model. Law: the result is that of one process, up to the order of sums."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """How many there are, and which this is. Each does its share of a step's batches; then gradients are summed.

    (DistributedDataParallel sums while the backward pass is under way, once a parameter; here each adapter has a
    backward pass of its own, in the middle of which the other is switched on.)
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def join(cls) -> "Processes":
        """Meet the processes that torchrun started, if it did."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls()
        if not distributed.is_initialized():
            cuda = torch.cuda.is_available()
            if cuda:
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            distributed.init_process_group("nccl" if cuda else "gloo")
        return cls(distributed.get_rank(), world)

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """Return this process's batches; with too few for all, some get none."""
        return batches[self.rank :: self.world]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up what every process found. A parameter that none has reached keeps no gradient."""
        if self.world == 1:
            return
        found = list(parameters)
        reached = self.sum([float(p.grad is not None) for p in found], found[0].device)
        for parameter, processes in zip(found, reached, strict=True):
            if processes:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                distributed.all_reduce(parameter.grad)

    def sum(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Return the sums of numbers over all processes."""
        if self.world == 1:
            return list(values)
        total: Tensor = torch.tensor(list(values), dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether it is true of any process."""
        return self.sum([float(flag)], device)[0] > 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            distributed.barrier()
