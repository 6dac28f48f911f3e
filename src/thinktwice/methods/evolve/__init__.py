"""Iterated self-critique: answer, say what is wrong with it, learn from what was said, and round again.

Source: seed 004 (ELITE / LaFFi, arXiv 2401.00907; IRLL/LLM_self_improvement). Differences that matter: feedback is
what the loss sees, where the public trainer learned its own prompts; votes count verdicts; chosen examples reach the
prompt; every round is scored after its training, and a round that does harm is rolled back. What the public code does
is an option each: `objectives.prompt`, `vote=medoid`, `weights=ties`, `guards.on=false`.

The rounds themselves are in `pipeline.rounds`; here is what happens in each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from thinktwice.decode.undo import NoUndo
from thinktwice.decode.walk import CORRECT, CRITIQUE, INCORRECT, TOKENS
from thinktwice.engines.base import Engine
from thinktwice.engines.http.endpoint import Endpoint
from thinktwice.errors import ConfigError
from thinktwice.methods.evolve import critics, learning, mending
from thinktwice.methods.evolve.feedback import Wording
from thinktwice.methods.evolve.guards import Guards
from thinktwice.methods.evolve.learning import Accept, Objectives
from thinktwice.methods.evolve.prompts import Shot, answer_text
from thinktwice.methods.evolve.rows import Attempt, Critique
from thinktwice.methods.evolve.warm import Warm, warm_traces
from thinktwice.records import Finding, TraceRecord
from thinktwice.render import Render
from thinktwice.types import ControlToken, Example, Problem, Sampling, Task, Trace

__all__ = ["SOURCES", "Evolve", "Guards", "Objectives", "Warm"]

Source = Literal[
    "self", "frozen", "ema", "engine", "human", "verifier", "oracle", "shuffled", "generic", "none"
]  # fmt: skip
SOURCES: tuple[Source, ...] = (
    "self", "frozen", "ema", "engine", "human", "verifier", "oracle", "shuffled", "generic", "none"
)  # fmt: skip
MODELS = ("self", "frozen", "ema", "engine", "shuffled", "generic")
"""Sources in which a model writes the feedback."""


@dataclass(frozen=True)
class Evolve:
    """Answer, criticise, vote, learn, measure; `rounds` times.

    Example:
        >>> method = Evolve(rounds=4, samples=4, critiques=3)
        >>> upper_bound = replace(method, source="oracle", gold_visible="critic")
        >>> placebo = replace(method, source="shuffled")
    """

    rounds: int = 4
    """0: the warm start alone, or nothing."""
    problems: int = 200
    """Training problems answered in a round, other ones in each; their answers are not looked at."""
    levels: tuple[int, ...] = ()
    """Difficulties of the rounds' problems; empty: all."""
    samples: int = 4
    """Answers a problem."""
    temperature: float = 0.7
    """Of the answers, and of critiques where there are several."""
    critiques: int = 1
    """Feedback samples an answer (the public code: 3, 5 or 1)."""
    source: Source = "self"
    """Who says what is wrong. self: the model that answered; frozen: the one that the rounds began with; ema: a moving
    average of the rounds; engine: `critic`; human: `reviewed`; verifier: `verifier`; oracle: the task; shuffled: self,
    each given to another answer; generic: self's verdict without a word about this answer; none: nobody."""
    mix: dict[str, float] = field(default_factory=dict)
    """Shares of several sources, in place of `source`: {human: 0.3, self: 0.7}."""
    critic: str = ""
    """source=engine: a model directory or a hub id."""
    server: Endpoint | None = None
    """source=engine: an OpenAI-compatible server, in place of `critic`: {model: ..., base_url: ...}."""
    reviewed: str = ""
    """source=human: the file that `thinktwice review` writes."""
    verifier: str = ""
    """source=verifier: `path/to/file.py:function`, called with a problem (without its answer) and an answer's text;
    it returns feedback, or a text that is read as feedback."""
    ema: float = 0.5
    """source=ema: how much of the average of the earlier rounds is kept."""
    vote: Literal["verdict", "medoid", "first"] = "verdict"
    """How several critiques become one; medoid: the public code's."""
    content: bool = True
    """Whether more of the feedback is used than its verdict: learned, and answers mended with it."""
    mend: Literal["none", "resume", "rewrite"] = "none"
    """What is done with answers that feedback finds wrong. resume: keep the lines before the first wrong one, put
    in the line that should stand there, and go on; rewrite: ask for a better answer with the feedback in the prompt."""
    accept: Accept = "verdict"
    """Which answers are learned; see `learning.accepted`."""
    per_problem: int = 2
    """The most answers of one problem that are learned."""
    feedback_rows: float = 1.0
    """Where answers are learned, too: the most feedback that is learned for each of them, or feedback, of which there
    is far more, would crowd them out; 0: no limit."""
    objectives: Objectives = field(default_factory=Objectives)
    weights: Literal["restart", "continue", "average", "ties"] = "restart"
    """What a round is trained from, and what of. restart: the base, on all that has been promoted and a share of the
    warm start; continue: the last promoted round, on this one's and that share; average, ties: as restart, and the
    rounds' weights merged."""
    replay: float = 0.5
    """Share of the warm start's rows among what a round learns."""
    warm: Warm = field(default_factory=Warm)
    """What people wrote, learned before the first round and replayed in every one."""
    exemplars: Literal["clustered", "human", "random", "mismatched", "none"] = "none"
    """Where the examples in the prompts come from, from the second round on; the first has the task's own."""
    shots: int | Literal["silhouette"] = 2
    """How many; silhouette: as many as the feedback has clusters."""
    instruction: str = ""
    """What stands above every question."""
    wording: Wording = "plain"
    """How critics are asked; bare: line by line, in tokens, for nano bases."""
    gold_visible: Literal["none", "critic", "critic+train"] = "none"
    """Who sees reference answers: nobody; who judges; or also what is learned. Checked, not believed."""
    guards: Guards = field(default_factory=Guards)
    silenced: tuple[str, ...] = ()
    """Control tokens that the weights have (from another arm) and that may not be drawn."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        for name, least in (("rounds", 0), ("problems", 1), ("samples", 1), ("critiques", 1), ("per_problem", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"method.{name} is {getattr(self, name)}; it must be at least {least}.")
        if not 0 <= self.replay < 1:
            raise ConfigError(f"method.replay is {self.replay}; it must be at least 0 and below 1.")
        unknown = [name for name in self.mix if name not in SOURCES]
        if unknown:
            raise ConfigError(f"method.mix: {unknown[0]!r} is no source. Known: {', '.join(SOURCES)}.")
        if self.mix and (min(self.mix.values()) <= 0 or not math.isclose(sum(self.mix.values()), 1.0, abs_tol=1e-6)):
            raise ConfigError(f"method.mix: the shares {self.mix} must be above 0 and add up to 1.")
        needs = {"engine": ("critic", "server"), "human": ("reviewed",), "verifier": ("verifier",)}
        for source, names in needs.items():
            if source in self.sources and not any(getattr(self, name) for name in names):
                raise ConfigError(f"method.source={source} needs method.{' or method.'.join(names)}.")
        if self.gold_visible == "none":
            if "oracle" in self.sources:
                raise ConfigError("method.source=oracle sees the answers; declare it: method.gold_visible=critic.")
            if self.accept in ("gold", "reference"):
                raise ConfigError(
                    f"method.accept={self.accept} sees the answers; declare it: method.gold_visible=critic+train."
                )
        if self.accept in ("gold", "reference") and self.gold_visible != "critic+train":
            raise ConfigError(f"method.accept={self.accept} learns from gold: set method.gold_visible=critic+train.")
        if self.accept == "verdict" and self.rounds and "none" in self.sources:
            raise ConfigError("method.accept=verdict needs feedback; set method.source, or another method.accept.")
        if self.mend == "rewrite" and self.wording == "bare":
            raise ConfigError("method.mend=rewrite needs a model that reads English; use resume with wording=bare.")
        if self.objectives.refine and self.wording == "bare":
            raise ConfigError("method.objectives.refine asks in English; set it to 0 with wording=bare.")
        if self.exemplars != "none" and self.wording == "bare":
            raise ConfigError("method.exemplars stand in English prompts; set exemplars=none with wording=bare.")
        if self.mend == "none" and (self.objectives.refine or self.objectives.distill):
            raise ConfigError("method.objectives.refine and distill learn mended answers; set method.mend.")
        if self.mend != "none" and not self.content:
            raise ConfigError("method.mend uses the content of feedback; set method.content=true, or mend=none.")

    # -- what it consists of -------------------------------------------------------------------------------------------

    @property
    def sources(self) -> tuple[str, ...]:
        """Everybody who writes feedback."""
        return tuple(self.mix) if self.mix else (self.source,)

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """The bare wording's: where a critique begins, and its two verdicts."""
        return TOKENS if self.wording == "bare" else ()

    @property
    def measured(self) -> dict[str, Any]:
        """What decides how a model is measured: arms that agree on it measure their common start once."""
        names = ("samples", "temperature", "critiques", "vote", "wording", "instruction", "silenced")
        # Where examples are chosen, fewer dev problems are the gate's.
        more = {"examples": self.exemplars != "none", "listens": self.listens}
        return {name: getattr(self, name) for name in names} | more

    @property
    def listens(self) -> bool:
        """Whether anybody says anything of the answers."""
        return self.sources != ("none",)

    def verdict_ids(self, render: Render) -> frozenset[int]:
        """Return the ids that are verdicts, in the bare wording."""
        if self.wording != "bare":
            return frozenset()
        return frozenset(render.control_id(token.token) for token in (CORRECT, INCORRECT))

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def collect(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int
    ) -> list[Trace]:
        """Write down the warm start: solutions, and a teacher's feedback on answers with planted mistakes."""
        return warm_traces(self.warm, problems, render, task, self.wording, seed)

    def examples(self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render) -> list[Example]:
        """Learn the warm start: all of it, whatever the rounds' objectives are."""
        return replace(self, objectives=Objectives(), content=True, mend="none").learned(problems, traces, render)

    def learned(self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render) -> list[Example]:
        """Learn a round's rows, each by the weight of its objective."""
        by_id = {p.id: p for p in problems}
        verdicts = self.verdict_ids(render)
        return [
            learning.to_example(
                trace,
                by_id[trace.problem_id],
                render,
                self.wording,
                self.objectives,
                self.instruction,
                self.content,
                verdicts,
            )
            for trace in traces
        ]

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Answer each problem once, without examples: what was learned stands on its own."""
        prompts = [self.answer_prompt(p, render, ()) for p in problems]
        done = engine.generate(prompts, sampling, rules=self.rules(render), keys=[p.key for p in problems])
        return [render.trace(p.id, completion) for p, completion in zip(problems, done, strict=True)]

    # -- in a round ----------------------------------------------------------------------------------------------------

    def rules(self, render: Render) -> list[NoUndo]:
        """Keep critics' tokens out of answers."""
        names = dict.fromkeys((*self.silenced, *(token.token for token in self.control_tokens)))
        return [NoUndo(render.control_id(name)) for name in names]

    def answer_prompt(self, problem: Problem, render: Render, shots: Sequence[Shot]) -> tuple[int, ...]:
        """Return the ids that an answer goes on from."""
        return render.question(answer_text(problem.prompt, instruction=self.instruction, shots=shots))

    def attempt(
        self,
        problems: Sequence[Problem],
        engine: Engine,
        render: Render,
        sampling: Sampling,
        task: Task,
        shots: Sequence[Shot] = (),
        n: int | None = None,
    ) -> list[Attempt]:
        """Sample answers, `n` a problem (default: `samples`); one of them is greedy where n is 1."""
        n = self.samples if n is None else n
        drawn = replace(sampling, temperature=0.0 if n == 1 else self.temperature)
        prompts = [self.answer_prompt(p, render, shots) for p in problems for _ in range(n)]
        keys = [p.key + sample for p in problems for sample in range(n)]
        done = engine.generate(prompts, drawn, rules=self.rules(render), keys=keys)
        return [
            mending.to_attempt(problems[i // n], i % n, completion, render, task) for i, completion in enumerate(done)
        ]

    def critic_of(self, engine: Engine, render: Render, shots: Sequence[Shot] = ()) -> critics.Critic:
        """Return a model as a critic."""
        names = (*self.silenced, CRITIQUE.token) if self.wording == "bare" else self.silenced
        never = tuple(render.control_id(name) for name in dict.fromkeys(names))
        return critics.Critic(engine, render, self.wording, self.instruction, tuple(shots), never)

    def without_content(self, critique: Critique, render: Render) -> Critique:
        """Return what this method uses of a critique."""
        return critique if self.content else learning.without_content(critique, render, self.verdict_ids(render))

    def findings(
        self, problems: Sequence[Problem], records: Sequence[TraceRecord], render: Render, task: Task, weights: Path
    ) -> tuple[Finding, ...]:
        """Return how the rounds went: curves on dev, decisions, what was kept and dropped."""
        from thinktwice.methods.evolve.findings import findings

        return findings(weights)

    def compare(
        self,
        methods: Mapping[str, Any],
        records: Mapping[str, Sequence[TraceRecord]],
        pair: tuple[str, str] | None,
        weights: Mapping[str, Path],
    ) -> tuple[Finding, ...]:
        """Say whether the content of the feedback did anything, and draw all arms' rounds."""
        from thinktwice.methods.evolve.findings import content, curves

        return tuple(found for found in (content(methods, records, pair), curves(weights)) if found is not None)


def share_of(mix: Mapping[str, float], draw: float) -> str:
    """Return the source that a number in [0, 1) falls on."""
    reached = 0.0
    for name, share in mix.items():
        reached += share
        if draw < reached:
            return name
    return list(mix)[-1]


def options_of(method: "Evolve") -> dict[str, Any]:
    """Return what decides the warm start: arms that start from it must agree on it."""
    from thinktwice.config import to_dict

    found: dict[str, Any] = to_dict({"warm": method.warm, "wording": method.wording, "instruction": method.instruction})
    return found
