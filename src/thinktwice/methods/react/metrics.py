"""What the episodes of an arm say beyond right and wrong, as tables. The unit is the question."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from thinktwice.errors import DataError
from thinktwice.methods.react.episode import OPEN, SEARCH, Episode
from thinktwice.methods.react.filters import REPEATED, is_grounded
from thinktwice.methods.react.loops import CLASSES, classify
from thinktwice.methods.react.taxonomy import FAILURES, blame
from thinktwice.records import Finding, Measure, TraceRecord
from thinktwice.scoring import f1, stats
from thinktwice.scoring.exact import normalise
from thinktwice.types import Problem, StopReason

NAMED = 6
"""Episodes that a row of the table of failures names."""
REPEATS = "a search repeated"
"""What the share of questions in which something was searched for again is called."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One episode, judged."""

    key: str
    """Names the episode: the trace record's key, or the problem's id."""
    level: int
    problem: Problem
    episode: Episode
    match: f1.Match
    """Its answer against the reference; all 0 without an answer."""
    loops: tuple[str, ...]
    """What `loops.classify` says of each search."""
    failure: str
    """One of `taxonomy.FAILURES`; empty when the answer is right."""

    @property
    def looked(self) -> bool:
        """Whether anything was looked up."""
        return any(turn.tool in (SEARCH, OPEN) and not turn.error for turn in self.episode.turns)

    @property
    def grounded(self) -> bool:
        """Whether the answer can be seen in what was looked up."""
        return is_grounded(self.problem, self.episode)

    @property
    def verbatim(self) -> int:
        """How many of its searches ask for an earlier one's very words."""
        return len(self.episode.queries) - len({*self.episode.queries})

    @property
    def repeats(self) -> bool:
        """Whether it searched again for the same."""
        return any(kind in REPEATED for kind in self.loops)


Rows = Sequence[Outcome]


def judge(problem: Problem, episode: Episode, *, key: str = "", level: int = 0, stop: StopReason = "done") -> Outcome:
    """Judge one episode.

    Example: published traces, `[judge(r.problem, r.episode) for r in released.fireact_traces(path)]`.
    """
    match = f1.NONE if episode.answer is None else f1.match(episode.answer, problem.answer)
    loops = classify(episode)
    failure = blame(problem, episode, match, loops, stop=stop)
    return Outcome(key or problem.id, level or problem.level, problem, episode, match, loops, failure)


def findings(
    problems: Sequence[Problem], records: Sequence[TraceRecord], episodes: Sequence[Episode]
) -> tuple[Finding, ...]:
    """Make the tables of one arm: `episodes[i]` is what `records[i].trace` tells."""
    by_id = {problem.id: problem for problem in problems}
    judged = [
        judge(by_id[record.trace.problem_id], episode, key=record.key, level=record.level, stop=record.trace.stop)
        for record, episode in zip(records, episodes, strict=True)
    ]
    return tables(judged)


def tables(outcomes: Rows) -> tuple[Finding, ...]:
    """Make the tables; that of the pages is left out where nobody knows which pages were needed or shown."""
    if not outcomes:
        return ()
    return (answers(outcomes), *pages(outcomes), costs(outcomes), loops(outcomes), failures(outcomes))


def groups(outcomes: Rows) -> Iterator[tuple[str, Rows]]:
    """Yield all, each level, each kind of question, and those that are not answered by yes or no, as they differ."""
    yield "all", outcomes
    levels = sorted({outcome.level for outcome in outcomes})
    kinds = sorted({outcome.problem.kind for outcome in outcomes} - {""})
    if len(levels) > 1:
        yield from ((f"level {n}", [o for o in outcomes if o.level == n]) for n in levels)
    if len(kinds) > 1:
        yield from ((kind, [o for o in outcomes if o.problem.kind == kind]) for kind in kinds)
    spans = [o for o in outcomes if normalise(o.problem.answer) not in ("yes", "no")]
    if 0 < len(spans) < len(outcomes):
        yield "without yes or no", spans


