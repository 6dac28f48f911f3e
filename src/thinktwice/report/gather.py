"""Everything the page shows, read from a run directory. Law: what is missing is said to be missing, never made up."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinktwice.config import Recipe, parse
from thinktwice.records import Summary, TraceRecord
from thinktwice.report.making import StageCost, Training, read_trainings, stage_costs
from thinktwice.report.outcomes import Flips, Outcomes, flips, link, read_outcomes
from thinktwice.run import Run, read_json
from thinktwice.show import Decode, Piece, laid_out, printable, trace_pieces


@dataclass(frozen=True)
class ArmFacts:
    """What an arm is, in words, and what it cost."""

    name: str
    weights: str
    """Whose weights it runs on."""
    method: str
    """What it does differently from the recipe's method."""
    settings: Mapping[str, Any]
    """The method's options as it solved, choices made on dev included; empty while it has not."""
    trained_tokens: int | None
    """Tokens its weights were trained on; None when it trains none, or it was not recorded."""
    train_rate: float | None
    """Tokens a second while training."""
    sampled_tokens: int
    """Tokens sampled for the answers, all levels together."""
    dropped_tokens: int
    """Of those: not part of a reply."""
    solve_rate: float | None
    """Sampled tokens a second of the solve stage, loading and scoring included."""


@dataclass(frozen=True)
class Answer:
    """One arm's answer to one problem."""

    arm: str
    right: bool
    answer: str
    why: str
    stop: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Sample:
    """One problem, answered by the arms of the claim: for readers without a script, and for paper."""

    key: str
    level: int
    question: str
    reference: str
    kind: str
    """Why it is shown."""
    answers: tuple[Answer, ...]
    link: str


@dataclass(frozen=True)
class Page:
    """The run, ready to be laid out."""

    run: Run
    recipe: Recipe
    summary: Summary | None
    outcomes: Outcomes
    flips: Flips | None
    """The headline's two arms, problem by problem."""
    arms: tuple[ArmFacts, ...]
    trainings: tuple[Training, ...]
    stages: tuple[StageCost, ...]
    samples: tuple[Sample, ...]
    decode: Decode | None
    explained: tuple[str, ...] = ()
    """Arms whose method told what its answers' steps are."""

    @property
    def level(self) -> int | None:
        """The level that matters most: the headline's, or the hardest that was answered."""
        if self.recipe.headline:
            return self.recipe.headline.level
        return max(self.outcomes.levels, default=None)

    @property
    def took_back(self) -> bool:
        """Whether an answer of the run took something back."""
        return any(spent.dropped for by_level in self.outcomes.spent.values() for spent in by_level.values())


def gather(run: Run) -> Page:
    """Read a run; every part that isn't there stays empty."""
    recipe = parse(Recipe, run.config, str(run.root / "config.json"))
    saved = run.summary()
    summary = None if saved is None else parse(Summary, saved, str(run.root / "summary.json"))
    written = run.trace_names()
    rows = {name: run.traces(name).done for name in recipe.arms if name in written}
    outcomes = read_outcomes(rows)
    decode = _decoder(run)
    trainings = tuple(read_trainings(run, [name for name, arm in recipe.arms.items() if arm.trains], decode))
    plan = recipe.headline
    paired = flips(outcomes, plan.a, plan.b, plan.level, summary) if plan and summary else None
    return Page(
        run,
        recipe,
        summary,
        outcomes,
        paired,
        tuple(_arm(run, recipe, name, outcomes, trainings) for name in recipe.arms),
        trainings,
        tuple(stage_costs(run, recipe)),
        tuple(_samples(paired, plan.through if plan else None, rows)),
        decode,
        tuple(name for name, found in rows.items() if any(row.get("notes") for row in found.values())),
    )


def _decoder(run: Run) -> Decode | None:
    """Return ids -> text by the tokenizer the run started from, or None when it isn't there."""
    path = next((p for s in ("base", *run.stages()) if (p := run.artefact(s, "tokenizer.json")) is not None), None)
    if path is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    return lambda token_ids: str(tokenizer.decode(list(token_ids), skip_special_tokens=False))


def _arm(run: Run, recipe: Recipe, name: str, outcomes: Outcomes, trainings: Sequence[Training]) -> ArmFacts:
    training = next((t for t in trainings if t.arm == name), None)
    spent = outcomes.spent.get(name, {}).values()
    sampled = sum(s.sampled for s in spent)
    seconds = run.seconds().get(f"solve-{name}") if run.artefact(f"solve-{name}", "manifest.json") else None
    settings = run.artefact(f"solve-{name}", "method.json")
    return ArmFacts(
        name,
        _weights(recipe, name),
        _method(recipe, name),
        read_json(settings) if settings else {},
        training.tokens if training else None,
        training.rate if training else None,
        sampled,
        sum(s.dropped for s in spent),
        sampled / seconds if seconds else None,
    )


def _weights(recipe: Recipe, name: str) -> str:
    arm = recipe.arms[name]
    if arm.weights:
        return f"the weights of {arm.weights}"
    if arm.start:
        return f"trained further from {arm.start}"
    return "trained here" if arm.trained else "the base model, untouched"


def _method(recipe: Recipe, name: str) -> str:
    """Say what an arm does differently: another method, other options, votes."""
    arm = recipe.arms[name]
    spec = recipe.method_of(name)
    changes = [f"{key} {_short(value)}" for key, value in arm.method.items() if key != "name"]
    if arm.match_tokens:
        changes.append(f"votes with the tokens of {arm.match_tokens}")
    return ", ".join([spec.name, *changes])


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_short(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_short, value))
    return str(value)


def _samples(paired: Flips | None, through: str | None, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Sample]:
    """Show one problem gained and one lost, the first of each with a retraction (or the first): no choice by taste."""
    if paired is None:
        return
    names = [name for name in (paired.a, paired.b, through) if name is not None and name in rows]
    for kind, found in ((f"only {paired.a} is right", paired.gained), (f"only {paired.b} is right", paired.lost)):
        keys = [flip.key for flip in found]
        retracting = (k for k in keys if any(not s.get("kept", True) for s in rows[paired.a][k]["trace"]["steps"]))
        key = next(retracting, next(iter(keys), None))
        if key is not None:
            yield _sample(key, kind, [(name, rows[name][key]) for name in names if key in rows[name]])


def _sample(key: str, kind: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Sample:
    records = [parse(TraceRecord, row, f"traces/{name}.jsonl") for name, row in rows]
    first = records[0]
    answers = tuple(
        Answer(
            r.arm,
            r.score.value == 1,
            printable(r.score.answer or "none found"),
            printable(r.score.why),
            r.trace.error or r.trace.stop,
            tuple(laid_out(trace_pieces(r.trace))),
        )
        for r in records
    )
    question, reference = printable(first.question), printable(first.reference)
    return Sample(key, first.level, question, reference, kind, answers, link(key, *(r.arm for r in records[:2])))
