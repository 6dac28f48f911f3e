"""A task and a decoding-only method of your own, in one file and with no registration.

In a recipe: `task: {name: examples/parity.py:parity, count: 50}` and `method: {name: examples/parity.py:Vote, k: 5}`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from thinktwice import Engine, Problem, Render, Sampling, Score, Step, Task, Trace
from thinktwice.types import ControlToken


def parity(count: int = 100) -> Task:
    """Is a number even? Train, dev and test are different numbers."""
    numbers = [
        Problem(f"parity-{n}", f"Is {n} even?", "no" if n % 2 else "yes", level=len(str(n))) for n in range(count)
    ]

    def score(problem: Problem, reply: str) -> Score:
        said = reply.strip().lower()
        return Score(float(said == problem.answer), said or None, f"the answer is {problem.answer}")

    return Task("parity", {"train": numbers[0::3], "dev": numbers[1::3], "test": numbers[2::3]}, score)


@dataclass(frozen=True)
class Vote:
    """Answer `k` times and keep the majority."""

    k: int = 5
    temperature: float = 0.7

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """None."""
        return ()

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Return the majority reply of each problem."""
        prompts = [render.prompt(p) for p in problems for _ in range(self.k)]
        keys = [p.key + sample for p in problems for sample in range(self.k)]
        done = engine.generate(prompts, replace(sampling, temperature=self.temperature), keys=keys)
        traces = []
        for index, problem in enumerate(problems):
            replies = Counter(c.kept_ids for c in done[index * self.k : (index + 1) * self.k])
            ids = replies.most_common(1)[0][0]
            traces.append(Trace(problem.id, (Step("text", render.text(ids), ids),)))
        return traces
