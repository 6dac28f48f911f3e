"""How an arm's rounds went, as tables and curves; and whether the content of feedback did anything, over all arms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktwice.config import parse
from thinktwice.methods.evolve.guards import Decision
from thinktwice.methods.evolve.measuring import Point
from thinktwice.records import Figure, Finding, Line, Measure, TraceRecord
from thinktwice.run import read_json
from thinktwice.scoring.stats import Difference, paired_difference, wilson

if TYPE_CHECKING:
    from thinktwice.methods import Method

CURVES = (
    ("greedy", "watched"),
    ("majority of k", "majority"),
    ("pass@k", "passed"),
    ("critic, balanced", "balanced"),
)
"""What is drawn by round, and the field of a `Point`."""


def findings(weights: Path) -> tuple[Finding, ...]:
    """Return the tables of the rounds that led to an arm's weights; none where it did not go round."""
    place = weights.parent / "rounds.json"
    if not place.is_file():
        return ()
    record: dict[str, Any] = read_json(place)
    points = [parse(Point, row, "rounds.json") for row in record["measured"]]
    decisions = [parse(Decision, row, "rounds.json") for row in record["decisions"]]
    return (
        _curves(points, decisions, _watched(weights)),
        _decided(decisions, record["best"]),
        _critic(points),
        _kept(record["counts"]),
    )


def _watched(weights: Path) -> int:
    """Return how many problems the greedy curve is of; 0 where the rounds were not measured."""
    arm = weights.parent.name.removeprefix("train-")
    found = weights.parents[1] / f"measure_1-{arm}" / "measures.json"
    return len(read_json(found)["greedy"]) if found.is_file() else 0


def _band(shares: Sequence[float], n: int) -> tuple[tuple[float, float], ...]:
    return tuple(wilson(round(share * n), n) for share in shares) if n else ()


def curves(weights: Mapping[str, Path]) -> Finding | None:
    """Draw what every arm that went round answers right, round by round, each with its 95 % band; None without any.

    Args:
        weights: of each arm.
    """
    lines, rows = [], []
    for arm, place in weights.items():
        record = place.parent / "rounds.json"
        if not record.is_file() or place.parent.name != f"train-{arm}":  # another arm's weights have its curve
            continue
        found: dict[str, Any] = read_json(record)
        shares = [float(point["watched"]) for point in found["measured"]]
        refused = [d["round"] for d in found["decisions"] if d["choice"] != "promoted"]
        rejected = tuple(number for number in refused if number < len(shares))
        band = _band(shares, _watched(place))
        lines.append(Line(arm, tuple((float(n), share) for n, share in enumerate(shares)), rejected, band))
        rows.append((arm, *map(_percent, shares), str(found["best"])))
    if not lines:
        return None
    longest = max(len(row) for row in rows)
    return Finding(
        "All arms, round by round",
        ("arm", *(f"round {n}" for n in range(longest - 2)), "answers with round"),
        tuple((*row[:-1], *("–" for _ in range(longest - len(row))), row[-1]) for row in rows),
        note="Right, greedily, of watched dev problems, which decide nothing. Hollow: a round that was rolled back.",
        figure=Figure("round", "right", tuple(lines)),
    )


def _curves(points: Sequence[Point], decisions: Sequence[Decision], n: int) -> Finding:
    rejected = tuple(d.round for d in decisions if d.choice != "promoted" and d.round < len(points))
    lines = []
    for name, field in CURVES:
        drawn = [(float(n), getattr(p, field)) for n, p in enumerate(points) if getattr(p, field) is not None]
        band = _band([share for _, share in drawn], n) if field == "watched" else ()
        lines.append(Line(name.replace("k", str(points[0].k)), tuple(drawn), rejected, band))
    rows = tuple(
        (
            str(n),
            *(_percent(value) for value in (p.gate, p.watched, p.one, p.majority, p.passed, p.before)),
            f"{p.distinct:.2f}",
            f"{p.length:.0f}",
            "–" if p.kl is None else f"{p.kl:.3f}",
            _percent(p.gained),
            _percent(p.lost),
        )
        for n, p in enumerate(points)
    )
    k = points[0].k
    return Finding(
        "Round by round",
        (
            "round", "gate", "greedy", "pass@1", f"majority@{k}", f"pass@{k}", "before", "distinct", "tokens", "KL",
            "gained", "lost",
        ),
        rows,
        note=(
            "On dev, each model after its own training; round 0 is the start. Gate problems decide, the others are of "
            f"problems that decide nothing. before: the forgetting set. distinct: different answers among {k} samples. "
            "KL: from the start, nats a token. gained, lost: problems that became right or wrong since the start. "
            "Hollow: a round that was rolled back."
        ),
        figure=Figure("round", "share", tuple(line for line in lines if line.points)),
    )  # fmt: skip


