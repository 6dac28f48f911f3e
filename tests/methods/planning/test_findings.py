"""Tables of hand-written answers, counted by hand; and where trained rows lie."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from thinktwice.config import parse, to_dict
from thinktwice.methods import Observed
from thinktwice.methods.planning import Planning
from thinktwice.methods.planning.findings import OTHERS
from thinktwice.methods.planning.interventions import interventions
from thinktwice.methods.planning.written import written
from thinktwice.records import Finding, Summary, TraceRecord
from thinktwice.render import Render
from thinktwice.scoring.stats import wilson
from thinktwice.train.rows import token_rows
from thinktwice.types import Problem, Score, Step, Task, Trace

TYPED = Planning(num_general_prefix_tokens=1, num_special_prefix_tokens=2, constrained=True)
Write = Callable[..., Trace]
Tables = Callable[..., dict[str, Finding]]


def record(trace: Trace, level: int = 1, right: bool = True, arm: str = "typed") -> TraceRecord:
    return TraceRecord(f"{level}/{trace.problem_id}", arm, level, "q", "yes", trace, Score(float(right), "yes"))


def task(oracle: Any = None) -> Task:
    return Task("toy", {}, lambda problem, reply: Score(float("yes" in reply)), oracle)


@pytest.fixture
def tables(render: Render, spoken: Any) -> Tables:
    """Return an arm's tables by title, as a run keeps them."""

    def make(
        method: Planning,
        traces: list[Trace],
        render: Render = render,
        oracle: Any = spoken,
        levels: Sequence[int] = (),
        weights: Path = Path("/nowhere/model"),
    ) -> dict[str, Finding]:
        problems = [Problem(t.problem_id, "q", "yes") for t in traces]
        records = [record(t, level) for t, level in zip(traces, levels or [1] * len(traces), strict=True)]
        task = Task("toy", {}, lambda problem, reply: Score(float("yes" in reply)), oracle)
        found = method.findings(problems, records, render, task, weights)
        saved = json.loads(json.dumps(to_dict(Summary({}, findings={"typed": found}))))
        return {finding.title: finding for finding in parse(Summary, saved).findings["typed"]}

    return make


@pytest.fixture
def answers(write: Write) -> list[Trace]:
    return [
        write("p1", "memory|m one", "reason|r two", "answer|a yes"),
        write("p2", "memory|m one!", "memory|m two", "memory|r three", "answer|a no!"),
        write("p3", "reason|m one", "reason|r two!", "|r three", "a no"),
    ]


def rows(finding: Finding) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in finding.rows}


def test_a_planning_method_is_observed() -> None:
    assert isinstance(TYPED, Observed)


def test_an_answer_is_read_line_by_line_and_no_id_is_lost(render: Render, write: Write) -> None:
    trace = write("p", "memory reason|m one", "m two", "", "|r three", "answer|a yes")
    lines = written(TYPED, trace, render)
    assert [(line.type, line.line) for line in lines] == [
        ("memory reason", "m one"), ("no block", "m two"), ("untyped", "r three"), ("answer", "a yes"),
    ]  # fmt: skip
    assert [(line.planning, line.drawn) for line in lines] == [(5, 4), (0, 0), (1, 0), (3, 2)]
    assert sum((line.token_ids for line in lines), ()) == tuple(i for s in trace.steps for i in s.token_ids)


def test_what_was_taken_back_is_not_read(render: Render, write: Write) -> None:
    trace = write("p", "memory|m one", "reason|r two")
    gone = replace(
        trace, steps=(*trace.steps[:3], Step("error", "r x\n", render.encode("r x\n"), kept=False), *trace.steps[3:])
    )
    assert written(TYPED, gone, render) == written(TYPED, trace, render)


def test_a_plan_in_front_is_given_to_the_lines_in_order(render: Render, write: Write) -> None:
    method = replace(TYPED, placement="plan_first", constrained=False)
    lines = written(method, write("p", "memory|", "reason|", "answer|", "m one", "r two", "a yes"), render)
    assert [(line.type, line.line) for line in lines] == [("memory", "m one"), ("reason", "r two"), ("answer", "a yes")]


def test_text_tags_are_types(render: Render) -> None:
    method = Planning(tags=True)
    steps = (Step("plan", "[memory] ", (91,)), Step("text", "m one\n", (10,)), Step("text", "a yes", (97,)))
    assert [line.type for line in written(method, Trace("p", steps), render)] == ["memory", "no block"]


def test_steps_of_each_type_and_how_many_are_right(answers: list[Trace], tables: Tables) -> None:
    found = rows(tables(TYPED, answers)["Steps of each type"])
    low, high = wilson(3, 4)
    assert found["memory"] == ("4", "36.4\u00a0%", "1.33", f"75.0\u00a0% ({100 * low:.1f} to {100 * high:.1f})")
    assert found["reason"][0] == "3"
    assert found["reason"][3].startswith("66.7")
    assert (found["answer"][0], found["untyped"][0], found["no block"][0]) == ("2", "1", "1")
    assert sum(int(row[0]) for row in found.values()) == 11