def answers(outcomes: Rows) -> Finding:
    """Tell how good the answers are, and whether they were seen anywhere."""
    rows = []
    for name, chosen in groups(outcomes):
        n = len(chosen)
        right = [o for o in chosen if o.match.em == 1]
        rows.append(
            (
                name,
                f"{n:,}",
                share(len(right), n),
                mean([o.match.f1 for o in chosen]),
                *(f"{100 * sum(values) / n:.1f}" for values in ([o.match.precision for o in chosen],
                                                                [o.match.recall for o in chosen])),
                percent(sum(o.grounded for o in right), n),
                percent(sum(not o.grounded for o in right), n),
                percent(sum(not o.looked and o.episode.answer is not None for o in chosen), n),
            )
        )  # fmt: skip
    return Finding(
        "Answers",
        ("questions", "n", "EM", "F1", "precision", "recall", "right and seen", "right by luck", "without a search"),
        tuple(rows),
        "HotpotQA's measures, over all questions; no answer counts 0. EM with a 95 % Wilson interval, F1 × 100 with a "
        "95 % bootstrap interval over questions. Right and seen: the answer stands in an observation, or, for yes and "
        "no, every page that supports it was shown. Without a search: answered and nothing was looked up.",
        measures=(
            _share("exactly right (EM)", sum(o.match.em == 1 for o in outcomes), len(outcomes)),
            _share("right and seen", sum(o.match.em == 1 and o.grounded for o in outcomes), len(outcomes)),
        ),
    )


def pages(outcomes: Rows) -> Iterator[Finding]:
    """Tell how often the pages that support the answer were shown, in the order in which they can be found."""
    known = [o for o in outcomes if o.problem.support]
    if not known or not any(o.episode.sources for o in known):
        return
    most = max(len(o.problem.support) for o in known)
    rows = []
    for name, chosen in groups(known):
        n = len(chosen)
        seen = [[title in o.episode.sources for title in o.problem.support] for o in chosen]
        hops = [[found[i] for found in seen if i < len(found)] for i in range(most)]
        cells = (percent(sum(hop), len(hop)) for hop in hops)
        rows.append((name, f"{n:,}", *cells, share(sum(all(found) for found in seen), n)))
    note = (
        "Share of questions in which a page that supports the answer was shown, the first to be found first, of those "
        "that need so many; all of them with a 95 % Wilson interval."
    )
    every = sum(set(o.problem.support) <= set(o.episode.sources) for o in known)
    yield Finding(
        "Pages that were found",
        ("questions", "n", *(f"hop {i + 1}" for i in range(most)), "all"),
        tuple(rows),
        note,
        measures=(_share("every page found", every, len(known)),),
    )


def costs(outcomes: Rows) -> Finding:
    """Tell what an answer took."""
    rows = []
    for name, chosen in groups(outcomes):
        n = len(chosen)
        turns = [turn for o in chosen for turn in o.episode.turns]
        counts = (
            sum(turn.tool == SEARCH for turn in turns),
            sum(turn.tool == OPEN for turn in turns),
            len(turns),
        )
        tokens = sum(turn.tokens for turn in turns)
        errors = sum(any(turn.error for turn in o.episode.turns) for o in chosen)
        forced = sum(o.episode.forced for o in chosen)
        cells = (*(f"{count / n:.2f}" for count in counts), f"{tokens / n:.1f}" if tokens else "–")
        rows.append((name, f"{n:,}", *cells, percent(errors, n), percent(forced, n)))
    return Finding(
        "Searches and tokens a question",
        ("questions", "n", "searches", "pages opened", "turns", "tokens drawn", "with an error", "answer forced"),
        tuple(rows),
        "Means over questions; then the share of questions in which an action could not be carried out, and in which "
        "the answer had to be asked for at the limit.",
    )


