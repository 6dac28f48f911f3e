"""One recipe over several bases and tuning seeds: what `docs/results/nano.md` reports.

    python benchmarks/nano_matrix.py runs/nano-0 runs/nano-1 runs/nano-2    # run what is missing, then print the tables
    python benchmarks/nano_matrix.py ... --only runs/nano-1                 # one base alone, for a second process
    python benchmarks/nano_matrix.py nano-wiki --recipe recipes/planning.yaml --runs runs/planning-matrix

A base is a directory written by `thinktwice pretrain seed=N --out DIR`, or a bundled model. Every cell is a run of the
recipe with another `model.path` and `seed`; killed and called again, it goes on. Intervals are over bases, seeds and
problems (`stats.replicated_difference`).
"""

import argparse
import statistics
from pathlib import Path

from thinktwice.config import Recipe, load, parse
from thinktwice.nano import BUNDLED
from thinktwice.pipeline import run_recipe
from thinktwice.records import Summary, TraceRecord
from thinktwice.run import Run
from thinktwice.scoring.stats import replicated_difference

RECIPE = Path("recipes/backtrack.yaml")


def stable(base: Path) -> Path:
    """The last constant phase of a pretraining, or the directory itself when it is a model."""
    phases = sorted(base.glob("phase-*/model"))
    return phases[-1] if phases else base


def place(runs: Path, base: Path, seed: int) -> Path:
    return runs / f"{base.name}-seed-{seed}"


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("bases", nargs="+", type=Path)
    command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    command.add_argument("--runs", type=Path, default=Path("runs/matrix"))
    command.add_argument("--only", type=Path, help="run this base alone and print nothing")
    command.add_argument("--recipe", type=Path, default=RECIPE)
    command.add_argument("--set", nargs="*", default=[], help="key=value over the recipe")
    options = command.parse_args()
    cells = [(base, seed) for base in options.bases for seed in options.seeds]
    for base, seed in cells:
        if options.only and base != options.only:
            continue
        model = base if str(base) in BUNDLED else stable(base).resolve()
        words = [f"model.path={model}", f"seed={seed}", *options.set]
        target = place(options.runs, base, seed)
        run_recipe(load(Recipe, options.recipe, words), target)
        print(target, flush=True)
    if not options.only:
        print(table(options.runs, cells, load(Recipe, options.recipe, options.set)))


def table(runs: Path, cells: list[tuple[Path, int]], recipe: Recipe) -> str:
    """Markdown: accuracy by arm and level over all cells, then every comparison with the headline's arm."""
    summaries = {cell: parse(Summary, Run.load(place(runs, *cell)).summary() or {}) for cell in cells}
    levels = recipe.evaluation.levels
    lines = ["| arm | " + " | ".join(f"level {level}" for level in levels) + " |", "|---|" + "---|" * len(levels)]
    for arm in recipe.arms:
        shown = []
        for level in levels:
            values = [100 * s.arms[arm][level].accuracy for s in summaries.values()]
            shown.append(f"{statistics.mean(values):.1f} ({min(values):.0f}–{max(values):.0f})")
        lines.append(f"| {arm} | " + " | ".join(shown) + " |")
    lines += ["", "| difference, points | " + " | ".join(f"level {level}" for level in levels) + " |"]
    lines.append("|---|" + "---|" * len(levels))
    head = recipe.headline
    assert head is not None
    # Seeds of one base are alike; where there is one base only, they are all the variety there is.
    several = len({base for base, _ in cells}) > 1
    clusters = [str(base if several else seed) for base, seed in cells]
    pairs = [(head.a, arm) for arm in recipe.arms if arm != head.a]
    pairs += [(head.through, head.b)] if head.through else []
    scores = {
        arm: [{(r.level, r.key): r.score.value for r in records(place(runs, *cell), arm)} for cell in cells]
        for arm in recipe.arms
    }
    for a, b in pairs:
        shown = []
        for level in levels:
            keys = [key for key in scores[a][0] if key[0] == level]
            sides = [[[run[key] for key in keys] for run in scores[arm]] for arm in (a, b)]
            found = replicated_difference(*sides, clusters=clusters)
            shown.append(f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]")
        lines.append(f"| {a} − {b} | " + " | ".join(shown) + " |")
    lines += [
        "",
        f"At level {head.level}:",
        "",
        "| base, seed | " + " | ".join(recipe.arms) + " |",
        "|---|" + "---|" * len(recipe.arms),
    ]
    for (base, seed), summary in summaries.items():
        shown = [f"{100 * summary.arms[arm][head.level].accuracy:.1f}" for arm in recipe.arms]
        lines.append(f"| {base.name}, {seed} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def records(root: Path, arm: str) -> list[TraceRecord]:
    return [parse(TraceRecord, row) for row in Run.load(root).traces(arm).done.values()]


if __name__ == "__main__":
    main()
