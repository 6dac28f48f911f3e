"""How every arm of `recipes/evolve_arms.yaml` did, over several runs: test, round by round on dev, a page of curves.

    thinktwice run recipes/evolve_arms.yaml --runs runs/evolve-matrix name=nano-critic-seed-0 seed=0    # and 1, and 2
    python benchmarks/evolve_curves.py runs/evolve-matrix/nano-critic-seed-* --page curves.html

Differences are paired on the same test problems, with intervals over seeds and problems (`replicated_difference`). A
curve is the mean over runs of greedy accuracy on the watched dev problems, its band the lowest and highest run. A
round that was rolled back is measured like any other: it shows what the guards refused. Runs need not be finished.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path

from thinktwice.config import Recipe, parse
from thinktwice.records import Figure, Line
from thinktwice.report.assets import asset
from thinktwice.report.drawing import lines
from thinktwice.run import Run
from thinktwice.scoring.stats import replicated_difference

FIELDS = ("watched", "passed", "balanced", "distinct")


def rounds(root: Path) -> dict[str, list[dict[str, float]]]:
    """Return what was measured, by arm: only arms whose rounds are finished."""
    found = {}
    for path in sorted((root / "stages").glob("train-*/rounds.json"), key=lambda path: path.stat().st_mtime_ns):
        record = json.loads(path.read_text(encoding="utf-8"))
        choices = {d["round"]: d["choice"] for d in record["decisions"]}
        points = [{**point, "choice": choices.get(n, "")} for n, point in enumerate(record["measured"])]
        found[path.parent.name.removeprefix("train-")] = points
    return found


def answers(root: Path, arm: str) -> dict[tuple[int, str], float]:
    """Return the score of each test problem; the rest of a record, most of the work of reading it, is left alone."""
    rows = Run.load(root).traces(arm).done
    return {(row["level"], key): float(row["score"]["value"]) for key, row in rows.items()}


def print_test(runs: list[Path], more: list[tuple[str, ...]]) -> None:
    """Print test accuracy by arm and level, and what the headline's arm is ahead of each; arms that every run has."""
    recipe = parse(Recipe, Run.load(runs[0]).config, str(runs[0]))
    assert recipe.headline is not None
    names = [arm for arm in recipe.arms if all((root / "stages" / f"solve-{arm}").is_dir() for root in runs)]
    scores = {arm: [answers(root, arm) for root in runs] for arm in names}
    levels = recipe.evaluation.levels
    print("| arm | " + " | ".join(f"level {level}" for level in levels) + " |\n|---|" + "---|" * len(levels))
    for arm in names:
        cells = []
        for level in levels:
            means = [100 * statistics.mean(v for (at, _), v in run.items() if at == level) for run in scores[arm]]
            cells.append(f"{statistics.mean(means):.1f} ({min(means):.1f}–{max(means):.1f})")
        print(f"| {arm} | " + " | ".join(cells) + " |")
    head, seeds = recipe.headline.a, [str(root) for root in runs]
    pairs = [(head, name) for name in names if name != head] if head in names else []
    print("\n| difference, points | " + " | ".join(f"level {level}" for level in levels) + " |")
    print("|---|" + "---|" * len(levels))
    for a, b in (*pairs, *more):
        cells = []
        for level in levels:
            keys = [key for key in scores[a][0] if key[0] == level]
            sides = [[[run[key] for key in keys] for run in scores[name]] for name in (a, b)]
            found = replicated_difference(*sides, clusters=seeds)
            cells.append(f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]")
        print(f"| {a} − {b} | " + " | ".join(cells) + " |")


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("runs", nargs="+", type=Path)
    command.add_argument("--page", type=Path, help="where the curves go, as HTML")
    command.add_argument("--pairs", nargs="*", default=[], metavar="A:B", help="more differences on test")
    options = command.parse_args()
    by_arm: dict[str, list[list[dict[str, float]]]] = defaultdict(list)
    for root in options.runs:
        for arm, points in rounds(root).items():
            by_arm[arm].append(points)
    print_test(options.runs, [tuple(pair.split(":")) for pair in options.pairs])
    drawn = []
    for field in FIELDS:
        last = max(len(points) for runs in by_arm.values() for points in runs)
        print(f"\n| {field} | " + " | ".join(f"round {n}" for n in range(last)) + " |\n|---|" + "---|" * last)
        for arm, runs in by_arm.items():
            cells, line, band = [], [], []
            for n in range(last):
                values = [points[n][field] for points in runs if n < len(points) and points[n][field] is not None]
                if not values:
                    cells.append("–")
                    continue
                scale = 1 if field == "distinct" else 100
                low, high = min(values), max(values)
                cells.append(f"{scale * statistics.mean(values):.1f} ({scale * low:.1f}–{scale * high:.1f})")
                line.append((float(n), statistics.mean(values)))
                band.append((low, high))
            print(f"| {arm} | " + " | ".join(cells) + " |")
            if field == "watched":
                drawn.append(Line(arm, tuple(line), band=tuple(band)))
    print("\n| decisions | " + " | ".join(f"run {root.name}" for root in options.runs) + " |")
    print("|---|" + "---|" * len(options.runs))
    for arm, runs in by_arm.items():
        print(f"| {arm} | " + " | ".join(" ".join(p["choice"] or "start" for p in points) for points in runs) + " |")
    if options.page:
        picture = lines(Figure("round", "right", tuple(drawn)), "All arms, round by round")
        style = asset("style.css")
        page = f"<!doctype html><meta charset=utf-8><style>{style}</style><body style=padding:1rem>{picture}</body>"
        options.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
