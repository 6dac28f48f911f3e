import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thinktwice.config import Arm, Evaluation, Headline, Recipe, Spec, to_dict
from thinktwice.records import Cell, Comparison, Retraction, Summary, Threshold, ThresholdPoint, TraceRecord
from thinktwice.run import Run, Stage, write_json
from thinktwice.types import Score, Step, Trace

LEVELS = (4, 6, 8, 10)
RIGHT = {
    "base": (0.94, 0.88, 0.47, 0.21), "control": (0.95, 0.9, 0.554, 0.27), "backtrack": (0.96, 0.93, 0.776, 0.51),
    "backtrack_off": (0.955, 0.92, 0.702, 0.42), "backtrack_keep": (0.95, 0.91, 0.65, 0.35),
}  # fmt: skip
RECIPE = Recipe(
    name="sample",
    task=Spec("arith", {"operations": [1, 6]}),
    method=Spec("backtrack", {"context": "rewind"}),
    arms={
        "base": Arm(trained=False),
        "control": Arm(method={"name": "baseline"}),
        "backtrack": Arm(),
        "backtrack_off": Arm(weights="backtrack", method={"context": "off"}),
        "backtrack_keep": Arm(weights="backtrack", method={"context": "keep"}),
    },
    evaluation=Evaluation(levels=LEVELS, in_distribution=6),
    headline=Headline("backtrack", "control", 8, through="backtrack_off"),
)
SAID = ("Ann has 3.\nBen has 3 + 4 = 7.\n", "Cat has 7 + 9 = 17.\n", "Cat has 7 + 9 = 16.\n#### 16")


def summary(n: int = 500) -> Summary:
    arms = {
        name: {
            level: Cell(n, p, (max(0.0, p - 0.04), min(1.0, p + 0.038)), 0, 60.0 + 9 * level)
            for level, p in zip(LEVELS, shares, strict=True)
        }
        for name, shares in RIGHT.items()
    }

    def compare(a: str, b: str, level: int) -> Comparison:
        difference = arms[a][level].accuracy - arms[b][level].accuracy
        return Comparison(a, b, level, difference, (difference - 0.043, difference + 0.043), 0.00001)

    pairs = [
        ("backtrack", "control"),
        ("backtrack", "backtrack_off"),
        ("backtrack_off", "control"),
        ("backtrack", "base"),
    ]
    return Summary(
        arms,
        tuple(compare(a, b, level) for level in LEVELS for a, b in pairs),
        compare("backtrack", "control", 8),
        {"backtrack": {level: Retraction(412, 0.81, 0.64, 0.58, 0.06, 0.11, 0.083, 3) for level in LEVELS}},
        Threshold(0.5, tuple(ThresholdPoint(b / 2, 0.95 - 0.05 * b, 0.3 + 0.09 * b) for b in range(7))),
        {"quarantined lines": 0, "stopped: budget": 3, "unscored": 0},
        {"train-control": 71.2, "train-backtrack": 74.9, "solve-backtrack": 21.4},
    )


def record(arm: str, i: int, level: int, share: float, said: tuple[str, str, str]) -> TraceRecord:
    right = random.Random(f"{arm}{i}").random() < share
    steps = [Step("text", said[0], (1, 2))]
    if arm == "backtrack":
        steps += [Step("error", said[1], (3, 4), kept=False), Step("undo", "<undo>", (5,), kept=False)]
    steps += [Step("text", said[2] if right else said[1] + "#### 17", (6, 7))]
    trace = Trace(f"p{i}", tuple(steps))
    score = Score(float(right), "16" if right else "17", "last stated answer")
    return TraceRecord(
        f"{level}/p{i}", arm, level, f"Ann has 3 pens. How many does Cat have? ({i})", "16", trace, score
    )


def audit() -> dict[str, Any]:
    return {
        "n": 4000, "length_p5": 61, "length_p50": 118, "length_p95": 190, "length_max": 255, "max_length": 512,
        "tokens": 500_000, "supervised": 310_000, "supervised_share": 0.62, "end_learned_share": 1.0,
        "layout_share": 0.7, "dropped": [{"problem_id": "x", "reason": "longer than 512 tokens", "length": 513}],
        "sample_problem_id": "p1",
        "sample": [
            {"colour": "seen", "token_ids": [0, 1], "learned": False},
            {"colour": "learned", "token_ids": [2], "learned": True},
            {"colour": "retracted", "token_ids": [3], "learned": True},
        ],
    }  # fmt: skip


def tokenizer() -> dict[str, Any]:
    words = {"Ann": 0, " has": 1, " 3.\n": 2, " 9.": 3, "?": 4}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "?"},
    }  # fmt: skip


def build(root: Path, said: tuple[str, str, str] = SAID, problems: int = 40) -> Path:
    """Write a finished run without training anything."""

    def base(stage: Stage) -> None:
        write_json(stage.path / "tokenizer.json", tokenizer())

    def train(stage: Stage) -> None:
        noise = random.Random(stage.name)
        rows = [
            {"step": s, "steps": 300, "loss": 0.25 + 0.9 * 0.985**s + 0.02 * noise.random(),
             "dev_loss": 0.27 + 0.85 * 0.985**s if s % 50 == 0 else None}
            for s in range(10, 310, 10)
        ]  # fmt: skip
        (stage.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_json(stage.path / "audit.json", audit())

    with Run.open(root, to_dict(RECIPE)) as run:
        run.stage("base", base)
        run.stage("train-control", train)
        run.stage("train-backtrack", train)
        for arm, shares in RIGHT.items():
            rows = [record(arm, i, lv, p, said) for lv, p in zip(LEVELS, shares, strict=True) for i in range(problems)]
            run.traces(arm).append([to_dict(row) for row in rows])
        run.write_summary(to_dict(summary()))
    return root


@pytest.fixture
def make_run() -> Callable[..., Path]:
    return build
