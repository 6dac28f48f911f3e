"""Runs of one recipe whose problems are posed anew by every seed: what `docs/results/transplant.md` reports.

    thinktwice run recipes/transplant.yaml --runs runs/transplant-critic name=nano-critic-seed-0 seed=0    # and 1, 2, 3
    python benchmarks/posed_seeds.py runs/transplant-critic/nano-critic-seed-*

Every seed has other pairs of the same questions, so `thinktwice repeated` refuses them. Within a run two arms are
paired by pair. Two intervals, two questions: what other questions would have given (a question is drawn with all its
pairs in all runs, cluster bootstrap), and what other seeds would have (Student's t over the runs' own differences,
which few runs make wide); those differences stand beside.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import t

from thinktwice.config import Recipe, parse
from thinktwice.run import Run
from thinktwice.scoring.verifier import clustered


@dataclass(frozen=True)
class Answer:
    """What is needed of a trace record; its tokens, most of the work of reading it, are left alone."""

    question: str
    level: int
    value: float


def answers(root: Path, arm: str) -> dict[str, Answer]:
    rows = Run.load(root).traces(arm).done
    return {key: Answer(row["question"], row["level"], float(row["score"]["value"])) for key, row in rows.items()}


def over_seeds(own: Sequence[float]) -> str:
    """Return the mean of the runs' differences with its 95 % t interval."""
    if len(own) < 2:
        return ""
    mean, half = statistics.mean(own), float(t.ppf(0.975, len(own) - 1)) * statistics.stdev(own) / math.sqrt(len(own))
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("runs", nargs="+", type=Path)
    command.add_argument("--arm", help="compared with every other; default: the headline's first")
    options = command.parse_args()
    recipes = [parse(Recipe, Run.load(root).config, str(root)) for root in options.runs]
    recipe = recipes[0]
    assert recipe.headline is not None
    arm = options.arm or recipe.headline.a
    found = {name: [answers(root, name) for root in options.runs] for name in recipe.arms}
    for level in recipe.evaluation.levels:
        print(
            f"\n| arm, level {level} | mean (lowest–highest) | {arm} less it, over questions | over seeds "
            "| run by run |\n|---|---|---|---|---|"
        )
        for name, runs in found.items():
            means = [100 * statistics.mean(r.value for r in rows.values() if r.level == level) for rows in runs]
            shown = f"{statistics.mean(means):.1f} ({min(means):.1f}–{max(means):.1f})"
            if name == arm:
                print(f"| {name} | {shown} | | | |")
                continue
            values, clusters, own = [], [], []
            for mine, others in zip(found[arm], runs, strict=True):
                keys = [key for key, row in mine.items() if row.level == level]
                apart = [mine[key].value - others[key].value for key in keys]
                own.append(100 * statistics.mean(apart))
                values += apart
                clusters += [mine[key].question for key in keys]
            rate = clustered(values, clusters)
            pooled = f"{100 * rate.value:+.1f} [{100 * rate.ci[0]:+.1f}, {100 * rate.ci[1]:+.1f}]"
            print(f"| {name} | {shown} | {pooled} | {over_seeds(own)} | {', '.join(f'{d:+.1f}' for d in own)} |")
        counts = [sum(row.level == level for row in rows.values()) for rows in found[arm]]
        questions = len({row.question for rows in found[arm] for row in rows.values() if row.level == level})
        print(f"\nn = {', '.join(map(str, counts))} of {questions} questions.")


if __name__ == "__main__":
    main()
