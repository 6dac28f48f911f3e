"""Trunk and branches in one sequence against one sequence for every context, on a nano Llama.

Prints supervised tokens a second of both, measured in one run, for several numbers of branches on a trunk, and their
ratio (aim: 2 or more at four branches). Both ways learn exactly the same tokens in the same contexts, so the ratio is
the speed-up of training. Alternating rounds, and the median of each, keep a busy machine from deciding.

    OMP_NUM_THREADS=2 python benchmarks/train.py
"""

import random
import statistics
import time
from collections.abc import Sequence

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from thinktwice.resolve import example, inject, unroll
from thinktwice.train.batch import Batch, ExampleSteps
from thinktwice.train.objective import Objective
from thinktwice.train.optimizer import build_optimizers
from thinktwice.train.settings import Training
from thinktwice.types import Example

UNDO, STEP_END, PROMPT, STEPS, STEP_LENGTH, ERROR_LENGTH = 3, 4, 50, 8, 10, 3
ROUNDS = 5


def trunk_with_branches(draw: random.Random, branches: int) -> Example:
    """Write a problem of `STEPS` steps, each of `branches` of them begun wrongly once."""
    prompt = [draw.randrange(5, 512) for _ in range(PROMPT)]
    steps = [[draw.randrange(5, 512) for _ in range(STEP_LENGTH - 1)] + [STEP_END] for _ in range(STEPS)]
    where = sorted(PROMPT + STEP_LENGTH * k for k in draw.sample(range(STEPS), branches))
    errors = [(position, [draw.randrange(5, 512) for _ in range(ERROR_LENGTH)]) for position in where]
    ends = frozenset({STEP_END})
    raw = inject(
        [*prompt, *(token for step in steps for token in step)], errors, UNDO, floor=PROMPT, unit="step", step_ends=ends
    )
    return example(raw, UNDO, floor=PROMPT, context="rewind", unit="step", step_ends=ends)


def train_once(objective: Objective, optimizers: Sequence[torch.optim.Optimizer], steps: list[list[Batch]]) -> float:
    """Train on every step once and return the seconds."""
    start = time.perf_counter()
    for (batch,) in steps:
        (objective(batch) / batch.weight).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return time.perf_counter() - start


def main() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    settings = Training(tokens_per_step=8192)
    objective, optimizers = Objective(model), build_optimizers(model, settings)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {torch.get_num_threads()} threads")
    print("branches  supervised/s unrolled  supervised/s layout  ratio")
    for branches in (1, 2, 4, 8):
        draw = random.Random(branches)
        packed = [trunk_with_branches(draw, branches) for _ in range(128)]
        unrolled = [part for one in packed for part in unroll(one)]
        plans, learned = {}, {}
        for name, examples in (("unrolled", unrolled), ("layout", packed)):
            source = ExampleSteps(examples, settings)
            plans[name] = [batches for (batches, _), _ in zip(source.steps(), range(source.total), strict=False)]
            learned[name] = sum(len(batch.supervised_N) for step in plans[name] for batch in step)
        assert learned["unrolled"] == learned["layout"]
        seconds: dict[str, list[float]] = {"unrolled": [], "layout": []}
        for _ in range(ROUNDS):
            for name, plan in plans.items():
                seconds[name].append(train_once(objective, optimizers, plan))
        speed = {name: learned[name] / statistics.median(times) for name, times in seconds.items()}
        ratio = speed["layout"] / speed["unrolled"]
        print(f"{branches:8}  {speed['unrolled']:21.0f}  {speed['layout']:19.0f}  {ratio:5.2f}")


if __name__ == "__main__":
    main()
