"""What it does to an arm's answers when the types of its steps are interfered with, the weights being the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from thinktwice.methods.planning.findings import percent
from thinktwice.methods.planning.written import written
from thinktwice.records import Finding, TraceRecord
from thinktwice.render import Render
from thinktwice.scoring import stats

if TYPE_CHECKING:
    from thinktwice.methods.planning import Planning


def interventions(
    methods: Mapping[str, object],
    weights: Mapping[str, str],
    records: Mapping[str, Sequence[TraceRecord]],
    render: Render,
    *,
    seed: int = 0,
) -> Finding | None:
    """Compare every arm that exchanges, deletes or forces types with the arm that differs from it in nothing else.

    Args:
        methods: by arm, as it answered; arms of other methods are passed over.
        weights: by arm, the arm whose weights it answers with.
        records: by arm, its answers; the same problems in every arm.
        render: of a model that has the tokens.
        seed: of the intervals.

    Returns None where the run has no such pair.
    """
    pairs = [pair for pair in _pairs(methods, weights) if records.keys() >= set(pair)]
    rows = [row for one, other in pairs for row in _rows(one, other, methods, records, render, seed)]
    if not rows:
        return None
    does = "; ".join(f"{one} {_does(cast('Planning', methods[one]))}" for one, _ in pairs)
    return Finding(
        "Interventions on types",
        ("arm", "against", "level", "same reply", "same types", "right", "difference", "p"),
        tuple(rows),
        f"What the arms do: {does}. Same weights, same problems; only the types are interfered with while the model "
        "writes. Same reply: the text without planning tokens is the same, letter by letter. If types are interfered "
        "with and the replies stay, the tokens are decoration. Differences in points with 95 % intervals, paired by "
        "problem; p is McNemar's, exact.",
    )


def _pairs(methods: Mapping[str, object], weights: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    from thinktwice.methods.planning import Planning

    planning = {name: method for name, method in methods.items() if isinstance(method, Planning)}
    for one, method in planning.items():
        plain = replace(method, exchange=None, delete=None, force=())
        if plain == method:
            continue
        like = (other for other, m in planning.items() if m == plain and weights[other] == weights[one])
        if (other := next(like, None)) is not None:
            yield one, other


def _does(method: "Planning") -> str:
    parts = [f"exchanges {' and '.join(method.exchange)}"] if method.exchange else []
    parts += [f"deletes {method.delete}"] if method.delete else []
    parts += [f"forces {', '.join(method.force)}"] if method.force else []
    return ", ".join(parts)


def _rows(
    one: str,
    other: str,
    methods: Mapping[str, object],
    records: Mapping[str, Sequence[TraceRecord]],
    render: Render,
    seed: int,
) -> Iterator[tuple[str, ...]]:
    before = {record.key: record for record in records[other]}
    method = cast("Planning", methods[one])
    pairs = [(record, before[record.key]) for record in records[one] if record.key in before]
    for level in sorted({record.level for record, _ in pairs}):
        chosen = [(a, b) for a, b in pairs if a.level == level]
        scores = [[pair[side].score.value for pair in chosen] for side in (0, 1)]
        found = stats.paired_difference(scores[0], scores[1], seed=seed)
        same = sum(a.trace.reply == b.trace.reply for a, b in chosen)
        types = sum(
            [line.types for line in written(method, a.trace, render)]
            == [line.types for line in written(method, b.trace, render)]
            for a, b in chosen
        )
        n = len(chosen)
        binary = all(value in (0, 1) for side in scores for value in side)
        yield (
            one,
            other,
            str(level),
            percent(same, n),
            percent(types, n),
            percent(sum(value == 1 for value in scores[0]), n),
            f"{_points(found.value)} ({_points(found.low)} to {_points(found.high)})",
            f"{stats.mcnemar(scores[0], scores[1]):.4f}" if binary else "–",
        )


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")