def test_the_type_against_the_kind_and_the_majority(answers: list[Trace], tables: Tables) -> None:
    finding = tables(TYPED, answers)["The type that was written, and the kind of step it is"]
    assert finding.columns == ("written", "is memory", "is reason", "is answer")
    assert rows(finding)["memory"] == ("3", "1", "0")
    assert rows(finding)["reason"] == ("1", "2", "0")
    assert "Of 8 steps" in finding.note  # answers left out
    assert "62.5\u00a0% (" in finding.note  # 5 of 8: the untyped line agrees with nothing
    assert "Always saying “memory” would be right of 50.0\u00a0%" in finding.note
    # said: memory 4, reason 3, untyped 1; chance (4 * 4 + 3 * 4) / 64
    assert f"κ {(5 / 8 - 28 / 64) / (1 - 28 / 64):.2f}" in finding.note


def test_types_without_names_are_read_as_what_they_mostly_stand_for(
    render: Render, write: Write, tables: Tables
) -> None:
    method = replace(TYPED, labels=("one", "two"))
    tokenizer = type(render.tokenizer)(tuple(t.token for t in method.control_tokens))
    other = Render(tokenizer, render.template)
    traces = []
    for line in ("one|m a", "one|m b", "one|r c", "two|r d"):
        name, _, text = line.partition("|")
        plan = Step("plan", "", (*method.blocks(other).prefix, *method.blocks(other).own[name]))
        traces.append(Trace(f"p{len(traces)}", (plan, Step("text", text, other.encode(text)))))
    note = tables(method, traces, other)["The type that was written, and the kind of step it is"].note
    assert "75.0\u00a0% (" in note
    assert "most often stands for" in note


def test_the_first_wrong_step_against_what_stood_there(answers: list[Trace], tables: Tables) -> None:
    finding = tables(TYPED, answers)["The type of the first wrong step"]
    assert finding.note.startswith("2 answers have a wrong step")
    memory, reason = rows(finding)["memory"], rows(finding)["reason"]
    # up to the first wrong step: p1 m r a, p2 m, p3 r r
    assert (memory[0], memory[2], memory[3]) == ("1", "33.3\u00a0%", "1.50")
    assert (reason[0], reason[2], reason[3]) == ("1", "50.0\u00a0%", "1.00")
    assert memory[4].startswith("50.0")
    assert reason[4].startswith("33.3")


def test_what_is_wrong_and_what_follows_what(answers: list[Trace], tables: Tables) -> None:
    found = tables(TYPED, answers)
    wrong = found["What is wrong with the steps of each type"]
    assert dict(zip(wrong.columns[1:], rows(wrong)["memory"], strict=True))["false memory"] == "1"
    follows = found["What follows what"]
    after = dict(zip(follows.columns[1:], rows(follows)["memory"], strict=True))
    assert after == {
        "times": "4", "memory": "50.0\u00a0%", "reason": "25.0\u00a0%", "untyped": "–", "no block": "–",
        "answer": "25.0\u00a0%", "end": "–",
    }  # fmt: skip
    assert rows(follows)["start"][:3] == ("3", "66.7\u00a0%", "33.3\u00a0%")


def test_tokens_an_answer_by_level(answers: list[Trace], tables: Tables) -> None:
    finding = tables(TYPED, answers, levels=[2, 2, 5])["Steps and planning tokens an answer"]
    found = rows(finding)
    assert list(found) == ["2", "5", "all"]
    assert found["2"][:4] == ("2", "3.50", "10.50", "7.00")
    assert found["5"][1:4] == ("4.00", "7.00", "4.00")
    assert found["5"][5] == "1.00"  # the last line has no block


def test_without_an_oracle_of_lines_nothing_is_said_of_right_and_wrong(answers: list[Trace], tables: Tables) -> None:
    found = tables(TYPED, answers, oracle=None)
    assert list(found) == ["Steps of each type", "What follows what", "Steps and planning tokens an answer"]
    assert found["Steps of each type"].columns[-1] == "a problem"
    assert "No oracle" in found["Steps of each type"].note


def test_many_types_are_counted_together(render: Render, write: Write, tables: Tables) -> None:
    kinds = tuple(f"k{i}" for i in range(20))
    method = Planning(labels=kinds, num_general_prefix_tokens=0, num_special_prefix_tokens=1)
    other = Render(type(render.tokenizer)(tuple(t.token for t in method.control_tokens)), render.template)
    blocks = method.blocks(other)
    text = Step("text", "m x\n", other.encode("m x\n"))
    trace = Trace("p", tuple(step for name in kinds for step in (Step("plan", "", blocks.own[name]), text)))
    found = rows(tables(method, [trace], other)["Steps of each type"])
    assert len(found) == 13
    assert found[OTHERS][0] == "8"


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path: Path, render: Render) -> Path:
    """A base in which both types begin alike, and a model in which they point in opposite directions."""
    size, (memory, reason) = len(render.tokenizer), (TYPED.blocks(render).own[k] for k in ("memory", "reason"))
    base = torch.ones(size, 4) + 0.1 * torch.eye(size, 4)
    after = base.clone()
    after[list(memory)] = torch.tensor([2.0, 0.0, 0.0, 0.0])
    after[list(reason)] = torch.tensor([-3.0, 0.0, 0.0, 0.0])
    for place, table in (("base", base), ("train-typed/model", after)):
        folder = tmp_path / "stages" / place
        folder.mkdir(parents=True)
        save_file({"model.embed_tokens.weight": table.to(torch.bfloat16)}, folder / "model.safetensors")
    return tmp_path / "stages" / "train-typed" / "model"


