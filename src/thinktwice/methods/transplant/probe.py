"""The linear probe: a logistic regression on the base's states of a solution, no verifier trained. A control.

Source: SAPLMA (Azaria & Mitchell, 2023), SWIFT (Guo et al., 2025). States are those of the last layer while the base
reads question and solution as their writer did.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from thinktwice.engines.base import Engine, ReadingEngine
from thinktwice.errors import ConfigError
from thinktwice.methods.transplant import posed, shortcuts
from thinktwice.render import Render
from thinktwice.types import ControlToken, Example, Problem, Sampling, Task, Trace

STRENGTHS = (1e-3, 1e-2, 0.1, 1.0)
"""Inverse regularisation; dev chooses."""
CHUNK = 256


@dataclass(frozen=True)
class Probe:
    """Score solutions by a direction in the states of a model that reads them.

    The direction is fitted on the differences within pairs of the train problems, so that what a question's two
    solutions share says nothing. An arm with it is not trained; it needs dev problems.
    """

    at: Literal["last", "mean", "both"] = "both"
    """Whose states: of the solution's last token, the mean of all its tokens, or both side by side."""
    question: bool = True
    """Whether the model reads the question."""
    direction: tuple[float, ...] = ()
    """What was fitted; a run finds it."""

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """None."""
        return ()

    def collect(
        self, problems: Sequence[Problem], engine: Engine | None, render: Render, task: Task, seed: int
    ) -> list[Trace]:
        """Refuse: nothing of the model is trained."""
        raise ConfigError("method.name=probe reads a model as it is; give the arm trained: false, or weights.")

    def examples(self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render) -> list[Example]:
        """Return nothing."""
        return []

    def calibrate(
        self, problems: Sequence[Problem], engine: Any, render: Render, sampling: Sampling, task: Task
    ) -> tuple["Probe", dict[str, Any]]:
        """Fit the direction on the train pairs; how strongly it is regularised is chosen on dev."""
        train = [p for p in task.splits["train"] if len(p.choices) == posed.PAIR]
        dev = [p for p in task.splits["dev"] if len(p.choices) == posed.PAIR]
        learned, held = (self._differences(part, engine, render) for part in (train, dev))
        scale = learned.std(axis=0) + 1e-6
        signs = np.where(np.arange(len(learned)) % 2, 1.0, -1.0)[:, None]  # both classes, no preferred side
        best: tuple[float, float, NDArray[np.float64]] | None = None
        tried: dict[str, float] = {}
        for strength in STRENGTHS:
            model = shortcuts.sklearn("linear_model").LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
            model.fit(learned / scale * signs, signs[:, 0] > 0)
            direction: NDArray[np.float64] = np.asarray(model.coef_[0], np.float64) / scale
            accuracy = float((held @ direction > 0).mean())
            tried[str(strength)] = accuracy
            if best is None or accuracy > best[0]:
                best = accuracy, strength, direction
        assert best is not None
        record = {"bias": 0.0, "curve": [], "accuracy": {}, "strength": best[1], "dev": tried, "pairs": len(train)}
        return replace(self, direction=tuple(float(f"{value:.6g}") for value in best[2])), record

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Score every candidate by itself."""
        if not self.direction:
            raise ConfigError("method.name=probe has not been fitted; it needs evaluation.dev_problems above 0.")
        states = self._states(problems, engine, render)
        values = states @ np.array(self.direction)
        logprobs = -np.logaddexp(0.0, -values)
        traces, start = [], 0
        for problem in problems:
            n = len(problem.choices)
            traces.append(posed.told_by_score(problem, logprobs[start : start + n].tolist(), [0] * n))
            start += n
        return traces

    def _differences(self, problems: Sequence[Problem], engine: Engine, render: Render) -> NDArray[np.float64]:
        """Return (pairs, features): the states of the right candidate less those of the wrong one."""
        states = self._states(problems, engine, render).reshape(len(problems), posed.PAIR, -1)
        right = np.array([next(iter(posed.rights(p))) for p in problems])
        rows = np.arange(len(problems))
        found: NDArray[np.float64] = states[rows, right] - states[rows, 1 - right]
        return found

    def _states(self, problems: Sequence[Problem], engine: Engine, render: Render) -> NDArray[np.float64]:
        """Return (candidates of all problems, features)."""
        if not isinstance(engine, ReadingEngine):
            raise ConfigError("a probe needs a model in this process; a server does not show its states.")
        texts, lengths = [], []
        for item in map(posed.to_item, problems):
            prompt = render.question(item.question if self.question else "")
            for candidate in item.candidates:
                span = candidate.token_ids or render.encode(candidate.text)
                texts.append((*prompt, *span))
                lengths.append(len(span))
        found = []
        for start in range(0, len(texts), CHUNK):
            states = engine.token_states(texts[start : start + CHUNK])
            for state, length in zip(states, lengths[start : start + CHUNK], strict=True):
                own = state[-length:].astype(np.float64)
                parts = {"last": [own[-1]], "mean": [own.mean(axis=0)], "both": [own[-1], own.mean(axis=0)]}
                found.append(np.concatenate(parts[self.at]))
        return np.array(found)

    def findings(self, problems: Any, records: Any, render: Render, task: Task, weights: Any) -> Any:
        """Return the numbers of a verifier."""
        from thinktwice.methods.transplant.findings import findings

        return findings(problems, records, weights)
