from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import pytest

from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.errors import ConfigError, ModelError
from thinktwice.methods.backtrack import UNDO
from thinktwice.methods.baseline import Baseline
from thinktwice.render import PLAIN, Render
from thinktwice.train.nano import tokenizer
from thinktwice.types import Completion, Problem, Sampling, Task

PROBLEM = Problem("p", "How many?", "7", "3 + 4 = 7\n#### 7")


@pytest.fixture(scope="module")
def render() -> Render:
    made = tokenizer()
    made.add_special_tokens({"additional_special_tokens": [UNDO.token]})
    return Render(made, PLAIN)


class Likely(ScriptedEngine):
    """Says what it is told, each reply with its own log-probability a token; remembers how it was asked."""

    def __init__(self, replies: Sequence[tuple[str, float]], render: Render) -> None:
        super().__init__([(*render.encode(text), render.end_id) for text, _ in replies], eos_ids={render.end_id})
        self.logprobs = [logprob for _, logprob in replies]

    def generate(self, prompts: Any, sampling: Sampling, **options: Any) -> list[Completion]:
        self.sampling, self.options = sampling, options
        done = super().generate(prompts, sampling, **options)
        return [
            replace(c, logprobs=(logprob,) * len(c.token_ids))
            for c, logprob in zip(done, chain(self.logprobs, repeat(0.0)), strict=False)
        ]


def chosen(method: Baseline, render: Render, *replies: tuple[str, float]) -> str:
    return method.solve([PROBLEM], Likely(replies, render), render, Sampling())[0].reply


def test_the_majority_wins_whatever_its_likelihood(render: Render) -> None:
    replies = (("#### 5", -0.1), ("a\n#### 7", -3.0), ("#### 7.0", -2.0))
    assert chosen(Baseline(samples=3), render, *replies) == "#### 7.0"  # 7 and 7.0 are one answer; its likeliest reply


def test_a_tie_goes_to_the_likelier_answer(render: Render) -> None:
    replies = [("#### 5", -0.9), ("#### 7", -0.2), ("#### 5", -0.3), ("#### 7", -0.8)]
    assert chosen(Baseline(samples=4), render, *replies) == "#### 7"
    assert chosen(Baseline(samples=4), render, *replies[::-1]) == "#### 7"
    assert chosen(Baseline(samples=2), render, ("#### 5", -0.1), ("#### 7", -0.2)) == "#### 5"


def test_likeliest_ignores_the_votes_and_the_length(render: Render) -> None:
    replies = (("#### 7", -0.5), ("#### 7", -0.5), ("longer and longer\n#### 5", -0.4))
    assert chosen(Baseline(samples=3, choose="likeliest"), render, *replies).endswith("#### 5")


def test_a_reply_without_an_answer_never_wins_against_one_with_an_answer(render: Render) -> None:
    silent = [("no idea", -0.01)] * 3
    assert chosen(Baseline(samples=4), render, *silent, ("#### 5", -9.0)) == "#### 5"
    assert chosen(Baseline(samples=3), render, *silent) == "no idea"


def test_the_reply_that_stands_for_an_answer_states_it(render: Render) -> None:
    # The scorer reads stated answers only: a vote won by "7" must not be lost by the reply that shows it.
    assert chosen(Baseline(samples=3), render, ("so 7", -0.1), ("#### 7", -2.0), ("#### 5", -0.1)) == "#### 7"


@pytest.mark.parametrize(("one", "other"), [("False", "True"), ("C", "A")])
def test_words_and_letters_are_votes_too(render: Render, one: str, other: str) -> None:
    replies = [(f"in 1843\nThe answer is: {one}", -2.0), (f"in 1799\nThe answer is: {one}", -3.0)]
    likelier = (f"in 1843\nThe answer is: {other}", -0.1)
    assert chosen(Baseline(samples=3), render, *replies, likelier).endswith(one)


def test_replies_that_lost_the_vote_are_in_the_trace_and_paid_for(render: Render) -> None:
    engine = Likely([("#### 5", -0.1), ("3 + 4 = 7\n#### 7", -1.0), ("#### 7", -2.0)], render)
    (trace,) = Baseline(samples=3).solve([PROBLEM], engine, render, Sampling())
    assert [(step.text, step.kept) for step in trace.steps] == [
        ("#### 5", False),
        ("#### 7", False),
        ("3 + 4 = 7\n#### 7", True),
    ]
    lengths = [len(render.encode(text)) + 1 for text in ("#### 5", "#### 7", "3 + 4 = 7\n#### 7")]  # + the end token
    assert trace.sampled_tokens == sum(lengths)
    assert [len(step.token_ids) for step in trace.steps] == lengths


def test_every_sample_has_its_own_stream_and_the_chosen_temperature(render: Render) -> None:
    engine = Likely([("#### 5", -0.1)] * 6, render)
    problems = [PROBLEM, replace(PROBLEM, id="q")]
    traces = Baseline(samples=3, temperature=0.7).solve(problems, engine, render, Sampling(max_new_tokens=9, seed=4))
    assert [trace.problem_id for trace in traces] == ["p", "q"]
    assert engine.sampling == Sampling(temperature=0.7, max_new_tokens=9, seed=4)
    keys = engine.options["keys"]
    assert len(set(keys)) == 6
    assert keys[0] == PROBLEM.key
    assert engine.prompts == [render.prompt(problem) for problem in problems for _ in range(3)]


@pytest.mark.parametrize("choose", ["majority", "likeliest"])
def test_failed_replies_lose_and_a_problem_with_nothing_else_is_an_error(choose: Any, render: Render) -> None:
    engine = Likely([("#### 5", -0.1)], render)  # the script has one reply; the others fail
    method = Baseline(samples=2, choose=choose)
    first, second = method.solve([PROBLEM, replace(PROBLEM, id="q")], engine, render, Sampling())
    assert (first.stop, first.reply) == ("done", "#### 5")
    assert (second.stop, second.reply) == ("error", "")
    assert second.error


def test_silenced_tokens_cannot_be_drawn(render: Render) -> None:
    engine = Likely([("#### 5", -0.1)], render)
    Baseline(silenced=(UNDO.token,)).solve([PROBLEM], engine, render, Sampling())
    (rule,) = engine.options["rules"]
    assert rule.undo_id == render.control_id(UNDO.token)
    with pytest.raises(ModelError, match="no token '<redo>'"):
        Baseline(silenced=("<redo>",)).solve([PROBLEM], engine, render, Sampling())


def test_it_learns_the_reference_and_nothing_of_the_prompt(render: Render) -> None:
    task = Task("t", {}, lambda *_: None)  # type: ignore[arg-type, return-value]
    problems = [PROBLEM, replace(PROBLEM, id="without", solution=None)]
    traces = Baseline().collect(problems, None, render, task, 0)
    (example,) = Baseline().examples(problems, traces, render)
    prompt, reply = render.prompt(PROBLEM), render.solution(PROBLEM.solution or "")
    assert example.token_ids == (*prompt, *reply)
    learned = [t for t, weight in zip(example.targets, example.weights, strict=True) if weight]
    assert tuple(learned) == reply
    assert learned[-1] == render.end_id


def test_at_least_one_reply() -> None:
    with pytest.raises(ConfigError, match=r"method\.samples=0"):
        Baseline(samples=0)
