"""Several runs on one self-contained page: what differs, what came out, and whether that may be set side by side.

Law: differences between runs are paired on the same problems, or not given; what is unfinished is called unfinished.
"""

import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from thinktwice.errors import ConfigError, RunError
from thinktwice.report.assets import asset, content_policy
from thinktwice.report.claims import NOISE, interval, percent, points, probability
from thinktwice.report.compare.sides import home, read_sides
from thinktwice.run import Run, write_text

__all__ = ["compare", "compare_page", "default_path"]

Link = Callable[[Run], str | None]
"""The address of a run's page as seen from the comparison, or None where it has none."""

MARK = "<title>Comparison of "
"""What every page of ours begins with, as far as overwriting is concerned."""


def compare(run_dirs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page that compares these runs, and return its path. Law: only a page of ours is ever overwritten.

    Args:
        run_dirs: two run directories or more, in the order they are shown; differences are taken from the first.
        out: the file; None is `default_path`.

    Raises:
        ConfigError: fewer than two runs, or one of them twice.
        RunError: there is no run there, one of its files is damaged, or `out` holds something else.

    Example: `compare([Path("runs/backtrack"), Path("runs/slower")])`.
    """
    runs = [Run.load(place) for place in run_dirs]
    path = out or default_path(run_dirs)
    if path.is_dir():
        path = path / "compare.html"
    _check_free(path)
    page = compare_page(runs, link=lambda run: _beside(run, path.parent))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent} cannot be made ({error.strerror}); choose another file with --out") from None
    write_text(path, page)
    return path


def default_path(run_dirs: Sequence[Path]) -> Path:
    """Return compare.html in the directory that the runs have in common."""
    shared = Path(os.path.commonpath([place.resolve().parent for place in run_dirs]))
    if shared == Path(shared.anchor):
        raise ConfigError("these runs have no directory in common; name the page with --out FILE")
    near = {place.parent for place in run_dirs}
    return (near.pop() if len(near) == 1 else shared) / "compare.html"


def compare_page(runs: Sequence[Run], link: Link | None = None) -> str:
    """Return the page that compares these runs, as HTML.

    Args:
        runs: two or more, in the order they are shown.
        link: the address of a run's page; by default relative to the directory the runs have in common.

    Raises:
        ConfigError: fewer than two runs, or one of them twice.
        RunError: one of their files is damaged.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from thinktwice.report.compare.view import view

    shared = home(runs) if runs else Path()
    scripts = asset("theme.js"), asset("page.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "points": points, "interval": interval, "p": probability, "part": _part}
    here = files(__package__)
    template = environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        view=view(read_sides(runs), link or (lambda run: _beside(run, shared))),
        noise=NOISE,
        style=Markup(asset("style.css") + asset("page.css") + (here / "compare.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        policy=content_policy(*scripts),
    )


def _part(key: str) -> str:
    """Return a trace's place inside a run's page."""
    return f"#trace={quote(key, safe='')}"


def _beside(run: Run, folder: Path) -> str | None:
    if not run.report_path.exists():
        return None
    return quote(Path(os.path.relpath(run.report_path.resolve(), folder.resolve())).as_posix())


def _check_free(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb") as stream:
        begin = stream.read(2000).decode("utf-8", errors="replace")
    if MARK not in begin:
        raise RunError(f"{path} is there already and is no comparison of ours; choose another file with --out")
