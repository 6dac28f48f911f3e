"""Arms that start from other arms: preferences after examples, on what the trained weights themselves wrote."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from thinktwice import answer, pipeline
from thinktwice.config import Recipe, parse, to_dict
from thinktwice.errors import ConfigError
from thinktwice.methods.baseline import Baseline
from thinktwice.pipeline.lines import read_rows
from thinktwice.render import Render
from thinktwice.report import report
from thinktwice.run import Run
from thinktwice.train import nano
from thinktwice.train.reference import logprobs
from thinktwice.train.settings import Training
from thinktwice.train.vocab import load_model
from thinktwice.types import Pair, Problem, Sampling, Step, Task, Trace


@dataclass(frozen=True)
class Preferring(Baseline):
    """Prefers the reference solution to what the engine it collects with writes itself."""

    def collect(self, problems: Sequence[Problem], engine: Any, render: Render, task: Task, seed: int) -> list[Trace]:
        """Let the weights answer."""
        written = engine.generate([render.prompt(p) for p in problems], Sampling(max_new_tokens=12))
        return [
            Trace(p.id, (Step("text", render.text(w.token_ids), w.token_ids),))
            for p, w in zip(problems, written, strict=True)
        ]

    def examples(self, problems: Sequence[Problem], traces: Sequence[Trace], render: Render) -> list[Pair]:  # type: ignore[override]
        """Return a pair for every answer."""
        by_id = {p.id: p for p in problems}
        pairs = []
        for trace in traces:
            problem = by_id[trace.problem_id]
            own = [i for step in trace.steps for i in step.token_ids]
            pairs.append(
                Pair(
                    render.example(problem, render.solution(str(problem.solution))), render.example(problem, own), "own"
                )
            )
        return pairs


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "random"
    vocabulary = nano.tokenizer()
    made = nano.model(nano.Pretraining(hidden_size=16, layers=1, heads=2, feed_forward=32), vocabulary)
    made.save_pretrained(place)
    vocabulary.save_pretrained(place)
    return place


def recipe(base: Path, **changes: Any) -> Recipe:
    prefer = {"name": f"{__file__}:Preferring"}
    whole = {
        "name": "start",
        "task": {"name": "arith", "operations": [1, 2], "levels": [1], "train": 12, "per_level": 3},
        "method": {"name": "baseline"},
        "model": {"path": str(base)},
        "arms": {
            "dpo": {"method": prefer, "start": "sft", "train": {"steps": 2, "beta": 0.5, "nll_weight": 0.1}},
            "sft": {},
            "lora": {"train": {"mode": "lora", "lora_rank": 2}},
            "lora_dpo": {"method": prefer, "start": "lora", "train": {"mode": "lora", "lora_rank": 2, "steps": 2}},
            "lora_on_sft": {"start": "sft", "train": {"mode": "lora", "lora_rank": 2}},
        },
        "train": {"steps": 3, "batch_size": 4, "lr": 1e-2, "log_every": 1, "save_every": 1, "precision": "fp32"},
        "decode": {"max_new_tokens": 12},
        "evaluation": {"problems": 3, "dev_problems": 0, "levels": [1]},
    }
    return parse(Recipe, {**whole, **changes})


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pipeline.run_recipe(recipe(base), tmp_path_factory.mktemp("runs") / "start")


def test_what_an_arm_starts_from_comes_first_whatever_the_order_in_the_recipe(base: Path, finished: Path) -> None:
    plan = pipeline.Bench(recipe(base), print).plan()
    assert plan[:6] == ["base", "collect-sft", "train-sft", "collect-dpo", "train-dpo", "solve-dpo"]
    assert len(plan) == len(set(plan))
    run = Run.load(finished)
    assert [*run.stages(), "summary"] == plan
    assert run.attempt().ended == "finished"  # type: ignore[union-attr]


def test_preferences_are_measured_against_the_weights_it_started_from(base: Path, finished: Path) -> None:
    stage = finished / "stages/train-dpo"
    pairs = [parse(Pair, json.loads(line)) for line in (stage / "pairs.jsonl").read_text().splitlines()]
    assert {pair.kind for pair in pairs} == {"own"}
    audit = json.loads((stage / "audit.json").read_text())
    assert audit["pairs"] == len(pairs)
    known = load_file(stage / "reference.safetensors")["train"]
    for folder, same in (("train-sft/model", True), ("base", False)):
        model = load_model(finished / "stages" / folder)
        found = logprobs(model, pairs, Training(), device=torch.device("cpu"), precision="fp32")
        assert torch.allclose(found, known, atol=1e-3) is same
    first = json.loads((stage / "metrics.jsonl").read_text().splitlines()[0])
    assert first["steps"] == 2
    assert first["margin"] == pytest.approx(0, abs=1e-4)
    assert json.loads((stage / "model/training.json").read_text())["settings"]["beta"] == 0.5


def test_what_it_collects_is_written_by_the_weights_it_starts_from(base: Path, finished: Path) -> None:
    engine = answer.load_engine(finished / "stages/train-sft/model")
    render = Render(engine.tokenizer)
    bench = pipeline.Bench(recipe(base), print)
    traces = Preferring().collect(bench.task.splits["train"], engine, render, bench.task, 0)
    saved = read_rows(finished / "stages/collect-dpo/traces.jsonl", Trace)
    assert [t.steps[0].token_ids for t in saved] == [t.steps[0].token_ids for t in traces]


def test_every_arm_has_one_vocabulary_and_adapters_find_what_they_stand_on(base: Path, finished: Path) -> None:
    stages = finished / "stages"
    vocabularies = {(path / "tokenizer.json").read_bytes() for path in stages.glob("train-*/model")}
    assert len(vocabularies) == 1
    made = recipe(base)
    for arm, over in (("lora", "base"), ("lora_dpo", "base"), ("lora_on_sft", "train-sft/model")):
        assert answer.plain_base(finished, made, arm) == stages / over
        assert (stages / f"train-{arm}/model/adapter_config.json").is_file()
        record = next(iter(Run.load(finished).traces(arm).done.values()))
        again = answer.solve_question(
            record["question"], str(stages / f"train-{arm}/model"), options={"max_new_tokens": 12}
        )
        assert again.reply == "".join(step["text"] for step in record["trace"]["steps"])
    page = report(finished).read_text()
    assert "trained further from sft" in page
    assert "kinds of pairs" in page
    assert "start prefers chosen" in page


def test_a_second_call_does_nothing_and_a_changed_start_arm_is_done_again_with_what_came_of_it(
    base: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    pipeline.run_recipe(recipe(base), finished, progress=lambda p: told.append(p.stage))
    assert not [stage for stage in told if stage.startswith(("train-", "solve-", "collect-"))]
    model = finished / "stages/train-sft/model/model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\x01")  # damaged: its seal says so
    pipeline.train_arm(recipe(base), finished, "dpo", progress=lambda p: told.append(p.stage))
    assert "train-sft" in told
    assert "train-lora" not in told


def test_a_start_that_cannot_be_is_refused_in_a_sentence(base: Path) -> None:
    arms = to_dict(recipe(base).arms["dpo"])
    plain: dict[str, Any] = {}
    for changed, says in (
        ({"a": {"start": "b"}, "b": {"start": "c"}, "c": {"start": "a"}}, r"a -> b -> c -> a goes in a circle"),
        ({"a": {"start": "a"}}, r"a -> a goes in a circle"),
        ({"a": {"start": "sfft"}, "sft": plain}, r"arms\.a\.start: no arm is called 'sfft'\. Did you mean 'sft'"),
        ({"a": {"start": "off"}, "off": {"weights": "sft"}, "sft": plain}, r"name 'sft', whose weights it has"),
        ({"a": {"start": "off"}, "off": {"trained": False}}, r"trains no weights of its own; drop `start`"),
        ({"a": {"start": "sft", "weights": "sft"}, "sft": plain}, r"arms\.a\.start: this arm trains no weights"),
        ({"a": {"train": {"lr": 1.0}, "trained": False}}, r"arms\.a\.train: this arm trains no weights"),
    ):
        with pytest.raises(ConfigError, match=says):
            recipe(base, arms=changed)
    for train, says in (
        ({"betta": 1}, r"arms\.dpo\.train.*unknown key 'betta'\. Did you mean 'beta'"),
        ({"beta": 0.0}, r"training\.beta is 0\.0"),
    ):
        with pytest.raises(ConfigError, match=says):
            pipeline.Bench(recipe(base, arms={"dpo": {**arms, "train": train}, "sft": {}}), print)
    bench = pipeline.Bench(recipe(base), print)
    assert (bench.settings["dpo"].steps, bench.settings["dpo"].lr, bench.settings["sft"].steps) == (2, 1e-2, 3)
    assert replace(bench.settings["sft"], steps=2, beta=0.5, nll_weight=0.1) == bench.settings["dpo"]
