"""Several learning rates for one training, the best on dev kept: so that a control gets what the method gets.

Equal settings are not equal training. At a rate that suits one arm another may learn nothing, and a difference between
them then says something about the rate (`docs/results/transplant.md` tells of 26 points that were one).
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from thinktwice.errors import ConfigError, TrainError
from thinktwice.run import files
from thinktwice.train.metrics import StepReport
from thinktwice.train.settings import Training

FILE = "rates.json"
"""Beside the saved model: every rate that was tried, what it reached on dev, and the one that was kept."""
Fit = Callable[..., Path]


def fit_each_rate(fit: Fit, out_dir: Path, settings: Training, has_dev: bool, **options: Any) -> Path:
    """Train at every rate of `settings.lrs`, in out_dir / "rates", and return the best one's model, out_dir / "model".

    Law: as `fit`'s. Killed anywhere and called again, it ends with the same weights: a rate that is done is not trained
    again. The best one has the lowest dev loss, or with `keep: accuracy` the most dev problems right, at the step whose
    weights it kept (ties: the lower loss, then the rate named first).

    Args:
        fit: trains at one rate; takes out_dir, settings and `options`.
        out_dir: where everything goes.
        settings: with two rates or more.
        has_dev: whether there are dev examples to choose on.
        options: the rest of what `fit` takes.

    Raises:
        ConfigError: nothing to choose on.
        TrainError: started by torchrun, where no process could choose for the others.
    """
    if not has_dev:
        raise ConfigError("training.lrs chooses a learning rate on dev examples, and there are none; set training.lr.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainError("training.lrs chooses in one process; set training.lr, or training.processes and no torchrun.")
    progress, on_audit = options.pop("progress", None), options.pop("on_audit", None)
    tried: list[dict[str, Any]] = []
    places: list[Path] = []
    for index, lr in enumerate(settings.lrs):
        place = out_dir / "rates" / str(lr)
        told = None if progress is None else _nth(progress, index, len(settings.lrs))
        audited = {"on_audit": on_audit} if on_audit is not None and index == 0 else {}
        fit(out_dir=place, settings=replace(settings, lr=lr, lrs=()), progress=told, **audited, **options)
        places.append(place)
        tried.append({"lr": lr, **_reached(place)})
    best = min(range(len(tried)), key=lambda index: _worse(tried[index], settings))
    final, record = out_dir / "model", {"kept": tried[best]["lr"], "by": settings.keep, "tried": tried}
    if final.is_dir() and files.read_json(out_dir / FILE) == record:
        return final
    for path in places[best].iterdir():
        if path.is_file():
            shutil.copy2(path, out_dir / path.name)
    files.write_json(out_dir / FILE, record)
    whole = out_dir / "model.tmp"
    for path in (whole, final):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(places[best] / "model", whole)
    whole.rename(final)
    return final


def _nth(progress: Callable[[StepReport], None], index: int, count: int) -> Callable[[StepReport], None]:
    """Tell of the steps of one rate as a part of the steps of all."""

    def tell(report: StepReport) -> None:
        a_step = report.eta_s / max(1, report.steps - report.step)
        eta = report.eta_s + a_step * report.steps * (count - index - 1)
        progress(replace(report, step=report.step + index * report.steps, steps=report.steps * count, eta_s=eta))

    return tell


def _reached(place: Path) -> dict[str, Any]:
    """Return what a training reached on dev with the weights it kept, and on the way there."""
    result = json.loads((place / "model" / "training.json").read_text(encoding="utf-8"))["result"]
    rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    curve = [
        {"step": row["step"], "loss": row["dev_loss"], "accuracy": row.get("eval_acc")}
        for row in rows
        if row.get("dev_loss") is not None
    ]
    at = next((point for point in curve if point["step"] == result["best_step"]), None)
    return {
        "step": result["best_step"],
        "dev_loss": result["dev_loss"],
        "accuracy": None if at is None else at["accuracy"],
        "curve": curve,
    }


def _worse(reached: dict[str, Any], settings: Training) -> tuple[float, float]:
    if settings.keep == "loss":
        return reached["dev_loss"], 0.0
    if reached["accuracy"] is None:
        raise ConfigError("training.lrs with keep=accuracy needs dev problems that are answered in the loop.")
    return -reached["accuracy"], reached["dev_loss"]
