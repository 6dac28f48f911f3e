"""What attribution found, as tables: what each way says, how often it is right, and how near it points."""

from collections.abc import Iterator, Sequence

from thinktwice.methods.planning.attribution import ALPHA, MEMORY, REASON, Attribution, Case
from thinktwice.methods.planning.findings import interval, percent
from thinktwice.records import Finding

WAYS = ("substitution", "resampling")


def tables(found: Attribution) -> tuple[Finding, ...]:
    """Return what there is to say; without the truth, only what each way says."""
    return (_said(found), *_judged(found), *_pointed(found), *_seen(found))


def _said(found: Attribution) -> Finding:
    n = len(found.cases)
    rows = []
    for way in WAYS:
        says = [getattr(case, way) for case in found.cases]
        if way == "substitution" and not any(says):
            continue
        rows.append((way, *(interval(says.count(word), n) for word in (MEMORY, REASON)), percent(says.count(""), n)))
    if found.judged:
        truth = [case.truth or "" for case in found.cases]
        rows.append(
            ("the truth", *(interval(truth.count(word), n) for word in (MEMORY, REASON)), percent(truth.count(""), n))
        )
    named = {name for case in found.cases for types in case.types for name in types.split()}
    alone = "" if any(case.substitution for case in found.cases) else " No line of the references is one of memory."
    untyped = "" if MEMORY in named else " This arm's types do not say memory, so resampling names a line, not a kind."
    unknown = "" if found.judged else " No oracle judges lines here, so nobody knows how often that is right."
    return Finding(
        "What wrong answers are put down to",
        ("way", MEMORY, REASON, "cannot tell"),
        tuple(rows),
        f"{n:,} of {found.wrong:,} wrong answers ({found.unfinished:,} did not end by themselves and are left out). "
        "Substitution: given the reference's memory lines the model answers rightly, and so do significantly more than "
        "half of its samples (memory), or not (reason). "
        f"Resampling: the type of the line at which the share of right answers among {found.samples} continuations "
        f"at temperature {found.temperature:g} falls significantly (p < {ALPHA:g} over all lines)."
        f"{alone}{untyped}{unknown}",
    )


def _judged(found: Attribution) -> Iterator[Finding]:
    known = [case for case in found.cases if case.truth]
    if not known:
        return
    rows = []
    for way in WAYS:
        if not any(getattr(case, way) for case in known):
            continue
        for word in (MEMORY, REASON):
            said = [case for case in known if getattr(case, way) == word]
            true = [case for case in known if case.truth == word]
            both = sum(case.truth == word for case in said)
            rows.append(
                (way, word, f"{len(said):,}", interval(both, len(said)), percent(len(true), len(known)),
                 f"{len(true):,}", interval(both, len(true)))
            )  # fmt: skip
    yield Finding(
        "How far to trust that",
        ("way", "says", "so often", "precision", "by chance", "there are", "recall"),
        tuple(rows),
        f"Against the oracle, in the {len(known):,} wrong answers of which it knows the first false line. By chance: "
        "the precision of saying so always. Recall counts what a way cannot tell as missed. 95 % Wilson intervals.",
    )


def _pointed(found: Attribution) -> Iterator[Finding]:
    known = [case for case in found.cases if case.false_line is not None]
    if not known:
        return
    rows = [_row("all", known)]
    rows += [_row(word, chosen) for word in (MEMORY, REASON) if (chosen := [c for c in known if c.truth == word])]
    yield Finding(
        "Which line resampling points at",
        ("truth", "wrong answers", "the very line", "an earlier one", "a later one", "none"),
        tuple(rows),
        "Against the first line that the oracle knows to be false.",
    )


def _row(name: str, cases: Sequence[Case]) -> tuple[str, ...]:
    n = len(cases)
    away = [case.faulty - case.false_line for case in cases if case.faulty is not None and case.false_line is not None]
    return (
        name,
        f"{n:,}",
        interval(away.count(0), n),
        percent(sum(d < 0 for d in away), n),
        percent(sum(d > 0 for d in away), n),
        percent(n - len(away), n),
    )


def _seen(found: Attribution) -> Iterator[Finding]:
    """Yield how much there was to see at the false line: what the model would nearly always get wrong cannot fall."""
    rows = []
    for word in (MEMORY, REASON):
        places = [(case.right, case.false_line) for case in found.cases if case.truth == word]
        drops = [(right[i], right[i + 1]) for right, i in places if i is not None]
        if drops:
            n = len(drops) * found.samples
            before, after = (sum(pair[side] for pair in drops) for side in (0, 1))
            never = sum(pair[0] == 0 for pair in drops)
            rows.append(
                (word, f"{len(drops):,}", percent(before, n), percent(after, n), percent(never, len(drops)))
            )  # fmt: skip
    if rows:
        yield Finding(
            "Right continuations around the first false line",
            ("truth", "wrong answers", "just before it", "just after it", "none right before it"),
            tuple(rows),
            "Mean share of right continuations. Where none was right already before the line, the model did not know "
            "better, and resampling has nothing to see.",
        )
