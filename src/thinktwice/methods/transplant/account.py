"""What all arms of a run say together: the bar they had to reach, whether the states add to the text, best-of-n."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from thinktwice.methods.transplant import posed
from thinktwice.methods.transplant.findings import interval, pairs_of, percent
from thinktwice.records import Finding, Measure, TraceRecord
from thinktwice.run import read_json
from thinktwice.scoring.best_of import BestOf, Sampled, best_of_n
from thinktwice.scoring.stats import NOISE, Difference, average, paired_difference
from thinktwice.types import Problem, Task

AUDIT = "audit.json"


def account(
    directory: Path,
    problems: Sequence[Problem],
    records: Mapping[str, Sequence[TraceRecord]],
    task: Task,
    pair: tuple[str, str] | None,
) -> tuple[Finding, ...]:
    """Return the tables over all arms.

    Args:
        directory: of the stage that posed the problems.
        problems: the test problems, in the order of the records.
        records: by arm.
        task: whose score finds the answer that a solution states.
        pair: the headline's two arms.
    """
    found = []
    audit = read_json(directory / AUDIT) if (directory / AUDIT).is_file() else None
    if pair is not None:
        found.append(_added(problems, records, *pair, audit))
    if audit is not None:
        found.append(_bar(audit))
    return (*(f for f in found if f is not None), *_best_of(problems, records, task))


def _credits(problems: Sequence[Problem], records: Sequence[TraceRecord]) -> dict[str, float]:
    """Return, by pair, the share of the orders in which the right candidate was chosen."""
    return {p.id: posed.judge(p, r.trace).value for p, r in pairs_of(problems, records)}


def _added(
    problems: Sequence[Problem],
    records: Mapping[str, Sequence[TraceRecord]],
    a: str,
    b: str,
    audit: Mapping[str, Any] | None,
) -> Finding | None:
    """Return every arm against the one that the headline's first is measured against."""
    credits = {name: _credits(problems, rows) for name, rows in records.items()}
    if not credits[a] or not credits[b]:
        return None
    rows = []
    for name, own in credits.items():
        shared = [key for key in own if key in credits[b]]
        mean = average([own[key] for key in shared])
        row = (name, percent(mean.value), interval((mean.low, mean.high)))
        if name == b:
            rows.append((*row, "", ""))
            continue
        gap = paired_difference([own[key] for key in shared], [credits[b][key] for key in shared])
        rows.append((*row, f"{100 * gap.value:+.1f}", interval(gap.ci)))
    keys = [key for key in credits[a] if key in credits[b]]
    gain = paired_difference([credits[a][key] for key in keys], [credits[b][key] for key in keys])
    return Finding(
        f"What {a} adds to {b}",
        ("arm", "right over both orders", "95 %", f"less {b}", "95 %"),
        tuple(rows),
        sentence(a, b, gain) + below_the_bar(a, list(credits[a].values()), audit),
    )


def sentence(a: str, b: str, gain: Difference) -> str:
    """Say in one sentence whether the transplant adds anything over reading the text."""
    size = f"{100 * gain.value:+.1f} points (95 % interval {interval(gain.ci)}, {gain.problems} questions, one seed)"
    if gain.low <= 0 <= gain.high:
        return f"Moving the arguer's states adds nothing that could be shown over reading the text: {a} - {b} = {size}."
    if abs(gain.value) < NOISE:
        return (
            f"Whether moving the arguer's states adds to reading the text is open: {a} - {b} = {size}; from one seed, "
            f"less than {100 * NOISE:.0f} points is noise."
        )
    if gain.value < 0:
        return f"Moving the arguer's states is worse than reading the text: {a} - {b} = {size}."
    return f"Moving the arguer's states adds to reading the text: {a} - {b} = {size}."


