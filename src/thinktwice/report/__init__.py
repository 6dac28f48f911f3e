"""A run -> one self-contained page. Law: it reads only the run directory, and escapes everything a model wrote."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from thinktwice.report.claims import NOISE, cell_text, headline, interval, percent, points, split, verdict
from thinktwice.report.gather import Page, Training, gather
from thinktwice.run import Run, write_text

__all__ = ["render_page", "report"]


def report(run_dir: Path) -> Path:
    """Write `report.html` into a run directory and return its path. Law 9: nothing in it is loaded, nothing can run.

    Example: `report(Path("runs/backtrack"))`.

    Raises:
        RunError: there is no run there, or one of its files is damaged.
    """
    run = Run.load(run_dir)
    write_text(run.report_path, render_page(gather(run)))
    return run.report_path


def render_page(page: Page) -> str:
    """Lay a gathered run out as HTML."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "points": points, "interval": interval, "cell": cell_text}
    folder = files(__package__)
    template = environment.from_string((folder / "page.html.jinja").read_text(encoding="utf-8"))
    style = Markup((folder / "style.css").read_text(encoding="utf-8"))
    return template.render(_variables(page), style=style)


def _variables(page: Page) -> dict[str, Any]:
    from thinktwice.report import chart

    summary, recipe, run = page.summary, page.recipe, page.run
    plan = recipe.headline
    first = [name for name in (plan.a, plan.b, plan.through) if name] if plan else []
    colours = {name: number % 8 for number, name in enumerate([*first, *(n for n in recipe.arms if n not in first)])}
    shown: dict[str, Any] = {
        "page": page, "run": run, "recipe": recipe, "summary": summary, "names": list(recipe.arms), "colours": colours,
        "plan": plan, "noise": NOISE, "verdict": verdict, "claim": None, "parts": None, "stairs": None, "levels": [],
        "accuracy": None, "forest": [], "threshold": None, "loss": _losses(page.trainings, colours),
    }  # fmt: skip
    if summary is None:
        return shown
    levels = sorted({level for cells in summary.arms.values() for level in cells})
    marked = {plan.level: "headline"} if plan else {}
    inside = recipe.evaluation.in_distribution
    if inside is not None:
        marked = {**marked, inside: "as in training" if inside not in marked else "headline, as in training"}
    parts = split(summary, plan)
    shown |= {
        "claim": headline(summary),
        "parts": parts,
        "levels": levels,
        "accuracy": chart.accuracy(summary.arms, colours, marked) if len(levels) > 1 else None,
        "forest": list(zip(summary.comparisons, chart.forest(summary.comparisons), strict=True)),
    }
    if parts and plan:
        base = summary.arms[plan.b][plan.level].accuracy
        middle = base + parts[0].comparison.difference
        end = summary.arms[plan.a][plan.level].accuracy
        steps = [(plan.b, None, base), (parts[0].name, base, middle), (parts[1].name, middle, end), (plan.a, None, end)]
        tones = [colours[plan.b], colours[plan.through or plan.b], colours[plan.a], colours[plan.a]]
        shown["stairs"] = chart.staircase(steps, tones)
    if summary.threshold:
        known = [p for p in summary.threshold.points if p.precision is not None and p.recall is not None]
        if len(known) > 1:
            line = sorted((p.recall or 0.0, p.precision or 0.0) for p in known)
            shown["threshold"] = chart.curves({"dev": line}, {"dev": 0}, "recall", "precision", shares=True)
    return shown


def _losses(trainings: tuple[Training, ...], colours: dict[str, int]) -> Any:
    from thinktwice.report import chart

    lines = {t.arm: t.loss for t in trainings if len(t.loss) > 1}
    lines |= {f"{t.arm} (dev)": t.dev_loss for t in trainings if len(t.dev_loss) > 1}
    tones = {name: colours.get(name.removesuffix(" (dev)"), 0) for name in lines}
    return chart.curves(lines, tones, "step", "loss (nats a token)") if lines else None
