"""What a round learns: which answers, which feedback, in which proportion. Law: in = kept + every reason dropped.

Rows to learn from are traces, so that `thinktwice show` prints them: an answer is a step of text, feedback is a
critique after the answer it judges (or after each of its lines), a refinement is an answer after both.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thinktwice.errors import ConfigError
from thinktwice.methods.evolve import critics
from thinktwice.methods.evolve.feedback import Feedback, Wording, write
from thinktwice.methods.evolve.prompts import refine_text
from thinktwice.methods.evolve.rows import Attempt, Critique, Ledger, Voted
from thinktwice.render import Render
from thinktwice.types import Example, Problem, Step, Trace

Accept = Literal["verdict", "majority", "gold", "reference", "all"]


@dataclass(frozen=True, slots=True)
class Objectives:
    """Weights of what is learned; 0 leaves it out."""

    feedback: float = 1.0
    """Question and answer are seen, the feedback is learned (ELITE, LaFFi)."""
    answer: float = 1.0
    """The question is seen, an accepted answer is learned (STaR, LMSI, ReST-EM, by `accept`)."""
    refine: float = 0.0
    """Question, answer and feedback are seen, the answer that was mended with it is learned."""
    distill: float = 0.0
    """The question is seen, what the model wrote with feedback in its context is learned, accepted or not (context
    distillation of sampled sequences)."""
    prompt: float = 0.0
    """Every token of question and accepted answer is learned: what the public code's trainer does."""

    def __post_init__(self) -> None:
        for name in ("feedback", "answer", "refine", "distill", "prompt"):
            if getattr(self, name) < 0:
                raise ConfigError(f"method.objectives.{name} is {getattr(self, name)}; it must be 0 or more.")
        if not any((self.feedback, self.answer, self.refine, self.distill, self.prompt)):
            raise ConfigError("method.objectives are all 0: nothing would be learned.")


def accepted(
    rule: Accept,
    problems: Mapping[str, Problem],
    attempts: Sequence[Attempt],
    voted: Mapping[str, Voted],
    truth: Mapping[str, bool],
    per_problem: int,
    seed: int,
) -> tuple[list[Attempt], Ledger]:
    """Return the answers to learn, and what became of the others.

    Args:
        rule: verdict: feedback says it is right; majority: it states what most of its problem's samples state; gold: it
            is right; reference: none, the problems' own solutions stand in their place; all: whatever was written.
        problems: by id.
        attempts: the round's answers, mended ones among them.
        voted: what feedback says of each, by key.
        truth: whether each is right, by key; read under `gold` alone.
        per_problem: the most answers of one problem; equal texts count once.
        seed: of the choice among more.
    """
    ledger = Ledger(came=len(attempts))
    chosen: list[Attempt] = []
    votes = _majorities(attempts) if rule == "majority" else {}
    for attempt in attempts:
        why = _refusal(rule, attempt, voted.get(attempt.key), truth, votes)
        if why:
            ledger.drop(why)
        else:
            chosen.append(attempt)
    by_problem: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in chosen:
        if any(attempt.token_ids == other.token_ids for other in by_problem[attempt.problem_id]):
            ledger.drop("the same answer again")
        else:
            by_problem[attempt.problem_id].append(attempt)
    kept = []
    for problem_id, answers in by_problem.items():
        order = random.Random(f"{seed}/{problem_id}").sample(answers, len(answers))
        kept += order[:per_problem]
        ledger.drop(f"more than {per_problem} of a problem", len(order) - len(order[:per_problem]))
    ledger.kept = len(kept)
    return kept, ledger


def _refusal(
    rule: Accept, attempt: Attempt, voted: Voted | None, truth: Mapping[str, bool], votes: Mapping[str, str]
) -> str:
    if attempt.stop != "done":
        return f"unfinished ({attempt.stop})"
    if rule == "all":
        return ""
    if rule == "gold":
        return "" if truth[attempt.key] else "wrong"
    if rule == "majority":
        if attempt.problem_id not in votes:
            return "no majority"
        return "" if attempt.answer == votes[attempt.problem_id] else "not the majority's answer"
    if voted is None:
        return "no feedback"
    return "" if voted.verdict == "correct" else f"found {voted.verdict}"


def _majorities(attempts: Sequence[Attempt]) -> dict[str, str]:
    """Return the answer that more than half of a problem's samples state, where there is one."""
    stated: dict[str, list[str | None]] = defaultdict(list)
    for attempt in attempts:
        if not attempt.mended:
            stated[attempt.problem_id].append(attempt.answer)
    found = {}
    for problem_id, answers in stated.items():
        answer, count = Counter(answers).most_common(1)[0]
        if answer is not None and 2 * count > len(answers):
            found[problem_id] = answer
    return found


