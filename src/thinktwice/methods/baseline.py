"""The plain model: no control token, one reply or several and a vote. It is the control of every other method."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thinktwice.decode.undo import NoUndo
from thinktwice.engines.base import Engine
from thinktwice.errors import ConfigError
from thinktwice.render import Render
from thinktwice.scoring import choice, numeric
from thinktwice.types import Completion, ControlToken, Example, Problem, Sampling, Step, Task, Trace

_OPTIONS = (*choice.TRUE_FALSE, "Yes", "No", *choice.LETTERS)


@dataclass(frozen=True)
class Baseline:
    """Learn right solutions; answer once, or `samples` times and choose.

    Example:
        >>> Baseline(samples=8, temperature=0.7).samples
        8
    """

    samples: int = 1
    """Replies drawn for each problem."""
    temperature: float | None = None
    """Temperature of the replies; None takes the run's."""
    choose: Literal["majority", "likeliest"] = "majority"
    """majority: the most frequent answer, ties to the likelier; likeliest: best of n by mean log-probability."""
    silenced: tuple[str, ...] = ()
    """Control tokens that the weights have (from another arm) and that may not be drawn."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"method.samples={self.samples}: at least 1 reply is needed.")

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """None."""
        return ()

    def collect(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int
    ) -> list[Trace]:
        """Take the reference solutions as they are."""
        return [
            Trace(p.id, (Step("text", p.solution, render.solution(p.solution), sampled=False),))
            for p in problems
            if p.solution
        ]

    def examples(self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render) -> list[Example]:
        """Learn the solution, end token included; see the prompt."""
        by_id = {p.id: p for p in problems}
        return [render.example(by_id[t.problem_id], [i for step in t.steps for i in step.token_ids]) for t in traces]

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Answer each problem, by the chosen one of `samples` replies; the others are in the trace, not kept."""
        if self.temperature is not None:
            sampling = replace(sampling, temperature=self.temperature)
        prompts = [render.prompt(p) for p in problems for _ in range(self.samples)]
        keys = [p.key + sample for p in problems for sample in range(self.samples)]
        rules = [NoUndo(render.control_id(token)) for token in self.silenced]
        done = engine.generate(prompts, sampling, rules=rules, keys=keys)
        groups = [done[i : i + self.samples] for i in range(0, len(done), self.samples)]
        return [self._trace(p, group, render) for p, group in zip(problems, groups, strict=True)]

    def _trace(self, problem: Problem, replies: Sequence[Completion], render: Render) -> Trace:
        best = replies[self._chosen([render.text(r.kept_ids) for r in replies], replies)]
        trace = render.trace(problem.id, best)
        others = tuple(
            Step("text", render.text(r.token_ids), r.token_ids, kept=False, logprobs=r.logprobs)
            for r in replies
            if r is not best and r.token_ids
        )
        return replace(trace, steps=(*others, *trace.steps))

    def _chosen(self, texts: Sequence[str], replies: Sequence[Completion]) -> int:
        # A reply that failed wrote nothing, which must not pass for certainty.
        likelihoods = [sum(r.logprobs) / len(r.logprobs) if r.logprobs else float("-inf") for r in replies]
        if self.choose == "likeliest":
            return max(range(len(replies)), key=likelihoods.__getitem__)
        stated = [numeric.stated(text) or choice.stated(text, _OPTIONS) for text in texts]
        found = [said or numeric.last(text) for said, text in zip(stated, texts, strict=True)]
        answers = [tuple(said) if said else None for said in found]
        votes = Counter(answers)
        votes[None] = 0  # a reply without an answer has no vote
        # Ties go to the answer with the likeliest reply. The likeliest reply that states an answer stands for it.
        best: dict[object, float] = defaultdict(lambda: float("-inf"))
        for answer, likelihood in zip(answers, likelihoods, strict=True):
            best[answer] = max(best[answer], likelihood)

        def rank(index: int) -> tuple[int, float, bool, float]:
            return votes[answers[index]], best[answers[index]], stated[index] is not None, likelihoods[index]

        return max(range(len(replies)), key=rank)
