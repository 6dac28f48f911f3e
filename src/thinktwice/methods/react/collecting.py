"""What a `React` method learns from: kept episodes, or preferences found in episodes. Law: everything is counted.

`React.counts` is a file that tells where every episode went, which faults gave pairs, and what a limit cut.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from thinktwice.config import parse, to_dict
from thinktwice.engines.base import Engine
from thinktwice.engines.http import Endpoint
from thinktwice.errors import DataError
from thinktwice.methods.react.araft import FIRST_REJECTED
from thinktwice.methods.react.budget import Budget
from thinktwice.methods.react.distil import Distilled, Summary, Told, distil
from thinktwice.methods.react.grammar import Grammar
from thinktwice.methods.react.pairs import KINDS, Mined, Yield, faults, mine, previous_steps, to_trace
from thinktwice.methods.react.players import ModelPlayer, policy_of, script_player, served, teach
from thinktwice.methods.react.rows import examples
from thinktwice.methods.react.store import Store
from thinktwice.methods.react.written import with_stop
from thinktwice.records import Finding
from thinktwice.render import Render
from thinktwice.run.files import read_json, write_json
from thinktwice.types import Problem, Sampling, Trace

if TYPE_CHECKING:
    from thinktwice.methods.react import React

log = logging.getLogger(__name__)

COUNTS = "collected.json"


@dataclass(frozen=True)
class Collected:
    """The counts of one collection."""

    taught: Summary | None = None
    """The teacher's episodes, where they were asked for."""
    played: Summary | None = None
    """The student's own."""
    mined: Yield | None = None
    pairs: dict[str, int] = field(default_factory=dict)
    """Kind -> pairs."""
    budget: Budget | None = None
    """Rows that are learned from, and what a limit cuts of them."""

    def __str__(self) -> str:
        """Tell it."""
        parts = [f"teacher: {self.taught}" if self.taught else "", f"student: {self.played}" if self.played else ""]
        parts += [str(self.mined) if self.mined else "", str(self.budget) if self.budget else ""]
        return "\n".join(filter(None, parts))


def collect(
    method: "React", problems: Sequence[Problem], engine: Engine | None, render: Render, seed: int
) -> list[Trace]:
    """Return kept episodes, or pairs, as traces.

    Raises:
        DataError: nothing was kept, or a row is longer than the method allows.
    """
    with ExitStack() as until:
        store = _store(method, until)
        grammar = method.written_in(render)
        if method.objective == "sft":
            taught = teacher_episodes(method, problems, engine, render, seed, store, until)
            if not taught.kept:
                raise DataError(f"no episode was good enough to learn from.\n{taught.summary}")
            counts = Collected(taught=taught.summary)
            traces = [with_stop(one.attempt.trace, grammar) for one in taught.kept]
        else:
            traces, counts = _preferences(method, problems, engine, render, seed, store, until)
        prompts = _prompts(grammar, problems, traces)
        counts = replace(counts, budget=examples(traces, prompts, method.layout)[1])
        for line in str(counts).splitlines():
            log.info(line)
        if method.counts is not None:
            Path(method.counts).parent.mkdir(parents=True, exist_ok=True)
            write_json(Path(method.counts), to_dict(counts))
    return traces


def teacher_episodes(
    method: "React",
    problems: Sequence[Problem],
    engine: Engine | None,
    render: Render,
    seed: int,
    store: Store,
    until: ExitStack,
    *,
    listener: Any = None,
) -> Distilled:
    """Have the teacher answer, and choose among its episodes.

    Raises:
        DataError: the teacher is a model, and there is none.
    """
    if method.teacher == "scripted":
        grammar = method.written_in(render, shots=0)
        player: ModelPlayer = script_player(method.script, grammar, method.retriever, method.rules, seed)
    else:
        grammar = method.written_in(render, shots=method.teacher_shots)
        if isinstance(method.teacher, Endpoint):
            cache = store.path.with_name("replies.sqlite")
            engine, policy = until.enter_context(served(method.teacher, grammar, cache))
        elif engine is None:
            raise DataError("method.teacher=model needs a model; give one, or set method.teacher=scripted.")
        else:
            policy = policy_of(engine, grammar)
        player = ModelPlayer(engine, policy, grammar, method.retriever, method.rules, _sampling(method, seed))
    return distil(problems, player, store, method.filters, method.work, listener=listener)


