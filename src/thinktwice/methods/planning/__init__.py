"""Planning tokens: special tokens before each step say what kind of step it is, and the model learns to write them.

Sources: *Guiding Language Model Reasoning with Planning Tokens* (Wang et al. 2024) and *Disentangling Memory and
Reasoning Ability in Large Language Models* (Jin et al. 2025). Differences that matter: the tokens' own rows are really
trained, nothing is cut from the end of an example, the prompt of decoding is a prefix of the input of training, and the
arms that tell meaning from filler (untyped, shuffled, text tags) are one field away.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinktwice.decode.plan import Blocks, Choose, Delete, Exchange, Grammar
from thinktwice.decode.rows import LogitsRule
from thinktwice.decode.undo import NoUndo
from thinktwice.engines.base import Engine
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.planning.findings import findings
from thinktwice.methods.planning.tokens import Inventory, Line, Placement
from thinktwice.methods.planning.typers import (
    Solution,
    StepTyper,
    build_typer,
    embedder_of,
    load_typer,
    type_names,
)
from thinktwice.methods.planning.typers.pictures import picture
from thinktwice.records import Finding, TraceRecord
from thinktwice.render import Render
from thinktwice.types import Completion, Control, ControlToken, Example, Problem, Sampling, Step, StepKind, Task, Trace

PICTURED = 500
"""Training problems in the picture of a fitted typer."""


@dataclass(frozen=True)
class Planning:
    """Write before each step what kind of step it is. Law: a block of tokens a step, one before the answer.

    Example:
        >>> method = Planning(extract_step_type_tokens="memory")
        >>> untyped = replace(method, extract_step_type_tokens="general")  # as many tokens, without a meaning
    """

    extract_step_type_tokens: str = "memory"
    """Where a step's type comes from: none (no tokens at all), general (one block for every step), "+-*/", k-means, vae
    (SQ-VAE), tf-idf, memory (the dataset's labels) or random."""
    num_general_prefix_tokens: int = 3
    """Tokens that every block begins with."""
    num_special_prefix_tokens: int = 4
    """Tokens of a type."""
    num_plan_types: int | None = None
    """How many types are inferred (k-means, vae, tf-idf, random); None: 5."""
    num_types: int | None = None
    """Another name of `num_plan_types`."""
    labels: tuple[str, ...] = ("memory", "reason")
    """The labels that the dataset gives its steps; for `memory`, and for `random` where no number of types is set."""
    placement: Placement = "every_step"
    shuffled: bool = False
    """Control: the types of each training example are shuffled among its steps."""
    tags: bool = False
    """Control: a type stands as plain text, `[memory] `, and there are no new tokens."""
    plan_weight: float = 1.0
    """How much predicting a planning token counts in training."""
    constrained: bool = False
    """Decode by the grammar: at a step's beginning only a block can begin, and its rest is appended."""
    force: tuple[str, ...] = ()
    """Types of the first steps, decided by the user; needs `constrained`."""
    exchange: tuple[str, str] | None = None
    """Intervention: wherever the model would begin one of the two, it begins the other."""
    delete: str | None = None
    """Intervention: steps of this type are taken back when they end, and cannot begin again there."""
    embedding_model_name: str | None = None
    """A sentence encoder for k-means and vae (a directory or a hub id); None: the base model itself reads the steps."""
    silenced: tuple[str, ...] = ()
    """Control tokens that the weights have (from another arm) and that may not be drawn."""
    artefact: str | None = None
    """Directory of a fitted typer; where it is None one is fitted on the training problems."""

    def __post_init__(self) -> None:
        if min(self.num_general_prefix_tokens, self.num_special_prefix_tokens) < 0:
            raise ConfigError("method.num_general_prefix_tokens and num_special_prefix_tokens must be 0 or more.")
        if None not in (self.num_plan_types, self.num_types) and self.num_plan_types != self.num_types:
            raise ConfigError("method.num_plan_types and num_types are two names of one thing; set one of them.")
        if self.tags and self.placement != "every_step":
            raise ConfigError("method.tags stand before each step; set method.placement=every_step.")
        if self.constrained and (self.placement != "every_step" or not self.tokens_of_a_block):
            raise ConfigError("method.constrained needs planning tokens before every step.")
        if self.force and not self.constrained:
            raise ConfigError("method.force decides types by the grammar; set method.constrained=true.")
        if self.placement == "plan_only" and not self.tokens_of_a_block:
            raise ConfigError("method.placement=plan_only writes no solution; without planning tokens nothing is left.")
        if not self.plan_weight >= 0:
            raise ConfigError(f"method.plan_weight={self.plan_weight} must be 0 or more.")
        known = (*self.inventory.keys, *self.types)
        for name in (*self.force, *(self.exchange or ()), *([self.delete] if self.delete else [])):
            if name not in known:
                raise ConfigError(f"{name!r} is no type of this method. Types: {', '.join(known) or 'none'}.")
        if (self.exchange or self.delete) and not self.inventory.special:
            raise ConfigError("interventions on types need tokens of their own: set method.num_special_prefix_tokens.")

    # -- tokens --------------------------------------------------------------------------------------------------------

    @property
    def types(self) -> tuple[str, ...]:
        """The types there can be."""
        return type_names(self.extract_step_type_tokens, self._count, self._drawn_from)

    @property
    def inventory(self) -> Inventory:
        """The planning tokens."""
        if self.tags or self.extract_step_type_tokens == "none":
            return Inventory(0, 0, ())
        general, special = self.num_general_prefix_tokens, self.num_special_prefix_tokens
        if self.extract_step_type_tokens == "general":
            return Inventory(general + special, 0, ())  # as many tokens as a typed step has
        return Inventory(general, special, self.types)

    @property
    def tokens_of_a_block(self) -> int:
        """Tokens before a step with one type."""
        return self.inventory.general + self.inventory.special

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """The tokens this method adds to a model."""
        return self.inventory.tokens

    def blocks(self, render: Render) -> Blocks:
        """Return the tokens' ids in a model's vocabulary."""
        ids = {token.token: render.control_id(token.token) for token in self.inventory.tokens}
        own = {key: tuple(ids[name] for name in self.inventory.own(key)) for key in self.inventory.keys}
        return Blocks(tuple(ids[name] for name in self.inventory.prefix), own, render.step_ends)

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def prepare(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int, directory: Path
    ) -> "Planning":
        """Fit the typer on training problems, save it, and return the method that uses it."""
        if self.artefact is not None or not self.types:
            return self
        solutions = [s for p in problems if (s := solution_of(p)) is not None]
        embed = embedder_of(engine, render, self.embedding_model_name)
        fitted = self._typer().fit(solutions, embed, seed)
        fitted.save(directory)
        picture(fitted, solutions[:PICTURED], embed, seed=seed).save(directory)
        return replace(self, artefact=str(directory))

    def collect(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int
    ) -> list[Trace]:
        """Write the reference solutions with their planning tokens."""
        usable = [(p, s) for p in problems if (s := solution_of(p)) is not None]
        typed = self._types([s for _, s in usable], engine, render, seed)
        traces = []
        for (problem, solution), types in zip(usable, typed, strict=True):
            if self.shuffled:
                order = list(types)
                random.Random(f"{seed}/{problem.id}").shuffle(order)
                types = order
            answer = (problem.solution or "").splitlines()[-1]
            lines = self._lines(solution, types, answer)
            traces.append(Trace(problem.id, tuple(_steps(lines, render))))
        return traces

    def examples(self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render) -> list[Example]:
        """Learn the planning tokens, the steps and the answer; see the prompt."""
        by_id = {p.id: p for p in problems}
        planning = self.blocks(render).ids
        made = []
        for trace in traces:
            example = render.example(by_id[trace.problem_id], [i for step in trace.steps for i in step.token_ids])
            if self.plan_weight != 1.0:
                pairs = zip(example.weights, example.targets, strict=True)
                weights = tuple(w * self.plan_weight if target in planning else w for w, target in pairs)
                example = replace(example, weights=weights)
            made.append(example)
        return made

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Answer problems; the plan is in the trace, not in the reply."""
        return self.go_on(problems, [()] * len(problems), engine, render, sampling, [p.key for p in problems])

    def go_on(
        self,
        problems: Sequence[Problem],
        begun: Sequence[Sequence[int]],
        engine: Engine,
        render: Render,
        sampling: Sampling,
        keys: Sequence[int],
    ) -> list[Trace]:
        """Answer problems whose replies have been begun, whole lines with their blocks; a trace is what comes after."""
        blocks = self.blocks(render)
        first = blocks.prefix if self.constrained else ()  # follows by necessity, so it is read with the prompt
        controls, rules = self.policy(blocks)
        rules = (*rules, *(NoUndo(render.control_id(token)) for token in self.silenced))
        done = engine.generate(
            [(*render.prompt(p), *reply, *first) for p, reply in zip(problems, begun, strict=True)],
            sampling,
            controls=controls,
            rules=rules,
            keys=keys,
        )
        return [self._trace(p, c, first, blocks, render) for p, c in zip(problems, done, strict=True)]

    def findings(
        self, problems: Sequence[Problem], records: Sequence[TraceRecord], render: Render, task: Task, weights: Path
    ) -> tuple[Finding, ...]:
        """Return what the answers say of types, steps and tokens, and where the tokens' rows lie."""
        return findings(self, problems, records, render, task, weights)

    def policy(self, blocks: Blocks) -> tuple[tuple[Control, ...], tuple[LogitsRule, ...]]:
        """Return the controls and rules of this way to decode."""
        controls: list[Control] = [Delete(blocks, self.delete)] if self.delete else []
        rules: list[LogitsRule] = []
        if self.exchange:
            one, other = (blocks.own[key][0] for key in self.exchange)
            rules.append(Exchange(one, other))
        if self.constrained:
            controls.append(Grammar(blocks))
            rules.append(Choose(blocks, self.several, self.force))
        return tuple(controls), tuple(rules)

    @property
    def several(self) -> bool:
        """Whether a step may have several types."""
        return self.extract_step_type_tokens in ("+-*/", "operators")

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _types(
        self, solutions: Sequence[Solution], engine: Engine | None, render: Render, seed: int
    ) -> list[list[tuple[str, ...]]]:
        if not self.types:
            return [[()] * len(s.steps) for s in solutions]
        embed = embedder_of(engine, render, self.embedding_model_name)
        if self.artefact is not None:
            return load_typer(Path(self.artefact)).predict(solutions, embed)
        return self._typer().fit(solutions, embed, seed).predict(solutions, embed)

    def _typer(self) -> StepTyper:
        return build_typer(self.extract_step_type_tokens, self._count, self._drawn_from)

    @property
    def _count(self) -> int:
        return self.num_plan_types or self.num_types or 5

    @property
    def _drawn_from(self) -> tuple[str, ...]:
        """The labels; a random typer that was given a number of types draws from so many instead."""
        counted = self.num_plan_types or self.num_types
        return () if self.extract_step_type_tokens == "random" and counted else self.labels

    def _lines(self, solution: Solution, types: Sequence[tuple[str, ...]], answer: str) -> list[Line]:
        lines = self.inventory.lay_out(solution.steps, types, answer, self.placement)
        if not self.tags:
            return lines
        return [*(replace(line, tag=tag(t)) for line, t in zip(lines, types, strict=False)), lines[-1]]

    def _trace(
        self, problem: Problem, completion: Completion, first: Sequence[int], blocks: Blocks, render: Render
    ) -> Trace:
        kinds = self._kinds(completion, blocks, render)
        trace = render.trace(problem.id, completion, kinds=kinds)
        if not first or completion.stop == "error":
            return trace
        return replace(trace, steps=(Step("plan", render.text(first), tuple(first), sampled=False), *trace.steps))

    def _kinds(self, completion: Completion, blocks: Blocks, render: Render) -> list[tuple[StepKind, int]]:
        """Return the kind of every token, and the number of the step it belongs to."""
        tags = [render.encode(tag((name,))) for name in self.types] if self.tags else []
        ids, kinds = completion.token_ids, list[tuple[StepKind, int]]()
        number, tagged, beginning, answering = 0, 0, True, False
        apart = self.placement in ("plan_first", "plan_only")  # the plan has lines of its own
        for index, token_id in enumerate(ids):
            if beginning:
                tagged = max((len(t) for t in tags if ids[index : index + len(t)] == t), default=0)
            ends = token_id in blocks.step_ends
            planned = token_id in blocks.ids or tagged > 0
            planned = planned or (apart and ends and index > 0 and ids[index - 1] in blocks.ids)
            tagged = max(0, tagged - 1)
            answering = answering or (blocks.openings.get(token_id) == "answer" and self.placement != "plan_first")
            kinds.append(("plan" if planned else "answer" if answering else "text", number))
            beginning = ends
            number += ends
        return kinds


def solution_of(problem: Problem) -> Solution | None:
    """Return what a typer reads of a problem, or None where it has no worked solution.

    Raises:
        DataError: as many labels as steps, or none at all, is what a problem must have.
    """
    lines = (problem.solution or "").splitlines()
    if not lines:
        return None
    steps = tuple(lines[:-1])
    if problem.labels and len(problem.labels) != len(steps):
        raise DataError(f"problem {problem.id} has {len(steps)} steps and {len(problem.labels)} labels; align them.")
    return Solution(problem.id, problem.prompt, steps, problem.labels)


def tag(types: Sequence[str]) -> str:
    """Return a step's type as plain text."""
    return "".join(f"[{name}] " for name in types)


def _steps(lines: Sequence[Line], render: Render) -> list[Step]:
    """Turn a layout into steps; every line of text is encoded by itself, the last ends with the end token."""
    encoded = render.steps("".join(line.text for line in lines))
    if len(encoded) != len(lines):
        raise DataError("a step contains a line break of its own; steps are lines.")
    steps: list[Any] = []
    for line, ids in zip(lines, encoded, strict=True):
        if line.plan:
            plan = tuple(render.control_id(name) for name in line.plan)
            steps.append(Step("plan", "".join(line.plan), plan, sampled=False))
        if line.tag:
            steps.append(Step("plan", line.tag, render.encode(line.tag), sampled=False))
        kind: StepKind = line.kind if line.text.strip() else "plan"  # the end of a plan of its own
        steps.append(Step(kind, render.text(ids), ids, sampled=False))
    return steps
