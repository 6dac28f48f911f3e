"""What a run writes down and a report reads back. Law: to disk by `config.to_dict`, back by `config.parse`."""

from dataclasses import dataclass, field

from thinktwice.types import Memory, Score, Trace

Interval = tuple[float, float]


@dataclass(frozen=True)
class Note:
    """What a method says of one step of its own trace."""

    step: int
    """Index into `Trace.steps`."""
    what: str
    """What the step is, in a word ("search", "open", "answer", "observation"); models may have chosen it."""
    text: str = ""
    """What it is about: the query, the title, the answer."""
    mark: str = ""
    """What is remarkable about it, in words that many notes share ("exact later", "taken back"); often nothing."""


@dataclass(frozen=True)
class TraceRecord:
    """One answer of one arm: a row of `traces/<arm>.jsonl`."""

    key: str
    """Unique in its file; the problem's id, or `<id>/<sample>`."""
    arm: str
    level: int
    question: str
    reference: str
    """The reference answer."""
    trace: Trace
    score: Score
    failure: str = ""
    """What went wrong, in a few words that many answers share; empty when the answer is right."""
    support: tuple[str, ...] = ()
    """Titles of the pages that hold what the answer needs, where the task names them."""
    notes: tuple[Note, ...] = ()
    """What the method says of its steps, in their order; empty where it says nothing."""


@dataclass(frozen=True)
class Cell:
    """One arm at one level. Law: `n` counts every problem; what could not be scored is wrong, and told apart."""

    n: int
    accuracy: float
    """Mean score in [0, 1]: the fraction that is right, or the mean F1 where the task grades its answers so."""
    ci: Interval
    """95 % interval of the accuracy (Wilson; bootstrap over problems where scores are graded), as fractions."""
    unscored: int = 0
    """Problems whose reply could not be judged at all."""
    sampled_tokens: float | None = None
    """Tokens sampled a problem, retracted ones included."""


@dataclass(frozen=True)
class Comparison:
    """Arm `a` minus arm `b` on the same problems of one level."""

    a: str
    b: str
    level: int
    difference: float
    """Difference of accuracies, as a fraction."""
    ci: Interval
    """95 % interval of the paired difference."""
    p: float | None = None
    """Exact McNemar p-value; None where scores are graded."""


@dataclass(frozen=True)
class Retraction:
    """What the undo tokens of one arm at one level did, against the oracle; shares are fractions."""

    retractions: int
    precision: float | None = None
    """Share of retractions that removed a wrong step; None when there were none."""
    recall: float | None = None
    """Share of wrong steps that were retracted; None when there were none."""
    useful: float | None = None
    """Share that replaced a wrong step with a right one."""
    harmful: float | None = None
    """Share that replaced a right step with a wrong one."""
    no_op: float | None = None
    """Share that wrote the same step again, or deleted nothing."""
    deleted_tokens: float | None = None
    """Share of sampled tokens that were deleted."""
    budget_hits: int = 0
    """Problems that ended because the token budget was spent."""


@dataclass(frozen=True)
class ThresholdPoint:
    """One bias on the undo logit, tried on dev."""

    bias: float
    precision: float | None
    recall: float | None
    accuracy: float | None = None


@dataclass(frozen=True)
class Threshold:
    """The undo threshold: the bias chosen on dev, and everything it was chosen from."""

    bias: float
    points: tuple[ThresholdPoint, ...] = ()


@dataclass(frozen=True)
class Measure:
    """A share or a mean score of one arm that can be put beside other arms'."""

    name: str
    value: float
    """As a fraction."""
    ci: Interval
    """95 % interval, as fractions."""


@dataclass(frozen=True)
class Line:
    """A line of a figure."""

    name: str
    points: tuple[tuple[float, float], ...]
    hollow: tuple[int, ...] = ()
    """Points that are marked as not to be trusted, by index."""
    band: tuple[Interval, ...] = ()
    """Of each point, the ends of its interval, drawn as a band; none at all, or as many as points."""


@dataclass(frozen=True)
class Figure:
    """Lines over two named axes."""

    x: str
    y: str
    lines: tuple[Line, ...]
    diagonal: bool = False
    """Whether x = y is drawn: where a point should lie. Both axes then run from 0 to 1."""


@dataclass(frozen=True)
class Finding:
    """A table that a method makes of its own answers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """As they are shown."""
    note: str = ""
    """What the numbers are, in a sentence or two."""
    points: tuple[tuple[float, float, str], ...] = ()
    """Places (x, y, what) of a picture that goes with the table; what is " (before)" is drawn hollow."""
    figure: Figure | None = None
    """Drawn below the table."""
    views: tuple[str, ...] = ()
    """By row, which of the arm's answers it counts, as a filter of the trace viewer: "failure=loop"; "" for all."""
    measures: tuple[Measure, ...] = ()
    """Numbers of the table that are drawn beside those of other arms."""


@dataclass(frozen=True)
class Summary:
    """The numbers of a finished run: `summary.json`."""

    arms: dict[str, dict[int, Cell]]
    """Arm -> level -> cell."""
    comparisons: tuple[Comparison, ...] = ()
    headline: Comparison | None = None
    """The comparison the recipe fixed in advance."""
    retraction: dict[str, dict[int, Retraction]] = field(default_factory=dict)
    threshold: Threshold | None = None
    failures: dict[str, int] = field(default_factory=dict)
    """How often each thing went wrong ("quarantined lines", "budget", "length", "unscored", ...); 0 is written too."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds a stage, over every attempt."""
    memory: dict[str, Memory] = field(default_factory=dict)
    """The most memory a stage held, over every attempt; a stage that was not measured is not there."""
    findings: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    """By arm, what its method found in its answers."""
    measure: str = "accuracy"
    """What the mean score is called: accuracy where an answer is right or wrong, else what grades it ("F1")."""
