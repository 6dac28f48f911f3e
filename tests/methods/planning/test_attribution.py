"""Attribution of planted faults: every precision and recall is known before it is measured."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.planning import Planning
from thinktwice.methods.planning.attribution import Attribution, attribute, faulty_line, first_false, usually
from thinktwice.methods.planning.blame import tables
from thinktwice.records import TraceRecord
from thinktwice.render import Render
from thinktwice.scoring.stats import wilson
from thinktwice.types import Completion, LineVerdict, Problem, Sampling, Score, Task, Trace

TYPED = Planning(num_general_prefix_tokens=1, num_special_prefix_tokens=2, constrained=True)
END = 127
REPLIES = {
    "slip of memory": ("memory|m one", "memory|m two!", "reason|r three", "answer|a no"),
    "slip of reason": ("memory|m one", "memory|m two", "reason|r three!", "answer|a no"),
    "knows no better": ("memory|m one", "memory|m two!", "reason|r three", "answer|a no"),
    "repaired by luck": ("memory|m one", "memory|m two", "reason|r three!", "answer|a no"),
    "repaired by a coin": ("memory|m two", "memory|m one", "reason|r three!", "answer|a no"),
    "wrong type": ("memory|m one", "reason|m two!", "reason|r three", "answer|a no"),
    "idle before": ("memory|m one", "memory|m one~", "memory|m two", "reason|r three!", "answer|a no"),
}
PLANTED = {
    "slip of memory": 4, "slip of reason": 3, "knows no better": 2, "repaired by luck": 1, "wrong type": 1,
    "idle before": 1, "repaired by a coin": 1,
}  # fmt: skip
MENDED = ("slip of memory", "knows no better", "repaired by luck", "repaired by a coin", "wrong type")
"""What the right memory lines make right."""
FACTS = "m one\nm two\n"


class Planted(ScriptedEngine):
    """A model with planted faults. Greedy, it is asked with the reference's facts; sampled, with lines of its reply."""

    def __init__(self, render: Render) -> None:
        self._blocks = TYPED.blocks(render)
        self._render = render
        self.asked: list[tuple[float, str]] = []
        super().__init__(self._say, eos_ids={END})

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, **options: Any) -> list[Completion]:
        self._temperature = sampling.temperature
        return super().generate(prompts, sampling, **options)

    def _say(self, prompt: Sequence[int]) -> list[int]:
        text = self._render.text([i for i in prompt if i < 128])
        fault, _, reply = text.partition("\n")
        self.asked.append((self._temperature, reply))
        fault = fault.rpartition(" ")[0]
        if not self._temperature:
            right = fault in MENDED
        elif reply == FACTS and fault in ("knows no better", "repaired by a coin"):
            right = fault == "knows no better"
        else:
            right = "!" not in reply and fault != "knows no better"
        return [self._blocks.own["answer"][0], *self._render.encode("a yes" if right else "a no"), END]


def score(problem: Problem, reply: str) -> Score:
    return Score(float(reply.rpartition("\n")[2] == "a yes"))


@pytest.fixture
def problems() -> list[Problem]:
    names = [f"{fault} {i}" for fault, count in PLANTED.items() for i in range(count)]
    solution, labels = "m one\nm two\nr three\na yes", ("memory", "memory", "reason")
    return [Problem(name, name, "yes", solution, labels=labels) for name in (*names, "right 0", "cut off 0")]


@pytest.fixture
def records(problems: list[Problem], write: Callable[..., Trace]) -> list[TraceRecord]:
    made = []
    for problem in problems:
        fault = problem.id.rpartition(" ")[0]
        trace = write(
            problem.id, *REPLIES.get(fault, ("answer|a yes",)), stop="budget" if fault == "cut off" else "done"
        )
        right = float(fault == "right")
        made.append(TraceRecord(f"1/{problem.id}", "typed", 1, problem.prompt, "yes", trace, Score(right)))
    return made


@pytest.fixture
def look(
    problems: list[Problem], records: list[TraceRecord], render: Render, spoken: Any
) -> Callable[..., tuple[Attribution, Planted]]:
    def run(oracle: Any = spoken, method: Planning = TYPED, **options: Any) -> tuple[Attribution, Planted]:
        engine = Planted(render)
        task = Task("toy", {}, score, oracle)
        return attribute(method, problems, records, engine, render, Sampling(), task, **options), engine

    return run


def test_both_ways_say_of_each_fault_what_they_must(look: Callable[..., tuple[Attribution, Planted]]) -> None:
    found, _ = look()
    said = {case.key.removeprefix("1/").rpartition(" ")[0]: case for case in found.cases}
    assert {fault: (case.truth, case.substitution, case.resampling) for fault, case in said.items()} == {
        "slip of memory": ("memory", "memory", "memory"),
        "slip of reason": ("reason", "reason", "reason"),
        "knows no better": ("memory", "memory", ""),
        "repaired by luck": ("reason", "memory", "reason"),
        "repaired by a coin": ("reason", "reason", "reason"),
        "wrong type": ("memory", "memory", "reason"),
        "idle before": ("reason", "reason", "reason"),
    }
    assert said["slip of memory"].right == (32, 32, 0, 0, 0)
    assert said["idle before"].right == (32, 32, 32, 32, 0, 0)
    assert {fault: (case.faulty, case.false_line) for fault, case in said.items()}["idle before"] == (3, 3)
    assert (found.wrong, found.unfinished, found.judged, len(found.cases)) == (14, 1, True, 13)


