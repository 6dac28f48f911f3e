"""Backtracking: an undo token that takes back what was just written, with a real rewind of the context.

Source: the seed's `<|BACKTRACK|>` (k undo tokens delete k tokens), *Physics of Language Models 2.2* (mistakes at step
level, masked), *Self-Backtracking* (detection is learned, the decoder acts). Differences that matter: deletion really
happens while decoding, the retracted continuation is banned there, and training shows the context decoding shows.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from thinktwice.decode.undo import undo_policy
from thinktwice.engines.base import Engine, ProbingEngine
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.backtrack.calibration import calibrate
from thinktwice.methods.backtrack.errors import SOURCES, Lapse, Place, Source, first_mistake
from thinktwice.methods.backtrack.metrics import measure
from thinktwice.records import Retraction
from thinktwice.render import Render
from thinktwice.resolve import example, inject, settle
from thinktwice.types import Completion, ControlToken, Example, Fate, Problem, Sampling, Task, Trace

UNDO = ControlToken(
    "<undo>",
    description="This token deletes the previous token of the reply.",
    words=("delete", "remove", "undo", "erase", "back", "cancel", "retry", "revert", "reset", "clear", "backspace"),
)


@dataclass(frozen=True)
class Backtrack:
    """Teach a model to take back its own wrong steps, and let it.

    Example:
        >>> method = Backtrack(rate=0.2)
        >>> ablation = replace(method, context="off")  # the same model, unable to undo
    """

    context: Literal["rewind", "keep", "off"] = "rewind"
    """What an undo does, in training and in decoding alike. rewind: the mistake leaves the context; keep: it stays and
    is only resolved in the output; off: the undo token cannot be drawn."""
    unit: Literal["token", "step"] = "token"
    """token: k undo tokens delete k tokens (the seed's); step: one undo token deletes back to the step's beginning."""
    errors: tuple[Source, ...] = ("plausible",)
    """Where training mistakes come from; one is drawn for each mistake."""
    rate: float = 0.2
    """Probability of a mistake before each step, and of another one after it."""
    repeats: int = 3
    """Most mistakes in a row at one place."""
    lengths: tuple[int, ...] = (1, 3)
    """Lengths of a mistake in tokens, one drawn for each: the first token is wrong, the others delay the detection."""
    mask_errors: bool = True
    """Whether the mistakes themselves are left out of the loss."""
    temperature: float = 1.0
    """On-policy mistakes: the temperature at which the model is sampled."""
    bias: float = 0.0
    """The undo threshold: added to the undo token's logit when it would start a retraction."""
    biases: tuple[float, ...] = (-4.0, -2.0, -1.0, 0.0, 1.0)
    """The thresholds to choose from on dev."""
    max_retractions: int = 20
    """Retractions a reply may make; after that the undo token cannot be drawn."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ConfigError(f"method.rate={self.rate} is not a probability below 1.")
        if not self.errors or not self.lengths or min(self.lengths) < 1 or self.repeats < 1:
            raise ConfigError(
                "method.errors and method.lengths need at least one entry, lengths and repeats at least 1."
            )
        if self.max_retractions < 1 and self.context != "off":
            raise ConfigError("method.max_retractions must be at least 1; to switch undo off set method.context=off.")

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """The tokens this method adds to a model."""
        return (UNDO,)

    def collect(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int
    ) -> list[Trace]:
        """Write right solutions with mistakes and their retractions in them."""
        usable = [p for p in problems if p.solution]
        lapses = self._lapses(usable, engine, render, task, seed) if "onpolicy" in self.errors else {}
        return [self._trace(p, lapses.get(p.id), render, task, random.Random(f"{seed}/{p.id}")) for p in usable]

    def examples(self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render) -> list[Example]:
        """Turn traces into examples in the context that decoding will show."""
        undo = render.control_id(UNDO.token)
        by_id = {p.id: p for p in problems}
        made = []
        for trace in traces:
            prompt = render.prompt(by_id[trace.problem_id])
            made.append(
                example(
                    (*prompt, *(i for step in trace.steps for i in step.token_ids)),
                    undo,
                    floor=len(prompt),
                    context="keep" if self.context == "keep" else "rewind",
                    unit=self.unit,
                    step_ends=render.step_ends,
                    mask_errors=self.mask_errors,
                    problem_id=trace.problem_id,
                )
            )
        return made

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Answer problems, taking back what the model takes back."""
        undo = render.control_id(UNDO.token)
        controls, rules = undo_policy(
            undo,
            context=self.context,
            unit=self.unit,
            step_ends=render.step_ends,
            bias=self.bias,
            max_edits=self.max_retractions,
        )
        done = engine.generate(
            [render.prompt(p) for p in problems],
            sampling,
            controls=controls,
            rules=rules,
            keys=[p.key for p in problems],
        )
        if self.context == "keep":
            done = [settle(c, undo, unit=self.unit, step_ends=render.step_ends) for c in done]
        return [render.trace(p.id, c) for p, c in zip(problems, done, strict=True)]

    def calibrate(
        self, problems: Sequence[Problem], engine: ProbingEngine, render: Render, sampling: Sampling, task: Task
    ) -> tuple["Backtrack", dict[str, Any]]:
        """Choose the undo threshold on dev; there is nothing to choose when undo is off."""
        if self.context == "off" or not self.biases:
            return self, {}
        made = calibrate(self, problems, engine, render, sampling, task, render.control_id(UNDO.token))
        return replace(self, bias=made.bias), asdict(made)

    def retractions(
        self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render, task: Task
    ) -> Retraction:
        """Judge the retractions against the step oracle."""
        return measure(problems, traces, render, task.oracle, max_retractions=self.max_retractions).summary()

    def _trace(self, problem: Problem, lapse: Lapse | None, render: Render, task: Task, rng: random.Random) -> Trace:
        lines = lapse.lines if lapse else tuple((problem.solution or "").splitlines(keepends=True))
        steps = render.steps("".join(lines))
        mistakes: list[tuple[int, tuple[int, ...]]] = []
        start = 0
        for index, step in enumerate(steps):
            place = Place(problem, steps, lines, index, render, task.oracle)
            here = [lapse.mistake] if lapse and index == lapse.index else []
            while len(here) < self.repeats and rng.random() < self.rate:
                source = rng.choice(self.errors)
                found = None if source == "onpolicy" else SOURCES[source](place, rng, rng.choice(self.lengths))
                if found is None:
                    break
                here.append(found)
            mistakes += sorted((start + m.offset, m.token_ids) for m in here)
            start += len(step)
        clean = tuple(i for step in steps for i in step)
        undo = render.control_id(UNDO.token)
        raw = inject(clean, mistakes, undo, unit=self.unit, step_ends=render.step_ends)
        kept: Fate = "kept"
        written = Completion(raw, (kept,) * len(raw), (0.0,) * len(raw), "done")
        trace = render.trace(problem.id, written, undo_id=undo, unit=self.unit)
        return replace(trace, steps=tuple(replace(step, sampled=False, logprobs=()) for step in trace.steps))

    def _lapses(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int
    ) -> dict[str, Lapse]:
        """Sample the model, and keep its own first mistakes where the oracle finds one."""
        if engine is None or task.oracle is None:
            raise DataError(
                "on-policy mistakes need a model and a task with a step oracle. Use method.errors=[plausible]."
            )
        _, rules = undo_policy(render.control_id(UNDO.token), context="off")
        sampling = Sampling(temperature=self.temperature, seed=seed)
        done = engine.generate(
            [render.prompt(p) for p in problems], sampling, rules=rules, keys=[p.key for p in problems]
        )
        rng = random.Random(f"{seed}/lapses")
        found = {
            p.id: first_mistake(
                p, c.kept_ids, render, task.oracle, rng.choice(self.lengths), whole_line=self.unit == "step"
            )
            for p, c in zip(problems, done, strict=True)
        }
        return {key: lapse for key, lapse in found.items() if lapse}