def _preferences(
    method: "React",
    problems: Sequence[Problem],
    engine: Engine | None,
    render: Render,
    seed: int,
    store: Store,
    until: ExitStack,
) -> tuple[list[Trace], Collected]:
    found: list[Mined] = []
    counts = Collected()
    kinds = [kind for kind in KINDS if kind in method.pairs or "mined" in method.pairs]
    if kinds:
        if engine is None:
            raise DataError("preferences are mined from a model's own episodes; name an arm to start from (start:).")
        grammar = method.written_in(render)
        rules, sampling = method.rules, _sampling(method, seed)
        student = ModelPlayer(engine, policy_of(engine, grammar), grammar, method.retriever, rules, sampling)
        filters, work = replace(method.filters, per_question=0), replace(method.work, quantity=None)
        played = distil(problems, student, store, filters, work)
        wrong = [fault for one in played.told for fault in faults(_stopped(one, grammar), kinds)]
        own = (lambda places: student.siblings(places, method.siblings)) if method.siblings else None
        taught = (lambda place: teach(place, grammar)) if method.taught else None
        found, mined = mine(wrong, own, taught, method.retriever, method.k)
        counts = replace(counts, played=played.summary, mined=mined)
    if "araft" in method.pairs:
        grammar = method.written_in(render)
        right = teacher_episodes(method, problems, engine, render, seed, store, until)
        found += previous_steps([_stopped(one, grammar) for one in right.kept], constant(render))
        counts = replace(counts, taught=right.summary)
    if not found:
        raise DataError(f"there is no pair of steps to learn from.\n{counts}")
    counts = replace(counts, pairs=dict(sorted(Counter(one.kind for one in found).items())))
    return [to_trace(one, render) for one in found], counts


def constant(render: Render) -> tuple[int, ...]:
    """Return the ids of the sentence that araft rejects at a first step."""
    return (*render.encode(FIRST_REJECTED), render.end_id)


def learned_from(weights: Path) -> tuple[Finding, ...]:
    """Return as a table what an arm of a run was trained on; nothing where its weights are another's or nobody's."""
    stage = weights.parent
    path = stage.with_name(stage.name.replace("train-", "collect-", 1)) / "fitted" / COUNTS
    if weights.name != "model" or not path.is_file():
        return ()
    counts = parse(Collected, read_json(path), COUNTS)
    rows: list[tuple[str, str]] = []
    for who, summary in (("teacher's", counts.taught), ("student's", counts.played)):
        if summary is not None:
            rows += [(f"the {who} episodes", str(summary.episodes)), ("kept", str(summary.kept))]
            rows += [(f"dropped: {reason}", str(count)) for reason, count in summary.dropped.items()]
    if counts.mined is not None:
        for kind, count in counts.mined.faults.items():
            own, taught = counts.mined.own.get(kind, 0), counts.mined.taught.get(kind, 0)
            rows.append((f"steps that went wrong: {kind}", f"{count} ({own} pairs with its own step, {taught} taught)"))
    rows += [(f"pairs: {kind}", str(count)) for kind, count in counts.pairs.items()]
    if counts.budget is not None:
        budget = counts.budget
        rows += [
            ("rows", str(budget.rows)),
            ("length in tokens", f"median {budget.p50}, 95 % {budget.p95}, longest {budget.longest}"),
        ]
        if budget.max_length is not None:
            rows += [
                (f"rows longer than {budget.max_length}", str(budget.over)),
                ("actions that the limit takes away", f"{budget.lost} of {budget.turns}"),
                ("actions that lose their end", str(budget.cut)),
            ]
    note = "Episodes in = kept + dropped, by the first reason. A limit takes from the end of a row."
    return (Finding("What it learned from", ("", ""), tuple(rows), note),)


def _stopped(told: Told, grammar: Grammar) -> Told:
    """Let an answer end with the token that a model stops with, as it is learned."""
    return replace(told, attempt=replace(told.attempt, trace=with_stop(told.attempt.trace, grammar)))


def _sampling(method: "React", seed: int) -> Sampling:
    return Sampling(temperature=method.temperature, max_new_tokens=method.max_new_tokens, seed=seed)


def _prompts(grammar: Grammar, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[tuple[int, ...]]:
    asked = {problem.id: problem.prompt for problem in problems}
    return [grammar.prompt(asked[trace.problem_id]) for trace in traces]


def _store(method: "React", until: ExitStack) -> Store:
    """Open the method's store, or one that goes when the work is done."""
    path = method.store or f"{until.enter_context(TemporaryDirectory())}/episodes.sqlite"
    return until.enter_context(Store(Path(path)))
