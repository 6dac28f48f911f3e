"""Who writes feedback, and how it is asked. Law: a critic never sees a problem's answer unless its method says so.

Two ways to ask. *plain*: the question and the answer stand in one prompt, feedback is text (`prompts.feedback_text`).
*bare*, for nano bases: the answer is shown line by line (`decode.walk`), and after each line the critic draws a
verdict, so that it judges a line where it stands; after a wrong one it writes the line that should stand there. What a
critic reads when it judges is what its training showed, in either way.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from thinktwice.decode.undo import NoUndo
from thinktwice.decode.walk import CORRECT, CRITIQUE, INCORRECT, OnlyVerdicts, Walk, annotate, split_steps
from thinktwice.engines.base import Engine
from thinktwice.errors import DataError
from thinktwice.methods.evolve.feedback import Feedback, Wording, read, write
from thinktwice.methods.evolve.prompts import Shot, check_hidden, feedback_text
from thinktwice.methods.evolve.rows import Attempt, Critique, blind
from thinktwice.render import Render
from thinktwice.types import Completion, Problem, Sampling, Task

FEEDBACK_TOKENS = 200
"""The most tokens of one feedback, as in the public code."""
MARK = "\x00answer\x00"
Judge = Callable[[Problem, str], Feedback]
"""`(problem, answer text) -> feedback`: a tool, an oracle, a person's file. What it sees is its caller's to limit."""


@dataclass(frozen=True)
class Critic:
    """A model that writes feedback."""

    engine: Engine
    render: Render
    wording: Wording = "plain"
    instruction: str = ""
    shots: tuple[Shot, ...] = ()
    never: tuple[int, ...] = ()
    """Ids that are not drawn: control tokens that are no verdicts."""

    def criticise(
        self, problems: Mapping[str, Problem], attempts: Sequence[Attempt], n: int, sampling: Sampling, source: str
    ) -> list[list[Critique]]:
        """Write `n` critiques of each answer.

        Args:
            problems: by id; answers are taken out before anything is shown, and looked for in what is.
            attempts: what is judged; none of them empty.
            n: critiques an answer; the first is greedy where n is 1 or the temperature 0.
            sampling: how they are drawn.
            source: named in the feedback.

        Raises:
            DataError: a prompt shows the gold answer where nobody gave it.
        """
        if self.wording == "plain":
            for attempt in attempts:
                asked(problems[attempt.problem_id], attempt, self.instruction, self.shots)
        ask = self._bare if self.wording == "bare" else self._plain
        return ask({key: blind(p) for key, p in problems.items()}, attempts, n, sampling, source)

    # -- plain ---------------------------------------------------------------------------------------------------------

    def prompt(self, problem: Problem, attempt: Attempt, shots: Sequence[Shot] = ()) -> tuple[int, ...]:
        """Return the ids that feedback goes on from; the answer's stand in them as they were sampled."""
        text = feedback_text(problem.prompt, MARK, instruction=self.instruction, shots=shots)
        before, _, after = text.rpartition(MARK)
        return self.render.compose((before, attempt.token_ids, after))

    def _plain(
        self, problems: Mapping[str, Problem], attempts: Sequence[Attempt], n: int, sampling: Sampling, source: str
    ) -> list[list[Critique]]:
        prompts = [self.prompt(problems[a.problem_id], a, self.shots) for a in attempts for _ in range(n)]
        keys = [problems[a.problem_id].key + 1000 * a.sample + m for a in attempts for m in range(n)]
        done = self.engine.generate(prompts, sampling, rules=self._rules(), keys=keys)
        found = [self._read(attempts[i // n], completion, source) for i, completion in enumerate(done)]
        return [found[i : i + n] for i in range(0, len(found), n)]

    def _read(self, attempt: Attempt, completion: Completion, source: str) -> Critique:
        ids = completion.kept_ids
        feedback = read(self.render.text(ids), source)
        if completion.stop != "done":  # cut off: to learn it would be to learn to stop there
            feedback = replace(feedback, verdict="unparsed")
        says = feedback.says_right
        confidence = 1.0 if feedback.confidence is None else feedback.confidence
        sure = None if says is None else confidence if says else 1 - confidence
        return Critique(attempt.key, feedback, ids, (True,) * len(ids), sure)

    def _rules(self) -> list[NoUndo]:
        return [NoUndo(token) for token in self.never]

    # -- bare ----------------------------------------------------------------------------------------------------------

    def _bare(
        self, problems: Mapping[str, Problem], attempts: Sequence[Attempt], n: int, sampling: Sampling, source: str
    ) -> list[list[Critique]]:
        render = self.render
        right, wrong = (render.control_id(token.token) for token in (CORRECT, INCORRECT))
        steps = [split_steps(a.token_ids, render.step_ends) for a in attempts]
        prompts = [(*opening(problems[a.problem_id], render), *own[0]) for a, own in zip(attempts, steps, strict=True)]
        found: list[list[Critique]] = [[] for _ in attempts]
        # A control knows a row by its prompt, so answers that begin alike are shown one after the other.
        for group in _apart(prompts):
            control = Walk({prompts[i]: steps[i] for i in group}, right)
            rows = [(i, m) for i in group for m in range(n)]
            done = self.engine.generate(
                [prompts[i] for i, _ in rows],
                sampling,
                controls=[control],
                rules=[OnlyVerdicts(right, wrong), *self._rules()],
                keys=[problems[attempts[i].problem_id].key + 1000 * attempts[i].sample + m for i, m in rows],
            )
            for (i, _), completion in zip(rows, done, strict=True):
                found[i].append(self._walked(attempts[i], steps[i][0], completion, source, (right, wrong)))
        return found

    def _walked(
        self, attempt: Attempt, first: tuple[int, ...], completion: Completion, source: str, ids: tuple[int, int]
    ) -> Critique:
        right, wrong = ids
        kept = [
            (token, fate == "kept", logprob)
            for token, fate, logprob in zip(completion.token_ids, completion.fates, completion.logprobs, strict=True)
            if fate in ("kept", "inserted")
        ]
        verdicts = [(token, logprob) for token, drawn, logprob in kept if drawn and token in (right, wrong)]
        said = [token for token, _, _ in kept]
        at = said.index(wrong) if wrong in said else len(said)
        line = self.render.text(said[at + 1 :]).strip()
        # The chance that every line is right, in the critic's eyes: of those it did not reach it says nothing.
        chance = math.exp(sum(logprob for token, logprob in verdicts if token == right))
        if at < len(said):
            refused = math.exp(next(logprob for token, logprob in verdicts if token == wrong))
            chance *= 1 - refused
        step = sum(token == right for token, _ in verdicts) + 1
        complete = at < len(said) or completion.stop == "done"
        feedback = (
            Feedback("incorrect", 1 - chance, step, line)
            if at < len(said)
            else Feedback("correct" if complete else "unparsed", chance)
        )
        text = self.render.text((*first, *said))
        return Critique(
            attempt.key,
            replace(feedback, text=text, source=source),
            (*first, *said),
            (*(False,) * len(first), *(drawn for _, drawn, _ in kept)),
            chance,
        )


def asked(problem: Problem, attempt: Attempt, instruction: str, shots: Sequence[Shot]) -> str:
    """Return the plain question to a critic, which shows no reference answer that question and answer do not show.

    Raises:
        DataError: it does.
    """
    text = feedback_text(problem.prompt, attempt.text, instruction=instruction, shots=shots)
    for gold in problem.references:
        check_hidden(text, gold, (problem.prompt, attempt.text, instruction), shots)
    return text


def opening(problem: Problem, render: Render) -> tuple[int, ...]:
    """Return what a bare critique begins with: the question, and the mark that says what follows."""
    return (*render.prompt(problem), render.control_id(CRITIQUE.token))


def spell(feedback: Feedback, attempt: Attempt, render: Render, wording: Wording) -> Critique:
    """Write feedback that no model of ours wrote (a person's, a tool's) as the ids that a critic would have written.

    Raises:
        DataError: bare feedback without a verdict, or on a step that the answer does not have.
    """
    sure = {True: 1.0, False: 0.0}.get(feedback.says_right) if feedback.says_right is not None else None
    if wording == "plain":
        ids = (*render.encode(feedback.text or write(feedback)), render.end_id)
        return Critique(attempt.key, feedback, ids, (True,) * len(ids), sure)
    right, wrong = (render.control_id(token.token) for token in (CORRECT, INCORRECT))
    steps = split_steps(attempt.token_ids, render.step_ends)
    if feedback.says_right is None or (feedback.step or 1) > len(steps):
        raise DataError(f"{attempt.key}: bare feedback needs a verdict, on one of the answer's {len(steps)} lines.")
    at = None if feedback.says_right else (feedback.step or len(steps)) - 1
    instead = (*(render.encode(feedback.explanation) if feedback.explanation else ()), render.end_id)
    token_ids, written = annotate(steps, right, wrong, at, instead)
    text = render.text(token_ids)
    return Critique(attempt.key, replace(feedback, text=text), token_ids, written, sure)


def oracle(task: Task) -> Judge:
    """Return the judge that knows: the step oracle where the task has one, else the reference answer."""

    def judge(problem: Problem, text: str) -> Feedback:
        right = task.score(problem, text).value == 1
        if task.oracle is None:
            return Feedback("correct" if right else "incorrect", 1.0, answer=None if right else problem.answer)
        found = task.oracle.first_wrong(problem, text)
        if found is None:  # lines that are right, or an answer that is right by luck
            return Feedback("correct" if right else "incorrect", 1.0)
        before = "".join(text.splitlines(keepends=True)[: found[0]])
        rest = task.oracle.complete(problem, before) or ""
        return Feedback("incorrect", 1.0, found[0] + 1, rest.splitlines()[0] if rest else "")

    return judge


def shuffled(critiques: Sequence[Sequence[Critique]], seed: int) -> list[list[Feedback]]:
    """Return every answer's feedback from another answer: the control in which feedback says nothing of its answer."""
    order = list(range(len(critiques)))
    random.Random(seed).shuffle(order)
    if len(order) == 1:
        return [[]]  # there is no other answer whose feedback it could have
    turned = dict(zip(order, [*order[1:], *order[:1]], strict=True))  # one circle: nobody keeps his own
    return [[critique.feedback for critique in critiques[turned[i]]] for i in range(len(critiques))]


def _apart(prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Group indices so that no group has a prompt twice."""
    groups: list[list[int]] = []
    seen: dict[tuple[int, ...], int] = {}
    for index, prompt in enumerate(prompts):
        turn = seen.get(prompt, 0)
        seen[prompt] = turn + 1
        if turn == len(groups):
            groups.append([])
        groups[turn].append(index)
    return groups
