"""What one verifier's verdicts say beyond right and wrong: whether it looked, whether its numbers can be believed."""

import json
from collections.abc import Sequence
from pathlib import Path

from thinktwice.errors import DataError
from thinktwice.methods.transplant import posed
from thinktwice.records import Figure, Finding, Line, Measure, TraceRecord
from thinktwice.scoring.verifier import COLLAPSED, Rate, Verification, auroc, verification
from thinktwice.types import Problem

BINS = 10


def findings(problems: Sequence[Problem], records: Sequence[TraceRecord], weights: Path) -> tuple[Finding, ...]:
    """Return the numbers of one arm: over its pairs, and of the training that made its weights."""
    pairs = [(p, posed.read(p, r.trace)) for p, r in pairs_of(problems, records)]
    found: list[Finding] = []
    verdicts = [verdict for problem, answered in pairs for verdict in posed.as_verdicts(problem, answered)]
    if verdicts:
        judged = verification(verdicts, bins=BINS)
        alone = not any(answered.verdicts for _, answered in pairs)
        scores = [score for _, answered in pairs for score in answered.scores]
        right = [index in posed.rights(problem) for problem, _ in pairs for index in range(len(problem.choices))]
        found += [_judging(judged, _area(scores, right), alone), _reliability(judged)]
    return (*found, *training(weights))


def pairs_of(problems: Sequence[Problem], records: Sequence[TraceRecord]) -> list[tuple[Problem, TraceRecord]]:
    """Return the pairs with what was said of them; an answer that failed is none."""
    both = zip(problems, records, strict=True)
    return [(p, r) for p, r in both if len(p.choices) == posed.PAIR and r.trace.stop != "error"]


def percent(value: float) -> str:
    """Return a fraction as the tables show it."""
    return f"{100 * value:.1f} %"


def interval(ci: tuple[float, float]) -> str:
    """Return an interval of fractions as the tables show it."""
    return f"{100 * ci[0]:.1f} to {100 * ci[1]:.1f}"


def _area(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    try:
        return auroc(scores, right)
    except DataError:
        return None


def _judging(judged: Verification, area: float | None, alone: bool) -> Finding:
    rates: list[tuple[str, Rate | None, str]] = [
        ("accuracy over both orders", judged.accuracy, "chance: 50 %"),
        ("same candidate in both orders", judged.consistency, "of a preference for a slot: 0 %"),
        ("chooses the slot shown first", None if alone else judged.first_slot, "unbiased: 50 %"),
        ("accuracy where the argument is right (f_c_oc)", judged.when_argument_right, ""),
        ("accuracy where the argument is wrong (f_c_oi)", judged.when_argument_wrong, "1 less this: it defers"),
    ]
    rows = [
        (name, percent(rate.value), interval(rate.ci), str(rate.n), meaning) for name, rate, meaning in rates if rate
    ]
    if area is not None:
        rows.append(("area under the ROC curve, over candidates", f"{area:.3f}", "", "", "chance: 0.5"))
    rows.append(("Brier score", f"{judged.brier:.3f}", "", "", "always one half: 0.25"))
    rows.append(("expected calibration error", f"{judged.calibration_error:.3f}", "", "", f"{BINS} bins"))
    note = "Intervals are over questions."
    if alone:
        note += (
            " Candidates were judged one by one; of a pair, exactly one is right, so that their probabilities p and q "
            "make p (1 - q) against q (1 - p)."
        )
    if judged.collapsed:
        note += f" Collapsed: at least {COLLAPSED:.0%} of the verdicts name one slot, so that this is a constant."
    measures = tuple(Measure(name, rate.value, rate.ci) for name, rate, _ in rates[:2] if rate is not None)
    return Finding("How it judges pairs", ("", "value", "95 %", "verdicts", ""), tuple(rows), note, measures=measures)


def _reliability(judged: Verification) -> Finding:
    rows = tuple(
        (f"{b.low:.1f} to {b.high:.1f}", str(b.n), percent(b.predicted), percent(b.observed))
        for b in judged.reliability
    )
    line = Line("slot 1 is right", tuple((b.predicted, b.observed) for b in judged.reliability))
    return Finding(
        "Reliability",
        ("said probability", "verdicts", "said", "was so"),
        rows,
        "How often the candidate shown first was right, by the probability that the verifier gave it. On the diagonal, "
        "a probability is what it says.",
        figure=Figure("probability said", "share right", (line,), diagonal=True),
    )


def _kept(record: Path) -> int | None:
    """Return the step whose weights a training kept."""
    return json.loads(record.read_text(encoding="utf-8"))["result"]["best_step"] if record.is_file() else None


def training(weights: Path) -> tuple[Finding, ...]:
    """Return the evaluations on dev of the training that made the weights; none of a base."""
    path = weights.parent / "trainer_state.json"
    if weights.name != "model" or not path.is_file():
        return ()
    rows = json.loads(path.read_text(encoding="utf-8"))["log_history"]
    measured = [row for row in rows if "eval_acc" in row]
    if not measured:
        return ()
    constant = [index for index, row in enumerate(measured) if row.get("eval_slot", 0.0) >= COLLAPSED]
    kept = _kept(path.with_name("model") / "training.json")
    table = tuple(
        (
            str(row["step"]),
            percent(row["eval_acc"]),
            f"{row['eval_loss']:.3f}" if "eval_loss" in row else "–",
            percent(row["eval_slot"]) if "eval_slot" in row else "–",
            "collapsed" if index in constant else "kept" if row["step"] == kept else "",
        )
        for index, row in enumerate(measured)
    )
    line = Line("dev", tuple((float(row["step"]), float(row["eval_acc"])) for row in measured), tuple(constant))
    return (
        Finding(
            "Evaluations on dev",
            ("step", "right", "loss", "commonest slot", ""),
            table,
            f"Both orders of every dev pair. Collapsed, drawn hollow: at least {COLLAPSED:.0%} of the verdicts name "
            f"one slot, so that the evaluation is a constant's ({len(constant)} of {len(measured)}).",
            figure=Figure("step", "right", (line,)),
        ),
    )
