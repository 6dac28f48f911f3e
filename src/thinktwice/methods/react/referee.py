"""Carries actions out in the middle of decoding, and says afterwards what each token of a row was."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thinktwice.methods.react.episode import ANSWER, SEARCH, Turn
from thinktwice.methods.react.grammar import Grammar, Reading
from thinktwice.methods.react.guard import WARNINGS, Guard
from thinktwice.methods.react.observation import ERROR, Desk, Found, counter, show, then
from thinktwice.render import Render
from thinktwice.types import Append, Completion, Edit, Rewind, RowView, Step, StepKind, Stop, Trace, Wait


@dataclass(frozen=True, slots=True)
class Limits:
    """What an episode may do."""

    max_turns: int
    repairs: int
    observation_tokens: int
    tools: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Insertion:
    """What was inserted after an action, and where the action begins."""

    action: int
    """Among the tokens written since the insertion before."""
    rest: int
    """Tokens that end the action in place of one that was rejected."""
    observation: int
    opening: int
    """Tokens that begin a final answer."""


@dataclass(frozen=True, slots=True)
class Past:
    """An episode up to an observation."""

    turns: tuple[Turn, ...] = ()
    forced: bool = False
    """Whether the answer was asked for."""
    last: Insertion | None = None

    @property
    def actions(self) -> int:
        """Turns whose action could be read."""
        return sum(turn.tool != "" for turn in self.turns)


class Referee:
    """The control that carries actions out.

    What it knows of a row it finds by the row's visible ids up to the last insertion, so that the same row and token
    give the same edit, whatever else it was asked before.
    """

    def __init__(
        self, grammar: Grammar, desk: Desk, limits: Limits, guard: Guard, eos_ids: Collection[int] = ()
    ) -> None:
        self.grammar, self.desk, self.limits, self.guard = grammar, desk, limits, guard
        self.ends = frozenset((grammar.render.end_id, *eos_ids))
        self.watch = grammar.watch | self.ends
        self.opening: tuple[int, ...] = grammar.force() if limits.max_turns == 0 else ()
        """The beginning of an answer that is asked for at once, part of the prompt."""
        self._force = grammar.force()
        self._count = counter(grammar.render)
        self._past: dict[bytes, Past] = {}

    def edit(self, row: RowView, drawn: int) -> Edit | None:
        """Carry out an action that the token just drawn ends."""
        if drawn not in self.watch:
            return None
        past = self.past(row.token_ids[: row.inserted_to])
        ended = drawn in self.ends
        written = tuple(row.token_ids[row.begun :])
        found = self._read(past, written if ended else (*written, drawn), ended=ended)
        if found is None:
            return None
        if past.forced or found.tool == ANSWER:
            return Stop()  # what the last token spells beyond the answer matters to nobody
        repeats = self.guard.before(past.turns, found.argument) if found.tool == SEARCH else ""
        if repeats and self.guard.mode == "ban" and row.edits < self.guard.most:
            return Rewind(len(written) + 1 - found.query, ban=((*written, drawn)[found.query],))
        # The end token stands before no observation, and what a token spells beyond the action is no part of it.
        reject = ended or bool(found.tail)
        rest = beginning(self.grammar.render, (*written, drawn), found.tail) if found.tail else ()
        visible = (*row.token_ids, *(() if reject else (drawn,)))

        def insert(result: Found) -> tuple[int, ...]:
            return self._insert(past, found, repeats, result, rest, visible)

        complaint = self._complaint(found)
        if complaint:
            return Append(insert(Found((), f"{ERROR}{complaint}")), reject)
        result = self.desk.call(found.tool, found.argument)
        if result.done() and not result.cancelled() and result.exception() is None:
            return Append(insert(result.result()), reject)
        return Wait(then(result, insert), reject)

    def past(self, ids: Sequence[int]) -> Past:
        """Return what happened up to an insertion, whose end is the end of the ids."""
        return self._past[_digest(ids)] if ids else Past(forced=bool(self.opening))

    def trace(self, problem_id: str, prompt: Sequence[int], completion: Completion, render: Render) -> Trace:
        """Turn what an engine wrote into a trace: thoughts, actions, observations, the answer."""
        kinds, sources = self._kinds(prompt, completion)
        # What a row wrote before its tool failed is part of what happened.
        written = replace(completion, stop="done") if completion.token_ids else completion
        trace = render.trace(problem_id, written, kinds=kinds)
        shown = iter(sources)
        steps = [replace(s, sources=next(shown)) if s.kind == "observation" else s for s in trace.steps]
        if self.opening:
            steps.insert(0, Step("answer", render.text(self.opening), self.opening, sampled=False))
        return replace(trace, steps=tuple(steps), stop=completion.stop, error=completion.error)

    def _read(self, past: Past, ids: Sequence[int], *, ended: bool) -> Reading | None:
        """Read a turn; one whose beginning was inserted, with it."""
        return self.grammar.read((*self._force, *ids) if past.forced else ids, ended=ended)

    def _complaint(self, found: Reading) -> str:
        if found.error or not found.tool:
            return found.error or "the action names no tool."
        if found.tool not in self.limits.tools:
            names = ", ".join(name for tool, name in self.grammar.names.items() if tool in self.limits.tools)
            return f"there is no tool {found.tool!r}. There is: {names}."
        return "" if found.argument else "nothing stands where the words should be."

    def _insert(
        self,
        past: Past,
        found: Reading,
        repeats: str,
        result: Found,
        rest: tuple[int, ...],
        visible: tuple[int, ...],
    ) -> tuple[int, ...]:
        """Write an observation, remember the turn, and ask for the answer where it is time."""
        render, guard = self.grammar.render, self.guard
        kind = repeats
        if not kind and found.tool == SEARCH:
            kind = guard.after(past.turns, [passage.title for passage in result.passages])
        # A ban gives way in the end; then it warns.
        note = WARNINGS[kind] if kind and guard.mode in ("warn", "ban") else ""
        text, sources = show(result, self.limits.observation_tokens, render, note, self._count)
        error = text.removeprefix(ERROR) if result.message.startswith(ERROR) else ""
        turn = Turn(found.thought, found.tool, found.argument, text, sources, error=error)
        turns = (*past.turns, turn)
        actions = sum(turn.tool != "" for turn in turns)
        forced = actions >= self.limits.max_turns or len(turns) - actions > self.limits.repairs
        forced = forced or bool(kind and guard.mode == "stop")
        observation, opening = self.grammar.observe(text), self._force if forced else ()
        inserted = (*rest, *observation, *opening)
        parts = Insertion(found.action, len(rest), len(observation), len(opening))
        self._past[_digest((*visible, *inserted))] = Past(turns, forced, parts)
        return inserted

    def _kinds(
        self, prompt: Sequence[int], completion: Completion
    ) -> tuple[list[tuple[StepKind, int]], list[tuple[str, ...]]]:
        """Return what every token of a log is, with the number of its turn, and the sources of its observations."""
        ids, fates = completion.token_ids, completion.fates
        rewinds = [(at, rewind.n) for at, rewind in completion.rewinds]
        kinds: list[tuple[StepKind, int]] = [("text", 0)] * len(ids)
        sources: list[tuple[str, ...]] = []
        visible = [*prompt]
        written: list[int] = []  # where in the log the visible tokens of this turn stand
        past, place = Past(forced=bool(self.opening)), 0
        while place < len(ids):
            turn = len(past.turns)
            if fates[place] == "inserted":
                end = place
                while end < len(ids) and fates[end] == "inserted":
                    end += 1
                visible += ids[place:end]
                past = self._past[_digest(visible)]
                assert past.last is not None
                for index in written[past.last.action :]:
                    kinds[index] = ("action", turn)
                marks: list[tuple[StepKind, int, int]] = [
                    ("action", turn, past.last.rest),
                    ("observation", turn, past.last.observation),
                    ("answer", turn + 1, past.last.opening),
                ]
                kinds[place:end] = [(kind, number) for kind, number, count in marks for _ in range(count)]
                sources.append(past.turns[-1].sources)
                written, place = [], end
                continue
            kinds[place] = ("text", turn)
            if fates[place] != "rejected":
                visible.append(ids[place])
                written.append(place)
            place += 1
            while rewinds and rewinds[0][0] == place:
                count = rewinds.pop(0)[1]
                del visible[len(visible) - count :], written[len(written) - count :]
        own = tuple(ids[index] for index in written)
        ended = bool(own) and own[-1] in self.ends
        found = self._read(past, own[:-1] if ended else own, ended=ended)
        answered = 0 if past.forced else found.action if found is not None and found.tool == ANSWER else len(own)
        for index in written[answered:]:
            kinds[index] = ("answer", len(past.turns))
        return kinds, sources


def beginning(render: Render, ids: Sequence[int], tail: str) -> tuple[int, ...]:
    """Return ids that spell the last of some ids but for its tail."""
    text = render.text(ids[-1:]).removesuffix(tail)
    alone = render.tokenizer.convert_tokens_to_ids(text)  # without the space that encoders put before a first word
    if alone is not None and alone != render.tokenizer.unk_token_id and render.text((alone,)) == text:
        return (alone,)
    return render.encode(text)


def _digest(ids: Sequence[int]) -> bytes:
    return hashlib.sha256(np.asarray(ids, np.int64).tobytes()).digest()
