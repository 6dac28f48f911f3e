"""Episodes as tokens, and tokens as episodes. Law: what training shows of an episode is what decoding showed of it."""

from collections.abc import Sequence
from dataclasses import replace

from thinktwice.errors import DataError
from thinktwice.methods.react.episode import ANSWER, Episode, Turn
from thinktwice.methods.react.grammar import Grammar
from thinktwice.methods.react.observation import ERROR
from thinktwice.types import Step, StepKind, Trace


def read_episode(trace: Trace, grammar: Grammar) -> Episode:
    """Read an episode back from its trace. What was cut in the middle of a turn is no turn.

    An answer that was asked for counts as far as it was written.
    """
    turns: list[Turn] = []
    thought: list[int] = []
    action: list[int] = []
    asked: list[int] = []  # the beginning of an answer that the model did not write
    answer: list[int] = []
    tokens = 0
    for step in trace.steps:
        tokens += len(step.token_ids) * step.sampled
        if not step.kept:
            continue
        if step.kind == "observation":
            turns.append(_turn((*thought, *action), grammar, step, tokens))
            thought, action, tokens = [], [], 0
        elif step.kind == "answer":
            (answer if step.sampled or answer else asked).extend(step.token_ids)
        else:
            (action if step.kind == "action" else thought).extend(step.token_ids)
    if not any(step.sampled for step in trace.steps):  # written by nobody: nothing was asked for either
        answer, asked = asked, []
    if asked or answer:
        said = _answer((*thought, *asked, *answer), grammar)
        if said is None and asked and answer:
            said = Turn("", ANSWER, grammar.render.text([i for i in answer if i != grammar.render.end_id]).strip())
        if said is not None:
            turns.append(replace(said, tokens=tokens))
            return Episode(trace.problem_id, tuple(turns), said.argument, forced=bool(asked))
    return Episode(trace.problem_id, tuple(turns), None, forced=bool(asked))


def render_episode(episode: Episode, grammar: Grammar) -> tuple[Step, ...]:
    """Write an episode as steps after its prompt; `Step.sampled` says what is learned: thoughts, actions, the stop.

    Observations are seen, and so is the beginning of an answer that was asked for.

    Raises:
        DataError: a turn has no action: what was written there is known to its trace alone.
    """
    steps: list[Step] = []
    for index, turn in enumerate(episode.turns):
        if not turn.tool:
            raise DataError(
                f"turn {index + 1} of {episode.problem_id} has no action that could be written. Learn from its trace, "
                "or leave it out (filters.clean)."
            )
        ids = grammar.act(turn.thought, turn.tool, turn.argument)
        if turn.tool != ANSWER:
            found = grammar.read(ids)
            place = found.action if found is not None else 0
            steps += _steps(grammar, ("text", ids[:place], True), ("action", ids[place:], True))
            (seen,) = _steps(grammar, ("observation", grammar.observe(turn.observation), False))
            steps.append(replace(seen, sources=turn.sources))
            continue
        stop = () if ids[-1] == grammar.render.end_id else (grammar.render.end_id,)
        if episode.forced:
            rest = grammar.finish(turn.argument)
            stop = () if rest[-1] == grammar.render.end_id else stop
            steps += _steps(grammar, ("answer", grammar.force(), False), ("answer", (*rest, *stop), True))
        else:
            found = grammar.read([i for i in ids if i != grammar.render.end_id], ended=True)
            place = found.action if found is not None else 0
            steps += _steps(grammar, ("text", ids[:place], True), ("answer", (*ids[place:], *stop), True))
    return tuple(steps)


def with_stop(trace: Trace, grammar: Grammar) -> Trace:
    """Let a trace whose answer the decoder ended end with the token that a model would stop with, to be learned."""
    last = trace.steps[-1] if trace.steps else None
    end = grammar.render.end_id
    if last is None or last.kind != "answer" or not last.kept or last.token_ids[-1:] == (end,):
        return trace
    logprobs = (*last.logprobs, 0.0) if last.logprobs else ()
    return replace(trace, steps=(*trace.steps[:-1], replace(last, token_ids=(*last.token_ids, end), logprobs=logprobs)))


def _steps(grammar: Grammar, *parts: tuple[StepKind, Sequence[int], bool]) -> list[Step]:
    return [Step(kind, grammar.render.text(ids), tuple(ids), learned) for kind, ids, learned in parts if ids]


def _turn(ids: Sequence[int], grammar: Grammar, seen: Step, tokens: int) -> Turn:
    found = grammar.read(ids) or grammar.read(ids, ended=True)
    assert found is not None  # what has ended is an action or an error
    observation = grammar.observed(seen.text)
    # What a page says is no complaint of ours: a complaint has no sources.
    refused = observation.removeprefix(ERROR) if observation.startswith(ERROR) and not seen.sources else ""
    return Turn(found.thought, found.tool, found.argument, observation, seen.sources, tokens, found.error or refused)


def _answer(ids: Sequence[int], grammar: Grammar) -> Turn | None:
    """Read a final answer; None where none was finished."""
    found = grammar.read([i for i in ids if i != grammar.render.end_id], ended=True)
    if found is None or found.tool != ANSWER:
        return None
    return Turn(found.thought, ANSWER, found.argument)