def test_precision_and_recall_are_those_that_were_planted(look: Callable[..., tuple[Attribution, Planted]]) -> None:
    found = {finding.title: finding for finding in tables(look()[0])}
    trust = {row[:2]: row[2:] for row in found["How far to trust that"].rows}

    def share(part: int, whole: int) -> str:
        low, high = wilson(part, whole)
        return f"{100 * part / whole:.1f}\u00a0% ({100 * low:.1f} to {100 * high:.1f})"

    assert trust == {
        ("substitution", "memory"): ("8", share(7, 8), "53.8\u00a0%", "7", share(7, 7)),
        ("substitution", "reason"): ("5", share(5, 5), "46.2\u00a0%", "6", share(5, 6)),
        ("resampling", "memory"): ("4", share(4, 4), "53.8\u00a0%", "7", share(4, 7)),
        ("resampling", "reason"): ("7", share(6, 7), "46.2\u00a0%", "6", share(6, 6)),
    }
    where = {row[0]: row[1:] for row in found["Which line resampling points at"].rows}
    assert where["all"] == ("13", share(11, 13), "0.0\u00a0%", "0.0\u00a0%", "15.4\u00a0%")
    assert where["reason"][1] == share(6, 6)
    around = {row[0]: row[1:] for row in found["Right continuations around the first false line"].rows}
    assert around["memory"] == ("7", "71.4\u00a0%", "0.0\u00a0%", "28.6\u00a0%")


def test_the_model_is_given_the_references_facts_with_their_blocks_and_its_own_lines_as_they_were(
    look: Callable[..., tuple[Attribution, Planted]],
    records: list[TraceRecord],
    render: Render,
    problems: list[Problem],
) -> None:
    _, engine = look(samples=2)
    asked = Counter(engine.asked)
    assert asked[0.0, FACTS] == 13
    assert asked[1.0, ""] == 13 * 2
    assert asked[1.0, "m one\nm two!\nr three\n"] == 7 * 2
    blocks = TYPED.blocks(render)
    block = (*blocks.prefix, *blocks.own["memory"])
    facts = (*block, *render.encode("m one\n"), *block, *render.encode("m two\n"))
    assert (*render.prompt(problems[0]), *facts, *blocks.prefix) in engine.prompts
    own = [i for step in records[0].trace.steps for i in step.token_ids]
    cut = len(own) - len(render.encode("a no")) - 3
    assert (*render.prompt(problems[0]), *own[:cut], *blocks.prefix) in engine.prompts


def test_what_an_oracle_knows_changes_nothing_that_is_said(look: Callable[..., tuple[Attribution, Planted]]) -> None:
    blind, seeing = look(oracle=None)[0], look()[0]
    assert [replace(case, truth=None, false_line=None) for case in seeing.cases] == list(blind.cases)
    assert not blind.judged
    (only,) = tables(blind)
    assert "nobody knows" in only.note
    assert [row[0] for row in only.rows] == ["substitution", "resampling"]
    assert only.rows[0][1].startswith("61.5")


def test_without_labels_only_resampling_is_left(
    look: Callable[..., tuple[Attribution, Planted]], problems: list[Problem]
) -> None:
    problems[:] = [replace(problem, labels=()) for problem in problems]
    found, engine = look()
    assert {case.repaired for case in found.cases} == {None}
    assert all(temperature for temperature, _ in engine.asked)
    said, trust, *_ = tables(found)
    assert "No line of the references is one of memory" in said.note
    assert {row[0] for row in trust.rows} == {"resampling"}


def test_a_limit_draws_the_same_answers_every_time(look: Callable[..., tuple[Attribution, Planted]]) -> None:
    heard: list[tuple[int, int]] = []
    first = look(limit=9, samples=2, listen=lambda done, total: heard.append((done, total)))[0]
    assert heard == [(8, 9), (9, 9)]
    assert len(first.cases) == 9
    assert first.wrong == 14
    assert [case.key for case in look(limit=9, samples=3)[0].cases] == [case.key for case in first.cases]


def test_what_cannot_be_attributed_is_refused(
    look: Callable[..., tuple[Attribution, Planted]], records: list[TraceRecord]
) -> None:
    with pytest.raises(ConfigError, match="plan_first"):
        look(method=replace(TYPED, constrained=False, placement="plan_first"))
    records[:] = [record for record in records if record.score.value or record.trace.stop != "done"]
    with pytest.raises(DataError, match="nothing to attribute"):
        look()


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ([16, 14, 15, 3, 0], 2),
        ([16, 0, 16, 0, 0], 0),  # the first, not the deepest
        ([16, 12, 8, 4, 0], None),  # little by little
        ([0, 0, 0], None),
        ([5, 0], 0),
        ([4, 0], None),
    ],
)
def test_the_faulty_line_is_the_first_significant_fall(right: list[int], expected: int | None) -> None:
    assert faulty_line(right, 16) == expected


def test_more_than_half_is_more_than_luck() -> None:
    assert next(k for k in range(17) if usually(k, 16)) == 12  # 697 / 16384, the sign test's table
    assert not usually(4, 4)  # four of four happens by luck once in sixteen


def test_where_nothing_falls_a_line_is_seldom_called_faulty() -> None:
    rng, called = random.Random(0), 0
    for _ in range(1000):
        called += faulty_line([sum(rng.random() < 0.5 for _ in range(16)) for _ in range(8)], 16) is not None
    assert called <= 50  # 5 % over all lines together


def test_the_truth_is_the_first_line_that_says_something_false() -> None:
    idle, unreadable = LineVerdict("not needed", "memory", harmless=True), LineVerdict("unreadable")
    assert first_false([LineVerdict("", "memory"), idle, LineVerdict("wrong step", "answer")]) == (2, "reason")
    assert first_false([unreadable, LineVerdict("wrong fact", "memory")]) == (0, "")
    assert first_false([idle]) is None