def test_whether_the_types_separated(weights: Path, answers: list[Trace], tables: Tables) -> None:
    found = tables(TYPED, answers, weights=weights)
    alike = found["How alike the types are"]
    assert rows(alike)["reason"][alike.columns.index("memory") - 1] == "1.000 → −1.000"
    assert rows(alike)["prefix"][alike.columns.index("answer") - 1] == "1.000 → 1.000"
    moved = found["How far the tokens moved"]
    assert rows(moved)["memory"] == ("2", "2.000", "2.000", "0.500", "2.000")
    assert rows(moved)["answer"][3:] == ("1.000", "0.000")
    names = [name for _, _, name in moved.points]
    assert names.count("memory") == names.count("memory (before)") == 2
    x = {name: place for place, _, name in moved.points}
    assert abs(x["memory"] - x["reason"]) == pytest.approx(np.ptp([place for place, _, _ in moved.points]))


def test_untrained_weights_are_said_to_be_untrained(weights: Path, answers: list[Trace], tables: Tables) -> None:
    base = weights.parents[1] / "base"
    moved = tables(TYPED, answers, weights=base)["How far the tokens moved"]
    assert "not trained" in moved.note
    assert rows(moved)["memory"][1] == "–"
    assert not any("before" in name for _, _, name in moved.points)


def test_an_adapters_rows_are_its_own_where_it_trained_them_and_the_bases_elsewhere(tmp_path: Path) -> None:
    table = torch.arange(40.0).reshape(10, 4)
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
    save_file({"model.embed_tokens.weight": table, "lm_head.weight": -table}, base / "model.safetensors")
    config = {"trainable_token_indices": {"embed_tokens": [7, 3], "lm_head": [7, 3]}}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    trained = torch.stack([torch.full((4,), 300.0), torch.full((4,), 700.0)])  # PEFT keeps rows in the order of ids
    prefix = "base_model.model"
    save_file(
        {
            f"{prefix}.model.embed_tokens.token_adapter.trainable_tokens_delta": trained,
            f"{prefix}.lm_head.token_adapter.trainable_tokens_delta": -trained,
        },
        adapter / "adapter_model.safetensors",
    )
    found = token_rows(adapter, [7, 2, 3], base)
    assert found["input"].tolist() == [[700.0] * 4, [8.0, 9.0, 10.0, 11.0], [300.0] * 4]
    assert (found["output"] == -found["input"]).all()
    alone = {"peft_type": "TRAINABLE_TOKENS", "target_modules": ["embed_tokens"], "token_indices": [3, 7]}
    (adapter / "adapter_config.json").write_text(json.dumps(alone))
    save_file({f"{prefix}.model.embed_tokens.trainable_tokens_delta": trained}, adapter / "adapter_model.safetensors")
    found = token_rows(adapter, [7], base)
    assert found["input"].tolist() == [[700.0] * 4]
    assert found["output"].tolist() == (-table[7:8]).tolist()


# -- interventions -----------------------------------------------------------------------------------------------------


def test_interventions_are_paired_with_the_arm_that_differs_in_nothing_else(render: Render, write: Write) -> None:
    plain = [record(write(f"p{i}", "memory|m one", "answer|a yes"), right=True) for i in range(4)]
    swapped = [
        record(write("p0", "reason|m one", "answer|a yes"), arm="swapped"),
        record(write("p1", "reason|m one", "answer|a yes"), arm="swapped"),
        record(write("p2", "reason|m two", "answer|a no"), right=False, arm="swapped"),
        record(write("p3", "memory|m one", "answer|a yes"), arm="swapped"),
    ]
    other = replace(TYPED, exchange=("memory", "reason"))
    methods = {"typed": TYPED, "free": replace(TYPED, constrained=False), "swapped": other}
    weights = {"typed": "typed", "free": "typed", "swapped": "typed"}
    found = interventions(methods, weights, {"typed": plain, "free": plain, "swapped": swapped}, render)
    assert found is not None
    assert found.rows[0][:6] == ("swapped", "typed", "1", "75.0\u00a0%", "25.0\u00a0%", "75.0\u00a0%")
    assert found.rows[0][6].startswith("−25.0 (")
    assert found.rows[0][7] == "1.0000"
    assert "swapped exchanges memory and reason" in found.note
    assert interventions(methods, {**weights, "swapped": "other"}, {"typed": plain, "swapped": swapped}, render) is None
    assert interventions({"typed": TYPED}, weights, {"typed": plain}, render) is None
