"""Episodes: thought, action, observation, until the answer. Law: an episode depends on its problem and sample alone.

Not on the questions beside it, nor on how many are in flight, nor on how slow a tool is. An episode is one row of the
decoding loop: when an action's last token is drawn, `Referee` carries it out and inserts the observation, and the row
goes on; others go on meanwhile, and a row that ends leaves its place to the next question.

| what happens | what follows |
|---|---|
| an action | its observation; after `max_turns` of them also the beginning of an answer |
| an unknown tool, an empty search | an observation that says so; it counts as an action |
| no action can be read | an observation that says what is wrong; after `repairs` of them the beginning of an answer |
| the last token spells more than the action | it is rejected, and what its beginning spells is inserted |
| a tool fails | the episode ends with "error" |
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from thinktwice.decode.undo import NoUndo
from thinktwice.engines.base import Engine, LogitsRule
from thinktwice.errors import ConfigError
from thinktwice.methods.react.episode import OPEN, SEARCH, Turn
from thinktwice.methods.react.grammar import Grammar, Reading
from thinktwice.methods.react.guard import Guard
from thinktwice.methods.react.observation import Desk
from thinktwice.methods.react.referee import Limits, Referee, beginning
from thinktwice.render import Render
from thinktwice.tools import Retriever
from thinktwice.types import Edit, Problem, RowView, Sampling, Stop, Trace

LEAST = 8
"""Fewest tokens that an observation can say anything in."""
THREADS = 32
"""Calls of a slow tool at a time."""


def play(
    problems: Sequence[Problem],
    engine: Engine,
    render: Render,
    sampling: Sampling,
    *,
    grammar: Grammar,
    retriever: Retriever,
    k: int = 3,
    max_turns: int = 8,
    observation_tokens: int = 256,
    repairs: int = 1,
    tools: Sequence[str] = (SEARCH, OPEN),
    guard: Guard = Guard(),  # noqa: B008
    slow: bool | None = None,
    rules: Sequence[LogitsRule] = (),
    keys: Sequence[int] | None = None,
) -> list[Trace]:
    """Play one episode for each problem; return their traces, in order. `written.read_episode` reads one back.

    Args:
        problems: the questions.
        engine: who writes; `max_new_tokens` of `sampling` is the budget of a whole episode, observations not counted.
        render: the model's.
        sampling: how tokens are drawn.
        grammar: how turns are written (`grammar.build_grammar`).
        retriever: what is searched; each call is made once, whoever makes it.
        k: passages that a search shows.
        max_turns: actions that are carried out before the answer is asked for; 0: it is asked for at once.
        observation_tokens: longest observation, without what frames it.
        repairs: actions that cannot be read, and are answered by saying what is wrong with them.
        tools: what may be called.
        guard: what is done about searches that repeat.
        slow: whether calls are made in threads while other rows go on; None: what the retriever says of itself (an
            attribute `slow`), else False, which is faster for a corpus on this machine.
        rules: more that changes which token comes next.
        keys: names of the random streams; default: the problems'. Samples of one problem need different ones.

    Raises:
        ConfigError: impossible numbers, or a tool that there is not.
    """
    if max_turns < 0 or repairs < 0 or k < 1 or observation_tokens < LEAST:
        raise ConfigError(
            f"max_turns={max_turns} and repairs={repairs} must be 0 or more, k={k} at least 1 and "
            f"observation_tokens={observation_tokens} at least {LEAST}."
        )
    unknown = [tool for tool in tools if tool not in (SEARCH, OPEN)]
    if unknown:
        raise ConfigError(f"there is no tool {unknown[0]!r}; there are {SEARCH!r} and {OPEN!r}.")
    if slow is None:
        slow = bool(getattr(retriever, "slow", False))
    pool = ThreadPoolExecutor(THREADS, "tool") if slow else None
    try:
        limits = Limits(max_turns, repairs, observation_tokens, tuple(tools))
        referee = Referee(grammar, Desk(retriever, k, pool), limits, guard, getattr(engine, "eos_ids", ()))
        prompts = [(*grammar.prompt(problem.prompt), *referee.opening) for problem in problems]
        done = engine.generate(
            prompts,
            sampling,
            controls=(referee,),
            rules=(*rules, *map(NoUndo, grammar.silenced)),
            keys=[problem.key for problem in problems] if keys is None else keys,
        )
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return [
        replace(referee.trace(problem.id, prompt, completion, render), corpus=retriever.corpus)
        for problem, prompt, completion in zip(problems, prompts, done, strict=True)
    ]


def step(
    contexts: Sequence[Sequence[int]],
    engine: Engine,
    sampling: Sampling,
    grammar: Grammar,
    keys: Sequence[int],
    rules: Sequence[LogitsRule] = (),
) -> list[tuple[tuple[int, ...], Turn]]:
    """Write one turn after each context (prompt and whole turns); return its ids, up to the action's end, and itself.

    Nothing is carried out. A turn in which no action could be read has no tool, and says what is wrong.
    """
    end = _End(grammar, frozenset((grammar.render.end_id, *getattr(engine, "eos_ids", ()))))
    rules = (*rules, *map(NoUndo, grammar.silenced))
    written = []
    for completion in engine.generate(contexts, sampling, controls=(end,), rules=rules, keys=keys):
        ids = completion.kept_ids
        ended = bool(ids) and ids[-1] in end.ends
        found = grammar.read(ids[:-1] if ended else ids, ended=ended) or Reading("", "", "", "it was cut off.")
        if found.tail:
            ids = (*ids[:-1], *beginning(grammar.render, ids, found.tail))
        sampled = len(completion.token_ids)
        written.append((ids, Turn(found.thought, found.tool, found.argument, tokens=sampled, error=found.error)))
    return written


@dataclass(frozen=True, slots=True)
class _End:
    """Ends a row with its first action."""

    grammar: Grammar
    ends: frozenset[int]

    @property
    def watch(self) -> frozenset[int]:
        return self.grammar.watch | self.ends

    def edit(self, row: RowView, drawn: int) -> Edit | None:
        if drawn in self.ends:
            return Stop()
        written = (*row.token_ids[row.prompt_length :], drawn)
        return Stop() if drawn in self.watch and self.grammar.read(written) is not None else None
