"""A run -> one self-contained page. Law: it reads only the run directory, and escapes everything a model wrote."""

import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from thinktwice.report.claims import (
    NOISE,
    cell_text,
    headline,
    interval,
    measured,
    percent,
    points,
    probability,
    split,
    verdict,
)
from thinktwice.report.gather import Page, gather
from thinktwice.run import Run, write_text
from thinktwice.show import printable

__all__ = ["gather", "render_page", "report"]


def report(run_dir: Path) -> Path:
    """Write `report.html` into a run directory and return its path. Law 9: nothing in it is loaded, no text in it runs.

    Example: `report(Path("runs/backtrack"))`.

    Raises:
        RunError: there is no run there, or one of its files is damaged.
    """
    run = Run.load(run_dir)
    write_text(run.report_path, render_page(gather(run)))
    return run.report_path


def render_page(page: Page) -> str:
    """Lay a gathered run out as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from thinktwice.report import viewer
    from thinktwice.report.assets import asset, content_policy

    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # Markup is ours, and done already
    )
    environment.filters |= {
        "percent": percent, "points": points, "interval": interval, "cell": cell_text, "p": probability,
        "count": "{:,}".format, "seconds": _seconds, "bytes": _bytes,
    }  # fmt: skip
    scripts = asset("theme.js"), asset("page.js") + asset("flips.js"), viewer.SCRIPT
    return environment.get_template("page.html.jinja").render(
        _variables(page),
        style=Markup(asset("style.css") + asset("page.css") + viewer.STYLE),
        scripts=[Markup(text) for text in scripts],
        policy=content_policy(*scripts),
    )


def _variables(page: Page) -> dict[str, Any]:
    from markupsafe import Markup

    from thinktwice.report import chart, figures, viewer
    from thinktwice.report.assets import asset, packed
    from thinktwice.report.findings import gather_findings, gather_measures
    from thinktwice.report.outcomes import table
    from thinktwice.report.preference import answer

    summary, recipe, run, plan = page.summary, page.recipe, page.run, page.recipe.headline
    first = [name for name in (plan.a, plan.b, plan.through) if name] if plan else []
    colours = {name: number % 8 for number, name in enumerate([*first, *(n for n in recipe.arms if n not in first)])}
    by_level = {level: page.outcomes.failures(level) for level in _ordered(page, page.outcomes.levels)}
    kinds = figures.kinds_of({str(level): sum(c.values(), Counter()) for level, c in by_level.items()})
    shown: dict[str, Any] = {
        "page": page, "run": run, "recipe": recipe, "summary": summary, "names": list(recipe.arms), "colours": colours,
        "plan": plan, "noise": NOISE, "verdict": verdict, "claim": None, "parts": None, "steps": None, "levels": [],
        "versus": None, "accuracy": None, "forest": [], "threshold": None, "command": _command(run),
        "home": run.root.resolve().parent.name,
        "waffle": figures.waffle(page.flips) if page.flips else None,
        "packed": packed(table(page.outcomes, list(recipe.arms), summary)) if summary else None,
        "failures": {level: counted for level, counted in by_level.items() if any(counted.values())},
        "findings": gather_findings(summary, run.notes(), first, page.outcomes.keys),
        "procedure": Markup(asset("procedure.html")) if recipe.method.name == "transplant" else None,
        "measures": gather_measures(summary, [*first, *(n for n in recipe.arms if n not in first)]),
        "beside": lambda name, by_arm: figures.beside(name, by_arm, colours),
        "found_kinds": figures.kinds_of,
        "stacked": lambda counted, level: figures.stacked(
            counted, {name: page.outcomes.spent[name][level].problems for name in counted}, kinds, colours
        ),
        "explained": any(page.explained),
        "graded": (measured(summary) if summary else "") or ("score" if page.outcomes.graded else ""),
        "question": answer(summary, plan) if summary else None,
        "viewer": viewer.embed(run, recipe, page.decode, colours),
        "loss": _curves(page, colours, "loss", "loss (nats a token)"),
        "small": [c for key, label in (("lr", "learning rate"), ("grad_norm", "gradient norm"))
                  if (c := _curves(page, colours, key, label)) is not None],
    }  # fmt: skip
    if summary is None:
        return shown
    levels = _ordered(page, {level for cells in summary.arms.values() for level in cells})
    marked = {plan.level: "headline"} if plan else {}
    inside = recipe.evaluation.in_distribution
    if inside is not None:
        marked = {**marked, inside: "as in training" if inside not in marked else "headline, as in training"}
    head = summary.headline
    shown |= {
        "claim": headline(summary),
        "parts": (parts := split(summary, plan)),
        "levels": levels,
        "accuracy": chart.accuracy(summary.arms, colours, marked) if len(levels) > 1 else None,
        "forest": list(zip(summary.comparisons, chart.forest(summary.comparisons), strict=True)),
        "threshold": chart.threshold(summary.threshold) if summary.threshold else None,
    }
    if head:
        a, b = ((name, summary.arms[name][head.level]) for name in (head.a, head.b))
        shown["versus"] = figures.versus(a, b, colours)
    if parts and plan:
        base = summary.arms[plan.b][plan.level].accuracy
        middle = base + parts[0].comparison.difference
        end = summary.arms[plan.a][plan.level].accuracy
        shown["steps"] = [
            (plan.b, None, base, colours[plan.b]),
            (parts[0].name, base, middle, colours[plan.through or plan.b]),
            (parts[1].name, middle, end, colours[plan.a]),
            (plan.a, None, end, colours[plan.a]),
        ]
    return shown


def _ordered(page: Page, levels: Iterable[int]) -> list[int]:
    """Return levels with the one that the claim is about first, then the hardest."""
    return sorted(levels, key=lambda level: (level != page.level, -level))


def _curves(page: Page, colours: dict[str, int], key: str, label: str) -> Any:
    """Draw one measurement of every training; None when none wrote it down twice."""
    from thinktwice.report import chart

    lines = {t.arm: getattr(t, key) for t in page.trainings}
    if key == "loss":
        lines |= {f"{t.arm} (dev)": t.dev_loss for t in page.trainings}
    lines = {name: line for name, line in lines.items() if len(line) > 1}
    tones = {name: colours.get(name.removesuffix(" (dev)"), 0) for name in lines}
    small = key != "loss"
    return chart.curves(lines, tones, "step", label, smooth=not small, height=200 if small else 290) if lines else None


def _command(run: Run) -> str | None:
    """Return the command the run was made with, as it would be typed; None when it was not recorded."""
    words = [str(word) for word in run.environment.get("command") or ()]
    if not words:
        return None
    program = words[0] if words[0] not in ("-c", "-m", "__main__.py") else "thinktwice"  # python -c, python -m
    return shlex.join([program, *words[1:]])


def _seconds(value: float) -> str:
    """Return a duration in the unit a person would use: "0.3 s", "52 s", "4 min 10 s", "2 h 5 min"."""
    if value < 10:
        return f"{value:.1f}\u00a0s"
    whole = round(value)
    if whole < 120:
        return f"{whole}\u00a0s"
    if whole < 7200:
        return f"{whole // 60}\u00a0min {whole % 60}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60}\u00a0min"


def _bytes(value: int) -> str:
    """Return a size in MiB or GiB."""
    return f"{value / 2**20:,.0f}\u00a0MiB" if value < 2**31 else f"{value / 2**30:.1f}\u00a0GiB"
