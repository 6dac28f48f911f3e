# ruff: noqa: N806  shape suffixes
"""A verifier's training step and its answers, against the straightforward way, in one run.

The straightforward way is the seed's, put right: two models (an arguer and a chooser, each its own copy of the base
with its own adapter), states copied example by example in Python lists inside the attention's projections, every argued
text read for every order of its item, the chooser reading all of its text, and one joint graph over both models. Ours
learns the same thing: losses and gradients are compared before anything is timed.

    OMP_NUM_THREADS=1 python benchmarks/transplant.py

Prints a table: seconds a step, peak memory of a step (each way in a process of its own: resident memory sampled every
few milliseconds, less what it was before the step) and seconds an answer, each as a ratio too. Alternating rounds, and
the median of each, keep a busy machine from deciding; under load the ratios are what counts.
"""

import argparse
import copy
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from thinktwice.decode.transplant import Verifier, collate_choices, option_logprobs
from thinktwice.run.clock import resident
from thinktwice.train.settings import Training
from thinktwice.train.split import ChoiceObjective
from thinktwice.train.verifier import load_verifier
from thinktwice.types import Choice, Move

RETURNED = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Memory that is freed goes back to the system at once, so that what is resident is what is held."""
WAYS = ("straightforward", "ours", "ours, recomputing")


@dataclass(frozen=True)
class Size:
    """What is trained on."""

    items: int = 8
    question: int = 60
    solution: int = 100
    layers: int = 4
    hidden: int = 128
    vocabulary: int = 512


def make_choices(size: Size, seed: int = 0) -> list[Choice]:
    """Write items of random tokens, each in both orders, their lengths up to a quarter below the size's."""
    draw = random.Random(seed)
    choices = []
    for k in range(size.items):

        def text(n: int) -> list[int]:
            return [draw.randrange(8, size.vocabulary) for _ in range(draw.randint(3 * n // 4, n))]

        question, candidates = text(size.question), [text(size.solution) for _ in range(2)]
        argued = tuple((*question, 3, *candidate) for candidate in candidates)
        for order in ((0, 1), (1, 0)):
            ids, moves = list(question), []
            for slot, source in enumerate(order):
                ids.append(4 + slot)
                moves.append(Move(source, len(question) + 1, len(ids), len(candidates[source])))
                ids += candidates[source]
            ids += [3, 6]
            choices.append(Choice(argued, tuple(ids), tuple(moves), (4, 5), order.index(0), f"p{k}"))
    return choices


class Straightforward:
    """Two models and lists of copies."""

    def __init__(self, verifier: Verifier, model: torch.nn.Module) -> None:
        roles: Any = verifier.switch
        self.chooser = copy.deepcopy(model)
        roles("arguer")
        self.arguer = model
        type(roles)(self.chooser, roles.saved)("chooser")

    def __call__(self, choices: Sequence[Choice]) -> torch.Tensor:
        """Return the loss, a joint graph of both models behind it."""
        texts = [choice.argued[move.source] for choice in choices for move in choice.moves]
        spans = [(move.start, move.start + move.n) for choice in choices for move in choice.moves]
        stored: dict[str, list[torch.Tensor]] = {}
        hooks = []
        for path, module in self.arguer.get_base_model().named_modules():
            if path.endswith((".k_proj", ".v_proj")):

                def take(_: Any, __: Any, output: torch.Tensor, path: str = path) -> None:
                    stored[path] = [output[row, start:end].clone() for row, (start, end) in enumerate(spans)]

                hooks.append(module.register_forward_hook(take))
        self.arguer.get_base_model().model(input_ids=_padded(texts), use_cache=False)
        for path, module in self.chooser.get_base_model().named_modules():
            if path.endswith((".k_proj", ".v_proj")):

                def put(_: Any, __: Any, output: torch.Tensor, path: str = path) -> torch.Tensor:
                    states = iter(stored[path])
                    output = output.clone()
                    for row, choice in enumerate(choices):
                        for move in choice.moves:
                            output[row, move.to : move.to + move.n] = next(states)
                    return output

                hooks.append(module.register_forward_hook(put))
        logits_BTV = self.chooser(input_ids=_padded([c.token_ids for c in choices]), use_cache=False).logits
        for hook in hooks:
            hook.remove()
        batch = collate_choices(choices)
        last_BV = logits_BTV[torch.arange(len(choices)), batch.lengths_B - 1]
        return torch.nn.functional.nll_loss(option_logprobs(last_BV, batch), batch.right_B, reduction="sum")

    def gradients(self) -> dict[str, torch.Tensor]:
        """Return the gradients of both adapters."""
        both = {**dict(self.arguer.named_parameters())}, {**dict(self.chooser.named_parameters())}
        found = {n: p.grad for n, p in both[0].items() if p.grad is not None and ".arguer." in n}
        return found | {n: p.grad for n, p in both[1].items() if p.grad is not None and ".chooser." in n}


def _padded(texts: Sequence[Sequence[int]]) -> torch.Tensor:
    width = max(map(len, texts))
    return torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])


def build(size: Size, folder: Path, way: str) -> tuple[Callable[[], torch.Tensor], Callable[[], dict[str, Any]]]:
    """Return what computes the loss of the choices, and what returns the gradients it has left."""
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.hidden,
            intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=4,
            max_position_embeddings=2048,
            initializer_range=0.1,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    settings = Training(mode="lora", lora_rank=8, gradient_checkpointing=way == "ours, recomputing")
    model, verifier, _ = load_verifier(folder, settings, moves=True)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # starts as 0, where the arguer could not be told from the base
            torch.nn.init.normal_(parameter, std=0.05)
    choices = make_choices(size)
    model.train()
    if way == "straightforward":
        both = Straightforward(verifier, model)
        return lambda: both(choices), both.gradients
    if settings.gradient_checkpointing:
        from thinktwice.train.device import enable_checkpointing

        enable_checkpointing(model)
    objective = ChoiceObjective(verifier, settings)
    return (
        lambda: objective(verifier.collate(choices)),
        lambda: {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
    )


def peak_bytes(step: Callable[[], object], first: Callable[[], object]) -> int:
    """Return how far resident memory rose while `step` ran; `first` takes what is needed once."""
    first()
    before, most, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    step()
    done.set()
    watcher.join()
    return max(0, most[0] - before)


def memory_alone(size: Size, folder: Path, way: str) -> int:
    """Return the peak memory of a step in a process of its own, in bytes."""
    options = [f"--{name}={value}" for name, value in asdict(size).items()]
    words = [sys.executable, __file__, *options, "--memory-of", way, "--folder", str(folder)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=RETURNED)
    return int(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = Size(**{name: getattr(options, name) for name in asdict(Size())})
    if options.memory_of:
        tiny, _ = build(replace(size, items=1, question=4, solution=4), options.folder, options.memory_of)
        loss, _ = build(size, options.folder, options.memory_of)
        print(peak_bytes(lambda: loss().backward(), lambda: tiny().backward()))
        return
    with tempfile.TemporaryDirectory() as name:
        measure(size, options.rounds, Path(name), options.out)


def measure(
    size: Size,
    rounds: int,
    folder: Path,
    out: Path | None,
    measure_memory: Callable[[Size, Path, str], int] | None = None,
) -> None:
    """Compare the ways, then time them."""
    measure_memory = measure_memory or memory_alone
    ways = {way: build(size, folder, way) for way in WAYS}
    found = {}
    for way, (loss, gradients) in ways.items():
        value = loss()
        value.backward()
        found[way] = float(value.detach()), {name: g.clone() for name, g in gradients().items()}
    straight_loss, straight = found["straightforward"]
    for way, (value, gradients) in found.items():
        norm = sum(float(g.pow(2).sum()) for g in straight.values()) ** 0.5
        apart = sum(float((gradients[n] - g).pow(2).sum()) for n, g in straight.items()) ** 0.5 / norm
        assert set(gradients) == set(straight), way
        assert abs(value - straight_loss) < 1e-3, (way, value, straight_loss)
        assert apart < 1e-4, (way, apart)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, (loss, _) in ways.items():
            start = time.perf_counter()
            loss().backward()
            seconds[way].append(time.perf_counter() - start)
    memory = {way: measure_memory(size, folder, way) for way in WAYS}
    _, verifier, _ = load_verifier(folder, Training(mode="lora"), moves=True)
    slow = Verifier(verifier.model, switch=verifier.switch, fast=False)
    choices = make_choices(replace(size, items=2 * size.items), seed=1)
    answers: dict[str, list[float]] = {"hooks": [], "fast": []}
    first = verifier.choose(choices)
    assert torch.allclose(torch.tensor(first), torch.tensor(slow.choose(choices)), atol=1e-4)
    for _ in range(rounds):
        for label, each in (("hooks", slow), ("fast", verifier)):
            start = time.perf_counter()
            each.choose(choices)
            answers[label].append((time.perf_counter() - start) / len(choices))
    report(size, {w: statistics.median(s) for w, s in seconds.items()}, memory, answers, out)


def report(
    size: Size, step: dict[str, float], memory: dict[str, int], answers: dict[str, list[float]], out: Path | None
) -> None:
    """Print the table, and write it."""
    base = "straightforward"
    print(f"{size}; {torch.get_num_threads()} threads; same losses and gradients")
    print(f"{'training step':20} {'ms':>8} {'ratio':>7} {'peak MB':>9} {'ratio':>7}")
    for way in WAYS:
        faster, smaller = step[base] / step[way], memory[base] / max(memory[way], 1)
        print(f"{way:20} {1000 * step[way]:8.0f} {faster:6.2f}x {memory[way] / 1e6:9.0f} {smaller:6.2f}x")
    per = {way: statistics.median(values) for way, values in answers.items()}
    print(f"an answer: hooks {1000 * per['hooks']:.2f} ms, fast {1000 * per['fast']:.2f} ms", end=" ")
    print(f"({per['hooks'] / per['fast']:.2f}x)")
    if out is not None:
        result = {"size": asdict(size), "step_s": step, "peak_bytes": memory, "answer_s": per}
        out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
