"""How every arm of `recipes/evolve_arms.yaml` went, round by round, over several runs: a table, and a page of curves.

    python benchmarks/evolve_curves.py runs/evolve-matrix/nano-critic-seed-* --page curves.html

A curve is the mean over runs of greedy accuracy on the watched dev problems, its band the lowest and highest run. A
round that was rolled back is measured like any other: it shows what the guards refused. Runs need not be finished.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path

from thinktwice.records import Figure, Line
from thinktwice.report.assets import asset
from thinktwice.report.drawing import lines

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


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("runs", nargs="+", type=Path)
    command.add_argument("--page", type=Path, help="where the curves go, as HTML")
    options = command.parse_args()
    by_arm: dict[str, list[list[dict[str, float]]]] = defaultdict(list)
    for root in options.runs:
        for arm, points in rounds(root).items():
            by_arm[arm].append(points)
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
        page = f"<!doctype html><meta charset=utf-8><style>{style}</style><body>{picture}</body>"
        options.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