def _decided(decisions: Sequence[Decision], best: int) -> Finding:
    rows = tuple((str(d.round), d.choice, d.why) for d in decisions)
    return Finding(
        "What was decided",
        ("round", "decision", "why"),
        rows,
        note=f"The arm answers with the weights of round {best}.",
    )


def _critic(points: Sequence[Point]) -> Finding:
    rows = []
    for n, p in enumerate(points):
        interval = "" if p.balanced_low is None else _ends(p.balanced_low, p.balanced_high)
        cells = (p.sensitivity, p.specificity)
        numbers = ("–" if v is None else f"{v:.2f}" for v in (p.mcc, p.auroc, p.ece))
        rows.append((str(n), _percent(p.balanced) + interval, *map(_percent, cells), *numbers, _percent(p.unparsed)))
    last = points[-1]
    measures: tuple[Measure, ...] = ()
    if last.balanced is not None and last.balanced_low is not None and last.balanced_high is not None:
        measures = (Measure("critic, balanced accuracy", last.balanced, (last.balanced_low, last.balanced_high)),)
    return Finding(
        "The model as a critic of its own answers",
        ("round", "balanced", "right seen", "wrong seen", "MCC", "AUROC", "ECE", "unparsed"),
        tuple(rows),
        note="Verdicts on its samples of the watched problems, against the truth. 50 % is chance.",
        measures=measures,
    )


def _kept(counts: Sequence[Mapping[str, Any]]) -> Finding:
    rows = []
    for number, stages in enumerate(counts, 1):
        for stage, found in stages.items():
            inner = {f"{stage}: {name}": p for name, p in found.items() if isinstance(p, dict) and "in" in p}
            parts = {stage: found, **inner} if "in" in found else inner
            for name, part in parts.items():
                dropped = "; ".join(f"{count} {why}" for why, count in part["dropped"].items())
                right = f"{part['right']} of them right" if "right" in part else ""
                rows.append((str(number), name, str(part["in"]), str(part["kept"]), dropped, right))
    return Finding(
        "What came in, what was kept",
        ("round", "stage", "in", "kept", "dropped", "in truth"),
        tuple(rows),
        note="In = kept + every reason dropped. What is right was counted afterwards: nothing that learned saw it.",
    )


def content(
    methods: Mapping[str, "Method"], records: Mapping[str, Sequence[TraceRecord]], pair: tuple[str, str] | None
) -> Finding | None:
    """Say in one sentence whether what feedback says did anything: against the same without, or with another's.

    Args:
        methods: by arm.
        records: the answers of each arm.
        pair: the headline's arms; the first is what is asked about.
    """
    from thinktwice.methods.evolve import Evolve

    if pair is None or not isinstance(methods.get(pair[0]), Evolve):
        return None
    controls = [
        name
        for name, m in methods.items()
        if name != pair[0]
        and isinstance(m, Evolve)
        and m.rounds
        and (not m.content or m.source in ("shuffled", "generic"))
    ]
    if not controls:
        return None
    levels = sorted({r.level for r in records[pair[0]]})
    rows, shown = [], []
    for name in controls:
        for level in levels:
            found = _difference(records[pair[0]], records[name], level)
            rows.append((f"{pair[0]} − {name}", str(level), _points(found)))
            if level == levels[-1]:
                shown.append((name, found))
    helps = all(found.low > 0 for _, found in shown)
    sentence = "; ".join(f"{_points(found)} against {name}" for name, found in shown)
    verdict = "did something" if helps else "is not shown to have done anything"
    caution = (
        ""
        if not helps or min(f.value for _, f in shown) >= 0.05
        else " One seed: differences under 5 points are noise."
    )
    return Finding(
        "What the content of the feedback did",
        ("difference", "level", "points"),
        tuple(rows),
        note=f"The content of the feedback {verdict} at level {levels[-1]}: {sentence}.{caution}",
    )


def _difference(a: Sequence[TraceRecord], b: Sequence[TraceRecord], level: int) -> Difference:
    own = {r.key: r.score.value for r in a if r.level == level}
    other = {r.key: r.score.value for r in b if r.level == level}
    keys = sorted(own.keys() & other.keys())
    return paired_difference([own[k] for k in keys], [other[k] for k in keys])


def _points(found: Difference) -> str:
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def _ends(low: float, high: float | None) -> str:
    return f" [{100 * low:.0f}, {100 * (high or 0.0):.0f}]"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
