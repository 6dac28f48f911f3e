"""What a round teaches, by objective. Law: each says what came in, what was kept, and why the rest was not."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thinktwice.methods.evolve import learning
from thinktwice.methods.evolve.mending import Mended
from thinktwice.methods.evolve.rows import Attempt, Ledger, Voted
from thinktwice.render import Render
from thinktwice.types import Problem, Trace

if TYPE_CHECKING:
    from thinktwice.methods.evolve import Evolve


def lesson(
    method: "Evolve",
    problems: Mapping[str, Problem],
    attempts: Sequence[Attempt],
    mended: Sequence[Mended],
    voted: Mapping[str, Voted],
    truth: Mapping[str, bool],
    render: Render,
    seed: int,
) -> tuple[list[Trace], dict[str, Any]]:
    """Return a round's rows, and the counts of each objective.

    Args:
        method: its objectives, and what it accepts.
        problems: the round's, by id.
        attempts: its answers.
        mended: the better ones.
        voted: what feedback says of either, by key.
        truth: whether either is right, by key: chosen by under `accept=gold` alone, else only counted.
        render: of the model.
        seed: of the choice among more than is wanted.
    """
    objectives, end = method.objectives, render.end_id
    by_key = {a.key: a for a in (*attempts, *(m.after for m in mended))}
    rows: list[Trace] = []
    counts: dict[str, Any] = {}
    if objectives.answer or objectives.prompt:
        if method.accept == "reference":
            solved = [p for p in problems.values() if p.solution]
            ledger = Ledger(len(problems), len(solved))
            ledger.drop("no solution", len(problems) - len(solved))
            rows += [learning.solution_trace(p, render) for p in solved]
            counts["answers"] = ledger.to_dict()
        else:
            kept, ledger = learning.accepted(
                method.accept, problems, [*by_key.values()], voted, truth, method.per_problem, seed
            )
            rows += [learning.answer_trace(a, end) for a in kept]
            right = sum(truth[a.key] for a in kept)
            counts["answers"] = {**ledger.to_dict(), "right": right, "mended": sum(a.mended for a in kept)}
    if objectives.feedback:
        said = [v.chosen for v in voted.values() if v.chosen is not None]
        ledger = Ledger(len(voted))
        for each in voted.values():
            if each.chosen is None:
                ledger.drop(f"found {each.verdict}" if each.verdict == "unparsed" else each.verdict)
        most = round(method.feedback_rows * len(rows)) if rows and method.feedback_rows else None
        critiques = learning.balanced(said, seed, ledger, most)
        rows += [learning.critique_trace(by_key[c.key], c, render, method.wording) for c in critiques]
        counts["feedback"] = ledger.to_dict()
    if objectives.refine:
        good = [m for m in mended if m.after.key in voted and voted[m.after.key].verdict == "correct"]
        ledger = Ledger(len(mended), len(good))
        ledger.drop("not found correct", len(mended) - len(good))
        rows += [learning.refine_trace(m.before, m.critique.feedback, m.after, end) for m in good]
        counts["refined"] = ledger.to_dict()
    if objectives.distill:
        done = [m for m in mended if m.after.stop == "done"]
        ledger = Ledger(len(mended), len(done))
        ledger.drop("unfinished", len(mended) - len(done))
        rows += [learning.distil_trace(m.after, end) for m in done]
        counts["distilled"] = ledger.to_dict()
    return rows, counts
