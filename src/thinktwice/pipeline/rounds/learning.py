"""What a round teaches, and its training, which is a stage."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thinktwice.answer import plain_base
from thinktwice.errors import DataError
from thinktwice.methods.evolve import mending
from thinktwice.methods.evolve.lesson import lesson
from thinktwice.methods.evolve.rows import Voted
from thinktwice.pipeline.lines import read_rows, write_rows
from thinktwice.pipeline.rounds.turn import Turn
from thinktwice.run import Progress, Stage, read_json, write_json
from thinktwice.types import Trace


def learn(turn: Turn, after: Sequence[str]) -> Path:
    """Train on what a round teaches, after the stages that are named, and return its weights.

    Raises:
        DataError: it teaches nothing.
    """

    def work(stage: Stage) -> None:
        rows, counts = _rows(turn)
        earlier = [] if turn.method.weights == "continue" else [
            trace for n in turn.standing for trace in read_rows(turn.arm.path("train", n) / "learned.jsonl", Trace)
        ]  # fmt: skip
        write_rows(stage.path / "learned.jsonl", rows)
        warm, replayed = _replay(turn, len(rows) + len(earlier))
        counts["replayed"] = len(warm)
        counts["accumulated"] = len(earlier)
        counts["replay"] = replayed
        write_json(stage.path / "counts.json", counts)
        if not rows:
            raise DataError(
                f"round {turn.number} of arm {turn.arm.name!r} has nothing to learn: {counts}. Its critic accepts "
                "nothing; see vote and counts.json of its stages."
            )
        _fit(turn, stage, [*rows, *earlier], warm)

    return turn.arm.stage("train", turn.number, work, after) / "model"


def _rows(turn: Turn) -> tuple[list[Trace], dict[str, Any]]:
    """Return what a round teaches, and what became of everything that came in."""
    voted = {v.key: v for v in turn.voted()}
    truth: dict[str, bool] = read_json(turn.path("answer") / "truth.json")
    mended: list[mending.Mended] = []
    if turn.method.mend != "none":
        place = turn.path("mend")
        mended = read_rows(place / "mended.jsonl", mending.Mended)
        voted |= {v.key: v for v in read_rows(place / "voted.jsonl", Voted)}
        truth |= read_json(place / "truth.json")
    bench = turn.arm.bench
    render, seed = bench.render(turn.arm.root), bench.recipe.seed + turn.number
    return lesson(turn.method, turn.problems, turn.attempts(), mended, voted, truth, render, seed)


def _replay(turn: Turn, new: int) -> tuple[list[Trace], dict[str, int]]:
    """Return rows of the warm start, so many that they are the method's share of all."""
    arm, share = turn.arm, turn.method.replay
    if arm.start is None or not share:
        return [], {"asked": 0, "pool": 0}
    pool = read_rows(arm.run.root / "stages" / f"collect-{arm.start}" / "traces.jsonl", Trace)
    wanted = round(new * share / (1 - share))
    draw = random.Random(f"replay/{arm.bench.recipe.seed}/{turn.number}")
    return draw.sample(pool, min(wanted, len(pool))), {"asked": wanted, "pool": len(pool)}


def _fit(turn: Turn, stage: Stage, rows: Sequence[Trace], warm: Sequence[Trace]) -> None:
    from thinktwice.train import StepReport, fit
    from thinktwice.train.merging import merge

    arm, bench, method = turn.arm, turn.arm.bench, turn.method
    name = arm.named("train", turn.number)
    base = plain_base(arm.run.root, bench.recipe, arm.name)
    previous = turn.models[turn.standing[-1] if turn.standing else 0]
    bench.release()
    render = bench.render(arm.root)
    every = [*{p.id: p for p in bench.task.splits["train"]}.values()]
    examples = [*method.learned(every, rows, render), *method.examples(every, warm, render)]

    def report(step: StepReport) -> None:
        note = f"step {step.step} of {step.steps} · loss {step.loss:.3f}"
        bench.tell(arm.run, Progress(name, step.step / step.steps, note, step.tokens_per_second, step.eta_s))

    over: Path | None = None
    place = arm.root.resolve()
    if method.weights == "continue" and previous.resolve() != place:
        adapter = (previous / "adapter_config.json").is_file()
        place, over = (base.resolve(), previous.resolve()) if adapter else (previous.resolve(), None)
    work = stage.scratch / "fit"
    model = fit(examples, place, work, bench.settings[arm.name], progress=report, start=over)
    if method.weights in ("average", "ties"):
        tuned = [*(arm.path("train", n) / "tuned" for n in turn.standing), model]  # what was trained, not the merges
        merge(arm.root, tuned, stage.path / "model", policy=method.weights)
        model.rename(stage.path / "tuned")
    else:
        model.rename(stage.path / "model")
    for path in work.iterdir():
        if path.is_file():
            path.rename(stage.path / path.name)
