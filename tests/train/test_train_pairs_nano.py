"""On the bundled base: the right next line is preferred to a tempting wrong one, on problems it was not trained on."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from thinktwice import nano
from thinktwice.render import Render
from thinktwice.tasks import load_task
from thinktwice.train import Training, fit
from thinktwice.train.vocab import load_tokenizer
from thinktwice.types import Pair, Problem, Task

SETTINGS = Training(steps=24, batch_size=8, lr=3e-4, precision="fp32", eval_every=24, log_every=24)


@pytest.fixture(scope="module")
def world() -> tuple[Task, Render, str]:
    base = nano.resolve("nano")
    task = load_task("arith", operations=[2, 3], levels=[2], train=64, per_level=16)
    tokenizer: Any = load_tokenizer(base)
    return task, Render(tokenizer), base


def next_lines(problems: Sequence[Problem], task: Task, render: Render) -> list[Pair]:
    """Go on from the first place where something tempts: to the right line, or to the wrong one."""
    pairs = []
    for problem in problems:
        lines = str(problem.solution).splitlines(keepends=True)
        for k, right in enumerate(lines):
            assert task.oracle is not None
            before = "".join(lines[:k])
            for wrong in task.oracle.plausible_errors(problem, before)[:1]:
                pairs.append(pair(problem, before, right, wrong.removesuffix("\n") + "\n", render))
            if pairs and pairs[-1].problem_id == problem.id:
                break
    return pairs


def pair(problem: Problem, before: str, right: str, wrong: str, render: Render) -> Pair:
    written = render.encode(before) if before else ()
    context, sides = len(render.prompt(problem)) + len(written), []
    for line in (right, wrong):
        whole = render.example(problem, (*written, *render.encode(line)))
        sides.append(replace(whole, weights=tuple(w * (i >= context - 1) for i, w in enumerate(whole.weights))))
    return Pair(sides[0], sides[1], "next line")


def last(folder: Any) -> dict[str, float]:
    rows: dict[str, float] = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return rows


def test_the_right_line_gains_on_problems_never_trained_on(world, tmp_path) -> None:
    task, render, base = world
    pairs, held_out = (next_lines(task.splits[split], task, render) for split in ("train", "test"))
    assert len(pairs) > 50
    assert len(held_out) > 10
    moved = {}
    for name, weight in (("plain", 0.0), ("held", 1.0)):
        fit(pairs, base, tmp_path / name, replace(SETTINGS, nll_weight=weight), dev=held_out)
        moved[name] = last(tmp_path / name)
    assert moved["plain"]["dev_accuracy"] > 0.8
    assert moved["plain"]["dev_margin"] > 0.1
    assert moved["held"]["dev_accuracy"] > 0.8
    assert moved["held"]["chosen_change"] > 0.01
    assert moved["held"]["chosen_change"] > moved["plain"]["chosen_change"]
    assert moved["held"]["dev_chosen_change"] > -0.005