def balanced(critiques: Sequence[Critique], seed: int, ledger: Ledger, most: int | None = None) -> list[Critique]:
    """Return as many critiques that say right as say wrong, `most` in all, so that no critic learns to agree."""
    by_verdict: dict[bool, list[Critique]] = {True: [], False: []}
    for critique in critiques:
        says = critique.feedback.says_right
        if says is None:
            ledger.drop(f"found {critique.feedback.verdict}")
        else:
            by_verdict[says].append(critique)
    few = min(len(rows) for rows in by_verdict.values())
    rng = random.Random(seed)
    ledger.drop("more of this verdict than of the other", sum(map(len, by_verdict.values())) - 2 * few)
    if most is not None and 2 * few > most:
        ledger.drop("more feedback than answers are learned", 2 * (few - most // 2))
        few = most // 2
    kept = [c for rows in by_verdict.values() for c in rng.sample(rows, few)]
    ledger.kept = len(kept)
    return kept


# -- rows -> traces ----------------------------------------------------------------------------------------------------


def answer_trace(attempt: Attempt, end_id: int) -> Trace:
    """Write an answer down as what is learned, its end included."""
    return Trace(attempt.problem_id, (Step("text", attempt.text, (*attempt.token_ids, end_id)),))


def distil_trace(attempt: Attempt, end_id: int) -> Trace:
    """Write an answer that feedback led to down as what is learned without that feedback in sight."""
    return Trace(attempt.problem_id, (Step("answer", attempt.text, (*attempt.token_ids, end_id)),))


def solution_trace(problem: Problem, render: Render) -> Trace:
    """Write a problem's own solution down as what is learned."""
    text = problem.solution or problem.answer
    return Trace(problem.id, (Step("text", text, render.solution(text), sampled=False),))


def critique_trace(attempt: Attempt, critique: Critique, render: Render, wording: Wording) -> Trace:
    """Write feedback down after what it judges; in the bare wording each verdict after its line."""
    if wording == "plain":
        ended = critique.token_ids[-1:] == (render.end_id,)
        said = critique.token_ids if ended else (*critique.token_ids, render.end_id)
        shown = Step("text", attempt.text, attempt.token_ids, sampled=False)
        return Trace(attempt.problem_id, (shown, Step("critique", critique.feedback.text, said)))
    steps: list[Step] = []
    ids: list[int] = []
    pairs = [*zip(critique.token_ids, critique.written, strict=True)]
    for index, (token, by_critic) in enumerate(pairs):
        ids.append(token)
        if index + 1 == len(pairs) or pairs[index + 1][1] != by_critic:
            kind: Literal["critique", "text"] = "critique" if by_critic else "text"
            steps.append(Step(kind, render.text(ids), tuple(ids), sampled=by_critic))
            ids = []
    return Trace(attempt.problem_id, tuple(steps))


def refine_trace(before: Attempt, feedback: Feedback, after: Attempt, end_id: int) -> Trace:
    """Write down an answer, what was said of it, and the answer that came of it."""
    return Trace(
        before.problem_id,
        (
            Step("text", before.text, before.token_ids, sampled=False),
            Step("critique", feedback.text or write(feedback), sampled=False),
            Step("answer", after.text, (*after.token_ids, end_id)),
        ),
    )


# -- traces -> examples ------------------------------------------------------------------------------------------------


def to_example(
    trace: Trace, problem: Problem, render: Render, wording: Wording, objectives: Objectives, instruction: str,
    content: bool, silent: Collection[int] = (),
) -> Example:  # fmt: skip
    """Turn a row into what the trainer learns. Law: the prompt is the one that the decoder asks with, without shots.

    Args:
        trace: of `answer_trace`, `distil_trace`, `critique_trace` or `refine_trace`.
        problem: its problem.
        render: of the model.
        wording: how a critic is asked.
        objectives: the weights.
        instruction: of the task.
        content: whether more of feedback is learned than its verdicts.
        silent: ids that are verdicts, the only ones learned without `content`.
    """
    kinds = [step.kind for step in trace.steps]
    if "critique" not in kinds:
        from thinktwice.methods.evolve.prompts import answer_text

        prompt = render.question(answer_text(problem.prompt, instruction=instruction))
        reply = trace.steps[0].token_ids
        if kinds == ["answer"]:
            return _example(trace, prompt, reply, [objectives.distill] * len(reply))
        weight = objectives.answer + objectives.prompt  # both learn the answer, one of them the question, too
        return _example(trace, prompt, reply, [weight] * len(reply), objectives.prompt)
    if kinds[-1] == "answer":
        answer, said, refined = trace.steps
        before, after = refine_text(problem.prompt, critics.MARK, said.text, instruction=instruction).split(
            critics.MARK
        )
        prompt = render.compose((before, answer.token_ids, after))
        return _example(trace, prompt, refined.token_ids, [objectives.refine] * len(refined.token_ids))
    if wording == "plain":
        answer, said = trace.steps
        shown = Attempt(problem.id, 0, answer.token_ids, answer.text, None, "done")
        prompt = critics.Critic(None, render, wording, instruction).prompt(problem, shown)  # type: ignore[arg-type]
        return _example(trace, prompt, said.token_ids, [objectives.feedback] * len(said.token_ids))
    ids = [token for step in trace.steps for token in step.token_ids]
    weights = [
        objectives.feedback if step.kind == "critique" and (content or token in silent) else 0.0
        for step in trace.steps
        for token in step.token_ids
    ]
    return _example(trace, critics.opening(problem, render), ids, weights)


def _example(
    trace: Trace, prompt: Sequence[int], reply: Sequence[int], weights: Sequence[float], on_prompt: float = 0.0
) -> Example:
    ids = (*prompt, *reply)
    seen = (on_prompt,) * (len(prompt) - 1)
    return Example(ids, (*ids[1:], 0), (*seen, *weights, 0.0), problem_id=trace.problem_id)


def without_content(critique: Critique, render: Render, keep: Collection[int]) -> Critique:
    """Return a critique of which only the verdicts are left.

    Args:
        critique: what was said.
        render: of the model that learns it.
        keep: ids that are verdicts, in the bare wording; none: feedback is text, and the verdict is written anew.
    """
    feedback = replace(critique.feedback.without_content(), text=critique.feedback.verdict)
    if not keep:
        feedback = replace(feedback, confidence=None, text=write(Feedback(feedback.verdict)))
        ids = (*render.encode(feedback.text), render.end_id)
        return replace(critique, feedback=feedback, token_ids=ids, written=(True,) * len(ids))
    last = max((i for i, token in enumerate(critique.token_ids) if token in keep), default=len(critique.token_ids) - 1)
    return replace(
        critique, feedback=feedback, token_ids=critique.token_ids[: last + 1], written=critique.written[: last + 1]
    )
