"""What a run says about preferences after SFT, in one sentence. Law: the answer is printed whichever way it went.

Published agents repeated their searches until DPO cured them; their trainers had cut away most of the actions that they
meant to teach. A run with these arms tells the one from the other:

| arm | what it learned |
|---|---|
| sft_cut | episodes cut at a length that loses actions |
| sft_full | whole episodes |
| dpo | sft_full, and then preferences between its own steps |
| guard | sft_full; repeated searches are not carried out |
| cut_dpo, cut_dpo_araft, cut_guard | the same cures on top of sft_cut |
"""

from collections.abc import Iterator
from dataclasses import dataclass

from thinktwice.config import Headline
from thinktwice.records import Comparison, Measure, Summary
from thinktwice.report.claims import find, interval, measured, percent, points, verdict

QUESTION = "Does DPO still help once nothing was cut?"
REPEATS = "a search repeated"
"""The measure of `methods.react.metrics` that tells loops."""
CURES = ("cut_dpo", "cut_dpo_araft", "cut_guard")


@dataclass(frozen=True)
class Answer:
    """The question and what the run says."""

    question: str
    verdict: str
    """In a few words."""
    sentence: str
    """What DPO did on top of whole episodes."""
    beside: tuple[str, ...] = ()
    """What else the arms of the run say of it: what the cut cost, what a guard does, what cures it."""


def answer(summary: Summary, plan: Headline | None) -> Answer | None:
    """Answer the question from the arms that were run; None where sft_full and dpo are not both among them."""
    level = plan.level if plan else max((n for cells in summary.arms.values() for n in cells), default=0)
    gain = find(summary, "dpo", "sft_full", level)
    if gain is None:
        return None
    return Answer(QUESTION, _verdict(gain), _gain(summary, gain), tuple(_rest(summary, level)))


def measure(summary: Summary, arm: str, name: str) -> Measure | None:
    """Return one number of an arm's findings."""
    found = (m for finding in summary.findings.get(arm, ()) for m in finding.measures if m.name == name)
    return next(found, None)


def _verdict(gain: Comparison) -> str:
    low, high = gain.ci
    if low <= 0 <= high:
        return "No gain was shown"
    if gain.difference < 0:
        return "No, it harms"
    return "Yes" if verdict(gain)[1] else "By less than a single seed can tell from noise"


def _gain(summary: Summary, gain: Comparison) -> str:
    text = f"On top of whole episodes, DPO changes the {_score(summary)} at level {gain.level} by {_points(gain)}"
    before, after = (measure(summary, arm, REPEATS) for arm in ("sft_full", "dpo"))
    if before and after:
        text += (
            f", and the share of questions with {REPEATS}, over all levels, from {_share(before)} to {_share(after)}"
        )
    return text + "."


def _rest(summary: Summary, level: int) -> Iterator[str]:
    others = [(n, find(summary, "dpo", "sft_full", n)) for n in sorted(summary.arms["dpo"]) if n != level]
    told = [f"level {n} {_points(found)}" for n, found in others if found is not None]
    if told:
        yield f"DPO at the other levels: {', '.join(told)}."
    lines = [("sft_cut", "sft_full", "Learned from cut episodes instead")]
    lines += [("guard", "sft_full", "A guard instead of DPO"), ("dpo_araft", "sft_full", "Araft's pairs instead")]
    lines += [(name, "sft_cut", f"{name}, on top of cut episodes") for name in CURES]
    for name, of, words in lines:
        found = find(summary, name, of, level)
        if found is not None:
            loops = measure(summary, name, REPEATS)
            repeats = f"; {REPEATS} in {_share(loops)} of the questions" if loops else ""
            yield f"{words}: {_points(found)}{repeats}."


def _score(summary: Summary) -> str:
    return f"mean {measured(summary)}" if measured(summary) else "accuracy"


def _points(comparison: Comparison) -> str:
    return f"{points(comparison.difference)} points ({interval(comparison.ci)})"


def _share(found: Measure) -> str:
    return f"{percent(found.value)} ({100 * found.ci[0]:.1f} to {100 * found.ci[1]:.1f})"
