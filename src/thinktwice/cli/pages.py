"""`thinktwice report`: which runs are meant, and which page that makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thinktwice.errors import ConfigError, RunError


@dataclass(frozen=True)
class Written:
    """A page, and how many runs it shows."""

    path: Path
    runs: int


def write_page(places: Sequence[Path], out: Path | None) -> Written:
    """Write the page of one run, or the comparison of several.

    Raises:
        ConfigError: a run is named twice.
        RunError: there is no run at one of the places, or `out` holds something that is not ours.
    """
    runs = find_runs(places)
    if len(runs) == 1:
        from thinktwice.report import report

        if out is not None and out.resolve() != (runs[0] / "report.html").resolve():
            raise ConfigError(f"one run's page is {runs[0]}/report.html; --out is for the page of several runs")
        return Written(report(runs[0]), 1)
    from thinktwice.report.compare import compare

    return Written(compare(runs, out), len(runs))


def find_runs(places: Sequence[Path]) -> list[Path]:
    """Return the run directories meant: a directory that is no run but holds some stands for those, by name.

    Raises:
        RunError: there is no run at a place, nor in it.
    """
    found: list[Path] = []
    for place in places:
        if (place / "config.json").is_file() or not place.is_dir():
            found.append(place)  # what is no run is refused, with the nearest name, where it is opened
            continue
        inside = [path.parent for path in sorted(place.glob("*/config.json")) if (path.parent / "stages").is_dir()]
        if not inside:
            raise RunError(f"{place} is no run and holds none; `thinktwice run RECIPE` makes one")
        found += inside
    return found
