"""Answers that are written with feedback on an earlier one. Law: what is kept of the earlier answer keeps its ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thinktwice.decode.walk import split_steps
from thinktwice.engines.base import Engine
from thinktwice.methods.evolve.critics import MARK
from thinktwice.methods.evolve.feedback import write
from thinktwice.methods.evolve.prompts import Shot, refine_text
from thinktwice.methods.evolve.rows import Attempt, Critique
from thinktwice.render import Render
from thinktwice.types import Completion, Problem, Sampling, Task

if TYPE_CHECKING:
    from thinktwice.methods.evolve import Evolve


@dataclass(frozen=True, slots=True)
class Mended:
    """An answer, what was said of it, and the answer that came of it."""

    before: Attempt
    critique: Critique
    after: Attempt


def to_attempt(
    problem: Problem,
    sample: int,
    completion: Completion,
    render: Render,
    task: Task,
    *,
    begun: Sequence[int] = (),
    mended: bool = False,
) -> Attempt:
    """Read a completion as an answer; `begun` are the ids that it went on from, where those are part of it."""
    ids = (*begun, *(token for token in completion.kept_ids if token != render.end_id))
    text = render.text(ids)
    answer = task.score(problem, text).answer
    mean = sum(completion.logprobs) / max(1, len(completion.logprobs))
    return Attempt(problem.id, sample, ids, text, answer, completion.stop, mean, mended)


def mend(
    method: "Evolve",
    pairs: Sequence[tuple[Problem, Attempt, Critique]],
    engine: Engine,
    render: Render,
    sampling: Sampling,
    task: Task,
    shots: Sequence[Shot] = (),
) -> list[Mended]:
    """Write better answers, one for each (problem, answer, feedback that says it is wrong); what cannot be is left out.

    resume: the lines before the first wrong one stay as they were sampled, the line that feedback puts in its place is
    encoded (nobody sampled it as part of an answer), and the model goes on, with the examples `shots` in its prompt as
    when it answered. rewrite: the model reads question, answer and feedback, and writes anew.
    """
    if method.mend == "none":
        return []
    rows: list[tuple[Problem, Attempt, Critique, tuple[int, ...], tuple[int, ...]]] = []
    for problem, attempt, critique in pairs:
        if method.mend == "rewrite":
            rows.append((problem, attempt, critique, _asked(method, problem, attempt, critique, render), ()))
            continue
        step, line = critique.feedback.step, critique.feedback.explanation
        lines = split_steps(attempt.token_ids, render.step_ends)
        if step is None or not line or step > len(lines):
            continue
        last = line.startswith("####")
        begun = (*(t for own in lines[: step - 1] for t in own), *render.encode(line if last else line + "\n"))
        prompt = method.answer_prompt(problem, render, shots)
        rows.append((problem, attempt, critique, (*prompt, *begun), begun))
    done = engine.generate(
        [row[3] for row in rows],
        sampling,
        rules=method.rules(render),
        keys=[row[0].key + 1000 + row[1].sample for row in rows],
    )
    return [
        Mended(
            attempt,
            critique,
            to_attempt(problem, attempt.sample, completion, render, task, begun=begun, mended=True),
        )
        for (problem, attempt, critique, _, begun), completion in zip(rows, done, strict=True)
    ]


def _asked(method: "Evolve", problem: Problem, attempt: Attempt, critique: Critique, render: Render) -> tuple[int, ...]:
    said = critique.feedback.text or write(critique.feedback)
    text = refine_text(problem.prompt, MARK, said, instruction=method.instruction)
    before, _, after = text.partition(MARK)
    return render.compose((before, attempt.token_ids, after))
