"""Who writes episodes to learn from: the script, a model here, or a model on a server."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinktwice.config import to_dict
from thinktwice.decode.stops import to_text_of
from thinktwice.engines.base import Engine, ReadingEngine
from thinktwice.engines.http import Client, Endpoint, HttpEngine
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.methods.react.episode import ANSWER, SEARCH, Episode
from thinktwice.methods.react.grammar import Grammar
from thinktwice.methods.react.guard import Guard
from thinktwice.methods.react.pairs import Place, Written
from thinktwice.methods.react.play import play, step
from thinktwice.methods.react.store import Key, short
from thinktwice.methods.react.teacher import Teacher, next_turn
from thinktwice.methods.react.written import read_episode
from thinktwice.tools import Retriever
from thinktwice.types import Problem, Sampling, Trace

SCRIPT = 1
"""Version of the scripted teacher: another one writes other episodes."""
ROOM = 1_000_000
"""Tokens that a script may have: it ends by itself."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How an episode goes; the arguments of `play`."""

    k: int = 3
    max_turns: int = 8
    observation_tokens: int = 256
    repairs: int = 1
    tools: tuple[str, ...] = (SEARCH,)
    guard: Guard = field(default_factory=Guard)


@dataclass(frozen=True)
class ModelPlayer:
    """A model that plays. Law: an episode depends on its key alone."""

    engine: Engine
    policy: str
    """Names the weights."""
    grammar: Grammar
    retriever: Retriever
    rules: Rules
    sampling: Sampling

    def key(self, problem: Problem, sample: int) -> Key:
        """Return what decides an episode."""
        decoding = short({"rules": to_dict(self.rules), "sampling": to_dict(self.sampling)})
        prompt = short(list(self.prompt(problem)))
        return Key(problem.id, self.policy, self.retriever.corpus, prompt, decoding, sample)

    def prompt(self, problem: Problem) -> tuple[int, ...]:
        """Return what the model is shown."""
        return self.grammar.prompt(problem.prompt)

    def play(self, problems: Sequence[Problem], sample: int) -> list[Trace]:
        """Play one episode for each problem."""
        return self._play(problems, self.engine, [problem.key + sample for problem in problems])

    def read(self, trace: Trace) -> Episode:
        """Read an episode back."""
        return read_episode(trace, self.grammar)

    def siblings(self, places: Sequence[Place], count: int) -> list[list[Written]]:
        """Sample `count` steps at each place, from the very ids that stood before it."""
        contexts = [place.state for place in places for _ in range(count)]
        keys = [
            place.problem.key + 1000 * (len(place.before) + 1) + index for place in places for index in range(count)
        ]
        end = self.grammar.render.end_id
        written = []
        for ids, turn in step(contexts, self.engine, self.sampling, self.grammar, keys):
            stop = (end,) if turn.tool == ANSWER and ids[-1:] != (end,) else ()
            written.append(Written(turn, (*ids, *stop)))
        return [written[at : at + count] for at in range(0, len(written), count)]

    def _play(self, problems: Sequence[Problem], engine: Engine, keys: Sequence[int]) -> list[Trace]:
        rules = self.rules
        return play(
            problems,
            engine,
            self.grammar.render,
            self.sampling,
            grammar=self.grammar,
            retriever=self.retriever,
            k=rules.k,
            max_turns=rules.max_turns,
            observation_tokens=rules.observation_tokens,
            repairs=rules.repairs,
            tools=rules.tools,
            guard=rules.guard,
            keys=keys,
        )


@dataclass(frozen=True)
class ScriptPlayer(ModelPlayer):
    """The scripted teacher, drawing its plan token by token, so that its searches are really carried out."""

    script: Teacher = field(default_factory=Teacher)
    seed: int = 0

    def play(self, problems: Sequence[Problem], sample: int) -> list[Trace]:
        """Play what was planned."""
        plans = {self.prompt(p): self._plan(p, sample) for p in problems}
        engine = ScriptedEngine(lambda prompt: plans[tuple(prompt)], eos_ids=(self.grammar.render.end_id,))
        return self._play(problems, engine, [p.key for p in problems])

    def _plan(self, problem: Problem, sample: int) -> tuple[int, ...]:
        turns = self.script.plan(problem, self.retriever, self.seed, sample)
        return tuple(i for turn in turns for i in self.grammar.act(turn.thought, turn.tool, turn.argument))


def script_player(
    script: Teacher, grammar: Grammar, retriever: Retriever, rules: Rules, seed: int, engine: Engine | None = None
) -> ScriptPlayer:
    """Return the scripted teacher; what it plans depends on `script` and seed, and is part of its policy."""
    policy = f"script {short({'script': to_dict(script), 'seed': seed, 'version': SCRIPT})}"
    drawn = Sampling(max_new_tokens=ROOM)
    return ScriptPlayer(engine or ScriptedEngine([]), policy, grammar, retriever, rules, drawn, script, seed)


def policy_of(engine: Engine, grammar: Grammar) -> str:
    """Name the weights of an engine: by their hash where it can be had, else as the engine calls itself."""
    if isinstance(engine, ReadingEngine):
        return engine.fingerprint(grammar.prompt("Who?"))
    return engine.name


@contextmanager
def served(endpoint: Endpoint, grammar: Grammar, cache: Path) -> Iterator[tuple[Engine, str]]:
    """Lend an engine on a server whose model has the grammar's tokenizer, and name its policy.

    Raises:
        EngineError: the server cannot be used.
    """
    tokenizer: Any = grammar.render.tokenizer
    with Client(endpoint, cache) as client:
        engine = HttpEngine(client, eos_ids=(grammar.render.end_id,), to_text=to_text_of(tokenizer))
        yield engine, f"{endpoint.model} {endpoint.revision}".strip()


def teach(place: Place, grammar: Grammar) -> Written | None:
    """Return the scripted teacher's step at a place; None where the problem does not say which pages it needs."""
    if not place.problem.support:
        return None
    turn = next_turn(place.problem, place.seen)
    ids = grammar.act(turn.thought, turn.tool, turn.argument)
    end = grammar.render.end_id
    return Written(turn, (*ids, end) if turn.tool == ANSWER and ids[-1] != end else ids)
