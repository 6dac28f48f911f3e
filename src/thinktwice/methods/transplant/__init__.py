"""K/V transplant: a chooser judges solutions with the keys and values that an arguer had while it read each of them.

Source: seed 003 (M. MacDougall, cot-correctness-detection-test, 2023). Differences that matter: arguer and chooser are
two adapters of one base, where the seed's were one; both orders of every pair are trained and scored; solutions are
sampled from one prompt, so that style gives nothing away; and there are controls: reading the text alone, another
question's states, the states exchanged, an arguer that is not trained. What the seed did is an option each: `tied`,
`rows=shifted`, `argument=plain`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from thinktwice.engines.base import ChoosingEngine, Engine
from thinktwice.errors import ConfigError
from thinktwice.methods.transplant import posed, prompts
from thinktwice.methods.transplant.asking import Given, Mode, ask, orders
from thinktwice.methods.transplant.data import Item
from thinktwice.methods.transplant.masking import Masking
from thinktwice.methods.transplant.posing import Posing, pose
from thinktwice.records import Finding, Note, TraceRecord
from thinktwice.render import Render
from thinktwice.types import Choice, ControlToken, Problem, Sampling, Score, Task, Trace

__all__ = ["Posing", "Transplant"]


@dataclass(frozen=True)
class Transplant:
    """Say which of several solutions is right, from their texts and from what an arguer made of them.

    Example:
        >>> method = Transplant(rows="content")
        >>> text_alone = replace(method, rows="none")
        >>> control = replace(method, states="shuffled")  # at test, over the weights of `method`
    """

    mode: Mode = "pairwise"
    """pairwise: which of two; pointwise: is this one right (yes or no); listwise: which of several."""
    rows: str = "content"
    """Which rows of a solution the arguer's states replace: content, shifted (the seed's), last_step,
    truncated:PERCENT, or none: the chooser reads the text alone."""
    question: bool = True
    """Whether the arguer reads the question."""
    argument: Masking = "none"
    """How somebody's argument for one of the solutions is shown to the chooser, where the data has one."""
    words: Literal["plain", "bare"] = "plain"
    """The words around the solutions; bare: marks and numbers alone, which the nano bases know."""
    states: Given = "own"
    """Whose states the chooser gets when it answers: those of the solutions it reads, none, another question's
    (shuffled), or the other solution's (swapped). Training has its own, so an arm with `weights` is a control."""
    posing: Posing = field(default_factory=Posing)
    """Where the solutions come from; the recipe's own counts, for every arm."""

    def __post_init__(self) -> None:
        """Refuse what says nothing."""
        if self.states != "own" and self.rows == "none":
            raise ConfigError(f"method.states={self.states} needs states that are moved; set method.rows.")
        if self.states == "swapped" and self.mode == "pointwise":
            raise ConfigError("method.states=swapped needs two solutions in one text; set mode=pairwise.")
        if self.mode == "listwise" and self.posing.group == 0:
            raise ConfigError("method.mode=listwise learns from groups of solutions; set method.posing.group.")
        prompts.check_rows(self.rows)

    # -- what it consists of -------------------------------------------------------------------------------------------

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """None: identifiers are tokens that the model has."""
        return ()

    @property
    def wording(self) -> prompts.Wording:
        """The words around what the chooser reads."""
        if self.mode == "pointwise":
            return prompts.WORDINGS["pointwise" if self.words == "plain" else "bare_pointwise"]
        return prompts.WORDINGS["pairwise" if self.words == "plain" else "bare"]

    def choice(self, item: Item, order: Sequence[int], render: Render) -> Choice:
        """Render an item in one order."""
        return prompts.render_choice(
            item,
            order,
            render,
            rows=self.rows,
            question_for_arguer=self.question,
            argument=self.argument,
            wording=self.wording,
        )

    # -- its own problems ----------------------------------------------------------------------------------------------

    def pose(
        self, task: Task, engine: Engine, render: Render, seed: int, directory: Path, work: Path
    ) -> Mapping[str, list[Problem]]:
        """Make pairs (and groups) of right and wrong solutions of the task's questions."""
        return pose(self.posing, task, engine, render, seed, directory, work)

    def judge(self, problem: Problem, trace: Trace) -> Score:
        """Score a verifier's answer; see `posed.judge`."""
        return posed.judge(problem, trace)

    def account(
        self,
        directory: Path,
        problems: Sequence[Problem],
        records: Mapping[str, Sequence[TraceRecord]],
        task: Task,
        pair: tuple[str, str] | None,
    ) -> tuple[Finding, ...]:
        """Return what all arms together say: the bar, whether the states add to the text, best-of-n."""
        from thinktwice.methods.transplant.account import account

        return account(directory, problems, records, task, pair)

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def collect(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int
    ) -> list[Trace]:
        """Take the solutions as they are: of pairs, or of groups for a listwise verifier."""
        wanted = [p for p in problems if self._learns(p)]
        return [Trace(p.id, posed.shown(p)) for p in wanted]

    def _learns(self, problem: Problem) -> bool:
        if self.mode == "listwise":
            return len(problem.choices) > posed.PAIR and len(posed.rights(problem)) == 1
        return len(problem.choices) == posed.PAIR

    def examples(self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render) -> list[Choice]:
        """Render every item in every order: no slot can be learned."""
        by_id = {p.id: p for p in problems}
        items = [posed.to_item(by_id[trace.problem_id]) for trace in traces]
        return [self.choice(item, order, render) for item in items for order in orders(item, self.mode)]

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Say which solution is right."""
        if not isinstance(engine, ChoosingEngine):
            raise ConfigError("a verifier needs a model in this process; a server does not show its states.")
        return ask(
            problems,
            engine,
            lambda item, order: self.choice(item, order, render),
            mode=self.mode,
            states=self.states,
            seed=sampling.seed,
        )

    def explain(self, problem: Problem, trace: Trace, render: Render) -> tuple[str, tuple[Note, ...]]:
        """Return why an answer is wrong; nothing is worth a note."""
        return posed.fault(problem, trace), ()

    def findings(
        self, problems: Sequence[Problem], records: Sequence[TraceRecord], render: Render, task: Task, weights: Path
    ) -> tuple[Finding, ...]:
        """Return the numbers of a verifier beyond right and wrong, its reliability, and how its training went."""
        from thinktwice.methods.transplant.findings import findings

        return findings(problems, records, weights)
