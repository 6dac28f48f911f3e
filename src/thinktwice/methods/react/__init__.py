"""ReAct: a model thinks, looks something up, reads what it found, and thinks again, until it answers.

Sources: *ReAct* (Yao et al. 2023), FireAct (Chen et al. 2023), Araft (a Llama-2-7B, SFT and then DPO). Differences that
matter: nothing is cut from the end of what is learned (the public trainers cut away the very actions), observations are
seen and never learned, episodes must show where their answer comes from, and preferences are mined where the student
itself went wrong. What the public systems did is an option each: `overflow=cut`, `pairs=[araft]`, `rows=step`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from thinktwice.decode.undo import NoUndo
from thinktwice.engines.base import Engine
from thinktwice.engines.http import Endpoint
from thinktwice.errors import ConfigError
from thinktwice.methods.react.baselines import closed_book_prompt, one_shot_prompt
from thinktwice.methods.react.distil import Work
from thinktwice.methods.react.episode import OPEN, SEARCH
from thinktwice.methods.react.filters import Filters
from thinktwice.methods.react.grammar import Grammar, build_grammar
from thinktwice.methods.react.guard import Guard, Mode
from thinktwice.methods.react.loops import ADJACENT, LATER
from thinktwice.methods.react.play import LEAST, play
from thinktwice.methods.react.players import Rules
from thinktwice.methods.react.rows import Layout, examples
from thinktwice.methods.react.tags import tag_tokens
from thinktwice.methods.react.teacher import Teacher
from thinktwice.records import Finding, Note, TraceRecord
from thinktwice.render import Render
from thinktwice.tools import Retriever
from thinktwice.tools.corpus import open_corpus
from thinktwice.types import ControlToken, Example, Pair, Problem, Sampling, Task, Trace

Preference = Literal["mined", "loop", "format", "early stop", "wrong hop", "araft"]


@dataclass(frozen=True)
class React:
    """Answer by searching a corpus, and learn to from a teacher's episodes or from preferences.

    Example:
        >>> method = React(corpus="wiki", max_turns=6)
        >>> control = replace(method, max_length=128, overflow="cut")  # what the public trainers did
    """

    corpus: str = "wiki"
    """What is searched: "wiki" or "wiki:SEED" (the world's encyclopedia), a corpus file, or a search server's URL."""
    grammar: Literal["tags", "text", "template"] = "tags"
    """How actions are written: tags, text (araft's), or template (the tool calls of the model's chat template)."""
    tag_tokens: bool = True
    """Whether each tag is a token of its own, to be trained; else its letters, for a model that is only prompted."""
    tools: tuple[Literal["search", "open"], ...] = ("search",)
    """What may be called."""
    shots: Literal[0, 3] = 0
    """Worked examples in the prompt."""
    k: int = 3
    """Passages that a search shows."""
    max_turns: int = 8
    """Actions before the answer is asked for; 0: it is asked for at once."""
    observation_tokens: int = 256
    """Longest observation, in tokens."""
    repairs: int = 1
    """Actions that cannot be read and are answered by saying what is wrong with them."""
    guard: Mode = "observe"
    """What is done about a search that was made before: nothing, warn, ban it, or stop and ask for the answer."""
    guarded: tuple[str, ...] = (ADJACENT, LATER)
    """Which searches the guard is about: exact adjacent, exact later, near duplicate, nothing new."""
    baseline: Literal["none", "closed_book", "one_shot"] = "none"
    """Instead of an episode: answer from memory, or after one search for the question itself."""
    silenced: tuple[str, ...] = ()
    """Control tokens that the weights have (from another arm) and that may not be drawn."""

    objective: Literal["sft", "dpo"] = "sft"
    """Learn kept episodes, or preferences between steps."""
    teacher: Literal["scripted", "model"] | Endpoint = "scripted"
    """Who writes the episodes: the script, the model that training starts from, or a model on a server (which must have
    the same tokenizer)."""
    script: Teacher = field(default_factory=Teacher)
    """The scripted teacher's imperfections."""
    teacher_shots: Literal[0, 3] = 3
    """Worked examples in the prompt of a teacher that is a model."""
    work: Work = field(default_factory=Work)
    """Which training questions are asked, and how often."""
    filters: Filters = field(default_factory=Filters)
    """Which episodes are kept."""
    temperature: float = 1.0
    """At which a model teaches, plays for preferences, and tries other steps."""
    max_new_tokens: int = 512
    """Sampled tokens of an episode when it is collected."""
    pairs: tuple[Preference, ...] = ("mined",)
    """Which preferences: mined (all four kinds of the student's own faults) or some kinds, or araft's rule."""
    siblings: int = 8
    """Other steps that the student tries at each place where it went wrong."""
    taught: bool = True
    """Whether the scripted teacher's step is chosen where none of the student's is better."""
    rows: Literal["trajectory", "step"] = "trajectory"
    """One row for a whole episode, or, as araft has it, one for each step."""
    max_length: int | None = None
    """Longest row, in tokens; None: what the trainer takes."""
    overflow: Literal["error", "drop", "cut"] = "error"
    """What becomes of a longer row. cut: it loses its end, as in TRL; the actions that go with it are counted."""
    max_prompt: int | None = None
    """Only the last so many tokens before a step are kept, as in araft's DPO (128); for pairs and rows=step."""
    store: str | None = None
    """The file of all episodes, which several arms may share; None: one beside what was collected."""
    counts: str | None = None
    """The file that tells what became of them; a run names it."""

    def __post_init__(self) -> None:
        if self.k < 1 or self.max_turns < 0 or self.repairs < 0 or self.observation_tokens < LEAST:
            raise ConfigError(
                f"method.k={self.k} must be at least 1, observation_tokens={self.observation_tokens} at least {LEAST}, "
                f"max_turns={self.max_turns} and repairs={self.repairs} 0 or more."
            )
        if not self.tools:
            raise ConfigError(
                "method.tools is empty; an agent needs search. For none, set method.baseline=closed_book."
            )
        if self.max_length is None and self.overflow != "error":
            raise ConfigError(f"method.overflow={self.overflow} needs a limit; set method.max_length.")
        if self.max_prompt is not None and (
            self.max_prompt < 1 or (self.objective, self.rows) == ("sft", "trajectory")
        ):
            raise ConfigError("method.max_prompt is at least 1, and for rows=step or objective=dpo only.")
        if not self.pairs or self.siblings < 0 or self.temperature < 0 or self.max_new_tokens < 1:
            raise ConfigError("method.pairs needs an entry; siblings and temperature are 0 or more.")
        if self.objective == "dpo" and not (self.siblings or self.taught or self.pairs == ("araft",)):
            raise ConfigError("with siblings=0 and taught=false nothing could be preferred; set one of them.")
        if self.temperature == 0 and self.work.samples > 1 and self.teacher != "scripted":
            raise ConfigError("method.work.samples would all be the same at temperature 0; set method.temperature.")
        _ = self.watchman  # refuses what it cannot be about

    # -- what it consists of -------------------------------------------------------------------------------------------

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """The tags, where they are tokens."""
        return tag_tokens(self.tools) if self.grammar == "tags" and self.tag_tokens else ()

    @property
    def watchman(self) -> Guard:
        """The guard, as `play` takes it."""
        return Guard(self.guard, self.guarded)

    @property
    def retriever(self) -> Retriever:
        """What is searched, opened once a process."""
        return _opened(self.corpus)

    @property
    def rules(self) -> Rules:
        """How an episode goes."""
        limits = (self.k, self.max_turns, self.observation_tokens, self.repairs)
        return Rules(*limits, self.tools, self.watchman)

    @property
    def layout(self) -> Layout:
        """How rows are made."""
        return Layout(self.rows == "step", self.max_length, self.overflow, self.max_prompt)

    def written_in(self, render: Render, *, shots: int | None = None) -> Grammar:
        """Return the grammar of a model, with this method's worked examples or with so many."""
        shown = self.shots if shots is None else shots
        return build_grammar(self.grammar, render, control=self.tag_tokens, tools=self.tools, shots=shown)

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def prepare(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int, directory: Path
    ) -> "React":
        """Keep what is collected, and its counts, in `directory`."""
        from thinktwice.methods.react.collecting import COUNTS

        store = self.store or str(directory / "episodes.sqlite")
        return replace(self, store=store, counts=self.counts or str(directory / COUNTS))

    def collect(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int
    ) -> list[Trace]:
        """Have questions answered and keep what is good, or find preferences in how they were answered."""
        from thinktwice.methods.react.collecting import collect

        return collect(self, problems, engine, render, seed)

    def examples(
        self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render
    ) -> list[Example] | list[Pair]:
        """Turn traces into rows or pairs, within the limits."""
        grammar = self.written_in(render)
        asked = {p.id: p.prompt for p in problems}
        made, _ = examples(traces, [grammar.prompt(asked[t.problem_id]) for t in traces], self.layout)
        return made

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Answer problems."""
        retriever, rules = self.retriever, self.rules
        asked = list(problems)
        if self.baseline == "closed_book":
            asked = [replace(p, prompt=closed_book_prompt(p)) for p in problems]
        elif self.baseline == "one_shot":
            asked = [replace(p, prompt=one_shot_prompt(p, retriever, self.k)) for p in problems]
        return play(
            asked,
            engine,
            render,
            sampling,
            grammar=self.written_in(render),
            retriever=retriever,
            k=rules.k,
            max_turns=rules.max_turns if self.baseline == "none" else 0,
            observation_tokens=rules.observation_tokens,
            repairs=rules.repairs,
            tools=rules.tools,
            guard=rules.guard,
            rules=tuple(NoUndo(render.control_id(token)) for token in self.silenced),
        )

    def explain(self, problem: Problem, trace: Trace, render: Render) -> tuple[str, tuple[Note, ...]]:
        """Return why the answer is wrong (`taxonomy`), and what was searched, found, repeated and refused."""
        from thinktwice.methods.react.explained import explain

        return explain(problem, trace, self.written_in(render), self.watchman)

    def findings(
        self, problems: Sequence[Problem], records: Sequence[TraceRecord], render: Render, task: Task, weights: Path
    ) -> tuple[Finding, ...]:
        """Return what the episodes say beyond right and wrong, and what the weights were trained on."""
        from thinktwice.methods.react.collecting import learned_from
        from thinktwice.methods.react.metrics import findings
        from thinktwice.methods.react.written import read_episode

        grammar = self.written_in(render)
        episodes = [read_episode(record.trace, grammar) for record in records]
        return (*findings(problems, records, episodes), *learned_from(weights))


_opened = cache(open_corpus)

__all__ = ["OPEN", "SEARCH", "React"]