def loops(outcomes: Rows) -> Finding:
    """Tell how often searches go in circles, and how the answers are where they do."""
    searches = sum(len(o.loops) for o in outcomes)
    kinds = Counter(kind for o in outcomes for kind in o.loops)

    def line(name: str, count: int, has: Callable[[Outcome], bool]) -> tuple[str, ...]:
        those, others = [o for o in outcomes if has(o)], [o for o in outcomes if not has(o)]
        right = (percent(sum(o.match.em == 1 for o in group), len(group)) for group in (those, others))
        return name, f"{count:,}", percent(count, searches), f"{len(those):,}", share(len(those), len(outcomes)), *right

    def of(kind: str) -> Callable[[Outcome], bool]:
        return lambda outcome: kind in outcome.loops

    rows = [
        line("any repeat", sum(kinds[kind] for kind in REPEATED), lambda o: o.repeats),
        line("letter for letter", sum(o.verbatim for o in outcomes), lambda o: o.verbatim > 0),
        *(line(kind, kinds[kind], of(kind)) for kind in CLASSES),
    ]
    return Finding(
        "Loops",
        ("kind", "searches", "of all", "questions", "of all questions", "EM with", "EM without"),
        tuple(rows),
        f"Of {searches:,} searches. A repeat has the words of the query before it (exact adjacent), of an earlier one "
        "(exact later), or nearly (near duplicate), in any order and form; letter for letter is what published tables "
        "count. Nothing new: another query, but every page it found had been shown.",
        views=(f"mark={','.join(REPEATED)}", "", *(f"mark={kind}" for kind in CLASSES)),
        measures=(_share(REPEATS, sum(o.repeats for o in outcomes), len(outcomes)),),
    )


def failures(outcomes: Rows) -> Finding:
    """Tell why answers are wrong, each for one reason, with the episodes to look at."""
    wrong = failed(outcomes)
    n = sum(map(len, wrong.values()))
    rows = []
    for name, keys in wrong.items():
        shown = " ".join(keys[:NAMED]) + (" …" if len(keys) > NAMED else "")
        rows.append((name, f"{len(keys):,}", percent(len(keys), n), share(len(keys), len(outcomes)), shown))
    return Finding(
        "What went wrong",
        ("failure", "answers", "of the wrong ones", "of all", "episodes"),
        tuple(rows),
        f"{n:,} of {len(outcomes):,} answers are not exactly right; each is counted once, for the first reason that "
        "holds, in this order. Label ambiguity: everything was found and the answer shares words with the reference.",
        views=tuple(f"failure={name}" for name in wrong),
    )


def failed(outcomes: Rows) -> dict[str, tuple[str, ...]]:
    """Return the keys of the wrong answers by failure, in the order of `FAILURES`, empty ones too."""
    return {name: tuple(o.key for o in outcomes if o.failure == name) for name in FAILURES}


def repeated(runs: Sequence[Rows], *, seed: int = 0) -> Finding:
    """Tell what several runs over the same questions say together: means, noise of decoding, and intervals.

    Raises:
        DataError: the runs answered different questions.
    """
    measures: dict[str, Callable[[Outcome], float]] = {
        "EM": lambda o: o.match.em,
        "F1": lambda o: o.match.f1,
        "precision": lambda o: o.match.precision,
        "recall": lambda o: o.match.recall,
        "a repeated search": lambda o: float(o.repeats),
        "right and seen": lambda o: float(o.match.em == 1 and o.grounded),
    }
    ordered = [sorted(run, key=lambda o: o.problem.id) for run in runs]
    if len({tuple(o.problem.id for o in run) for run in ordered}) > 1:
        raise DataError("repeated runs must have answered the same questions, each once.")
    rows = []
    for name, measure in measures.items():
        found = stats.repeated_mean([[measure(o) for o in run] for run in ordered], seed=seed)
        low, high = (f"{100 * end:.1f}" for end in found.ci)
        rows.append((name, f"{100 * found.value:.1f} ({low} to {high})", f"{100 * found.between_runs:.1f}"))
    return Finding(
        f"{len(runs)} runs together",
        ("measure", "mean", "SD between runs"),
        tuple(rows),
        "Means × 100 over runs and questions; 95 % bootstrap intervals in which a question is drawn with all its "
        "answers. Asking again lessens the noise of decoding, never that of the questions.",
    )


def _share(name: str, part: int, whole: int) -> Measure:
    return Measure(name, part / whole, stats.wilson(part, whole))


def percent(part: int, whole: int) -> str:
    """Return a share: "45.2 %"; a dash of nothing."""
    return f"{100 * part / whole:.1f}\u00a0%" if whole else "–"


def share(part: int, whole: int) -> str:
    """Return a share with its 95 % Wilson interval."""
    low, high = stats.wilson(part, whole)
    return f"{percent(part, whole)} ({100 * low:.1f} to {100 * high:.1f})" if whole else "–"


def mean(values: Sequence[float]) -> str:
    """Return a mean × 100 with its 95 % bootstrap interval."""
    found = stats.repeated_mean([values], resamples=2_000)
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"