def below_the_bar(arm: str, credits: Sequence[float], audit: Mapping[str, Any] | None) -> str:
    """Say so where a verifier was not shown to beat what needs none: then its gain may be no reading at all."""
    legible = [bar for bar in audit["bars"] if bar["legible"]] if audit is not None else []
    if not legible:
        return ""
    best = max(legible, key=lambda bar: float(bar["accuracy"]))
    if average(credits).low > best["accuracy"]:
        return ""
    return f" But {arm} was not shown to beat what needs no verifier ({best['name']}, {percent(best['accuracy'])})."


def _bar(audit: Mapping[str, Any]) -> Finding:
    """Return what needs no verifier, as it was measured before anything was trained."""
    bars = sorted(audit["bars"], key=lambda bar: -bar["accuracy"])
    rows = [(bar["name"], percent(bar["accuracy"]), interval(tuple(bar["ci"])), str(bar["n"])) for bar in bars]
    facts = [(f["name"], percent(f["count"] / f["n"] if f["n"] else 0.0), "", str(f["n"])) for f in audit["facts"]]
    return Finding(
        "What needs no verifier",
        ("", "right", "95 %", "n"),
        (*rows, *facts),
        f"Measured before anything was trained, on the same test pairs. {audit['sentence']}",
    )


def _best_of(problems: Sequence[Problem], records: Mapping[str, Sequence[TraceRecord]], task: Task) -> list[Finding]:
    """Return, for each size of group, what choosing by each arm's score is worth at equal samples."""
    found = []
    for n in sorted({len(p.choices) for p in problems} - {posed.PAIR}):
        stated = {p.id: _stated(p, task) for p in problems if len(p.choices) == n}
        results: dict[str, BestOf] = {}
        for name, rows in records.items():
            asked = [(p, r) for p, r in zip(problems, rows, strict=True) if len(p.choices) == n]
            sampled = [_sampled(p, r, stated[p.id]) for p, r in asked if r.trace.stop != "error"]
            if sampled:
                results[name] = best_of_n(sampled, n)
        if results:
            found.append(_best_table(n, results))
    return found


def _stated(problem: Problem, task: Task) -> tuple[str, ...]:
    """Return the answer that each candidate states, as the score of the questions finds it."""
    asked = replace(problem, answer=problem.solution or "")
    return tuple(task.score(asked, text).answer or "" for text in problem.choices)


def _sampled(problem: Problem, record: TraceRecord, answers: tuple[str, ...]) -> Sampled:
    right = posed.rights(problem)
    scores = posed.read(problem, record.trace).scores
    return Sampled(problem.id, answers, tuple(index in right for index in range(len(scores))), scores)


def _best_table(n: int, results: Mapping[str, BestOf]) -> Finding:
    one = next(iter(results.values()))
    rows = [
        ("one sample", percent(one.one.value), interval((one.one.low, one.one.high)), "", ""),
        ("majority vote", percent(one.majority.value), interval((one.majority.low, one.majority.high)), "", ""),
    ]
    for name, found in results.items():
        for how, mean, gain in (
            ("best", found.picked, found.gain),
            ("weighted vote", found.weighted, found.weighted_gain),
        ):
            rows.append(
                (
                    f"{name}, {how}",
                    percent(mean.value),
                    interval((mean.low, mean.high)),
                    f"{100 * gain.value:+.1f}",
                    interval(gain.ci),
                )
            )
    rows.append(
        (f"any of {n} is right", percent(one.passed.value), interval((one.passed.low, one.passed.high)), *("", ""))
    )
    measures = (Measure(f"majority of {n}", one.majority.value, (one.majority.low, one.majority.high)),)
    return Finding(
        f"Best of {n}",
        ("", "right", "95 %", "less majority", "95 %"),
        tuple(rows),
        f"{one.gain.problems} questions with {n} samples each, the same for every row, all right and all wrong "
        "ones among them. best: the sample with the highest score; weighted vote: the answer whose samples have the "
        "largest sum of probabilities.",
        measures=measures,
    )
