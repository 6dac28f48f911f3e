"""From a recipe to its findings: tiny, and the whole way."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thinktwice import cli
from thinktwice.answer import open_model
from thinktwice.config import Recipe, load, parse
from thinktwice.errors import ConfigError
from thinktwice.methods import build_method
from thinktwice.methods.transplant import posed
from thinktwice.methods.transplant.data import read_items, write_items
from thinktwice.pipeline import run_recipe
from thinktwice.records import Finding, Summary, TraceRecord
from thinktwice.report import report
from thinktwice.run import Run, read_json
from thinktwice.train.settings import Training
from thinktwice.types import Problem

ROOT = Path(__file__).parents[3]
RECIPES = sorted(ROOT.glob("recipes/transplant*.yaml"))
TINY = [
    "task.train=24",
    "task.per_level=12",
    "method.posing.samples=4",
    "method.posing.group=3",
    "method.posing.limit=[24,12,12]",
    "method.posing.alike=any",
    "method.posing.even=false",
    "train.steps=2",
    "train.eval_every=1",
    "train.batch_size=8",
    "train.warmup_steps=0",
    "arms.text.train.lrs=[0.001,0.003]",
    "evaluation.problems=10",
    "evaluation.dev_problems=10",
    "evaluation.levels=[2,3]",
]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_strictly_and_has_its_controls(path: Path) -> None:
    recipe = load(Recipe, path)
    assert recipe.name == path.stem
    assert {"transplant", "text", "no_transplant", "shuffled", "swapped", "frozen", "blind", "probe", "genrm"} <= set(
        recipe.arms
    )
    assert recipe.headline is not None
    assert (recipe.headline.a, recipe.headline.b) == ("transplant", "text")
    ranks = {}
    for name, arm in recipe.arms.items():
        spec = recipe.method_of(name)
        build_method(spec.name, spec.options)
        ranks[name] = parse(Training, {**recipe.train, **arm.train}, name).lora_rank
    assert ranks["text"] == ranks["frozen"] == ranks["genrm"] == 2 * ranks["transplant"]  # one adapter for two
    if path.stem == "transplant_lila":
        assert "No number was measured" in " ".join(path.read_text(encoding="utf-8").replace("#", "").split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = load(Recipe, ROOT / "recipes/transplant.yaml", TINY)
    arms = {name: recipe.arms[name] for name in ("transplant", "text", "shuffled", "probe", "genrm")}
    root = run_recipe(replace(recipe, arms=arms), tmp_path_factory.mktemp("runs") / "tiny")
    return Run.load(root)


def findings(run: Run) -> dict[str, dict[str, Finding]]:
    summary = parse(Summary, run.summary(), "summary.json")
    return {arm: {f.title: f for f in found} for arm, found in summary.findings.items()}


@pytest.mark.slow
def test_every_arm_answers_the_same_problems_and_the_sampled_ids_are_read(run: Run) -> None:
    keys = {name: set(run.traces(name).done) for name in ("transplant", "text", "shuffled", "probe", "genrm")}
    assert len(set(map(frozenset, keys.values()))) == 1
    pose = run.root / "stages" / "pose"
    items = {split: read_items(pose / f"items-{split}.jsonl") for split in ("train", "dev", "test")}
    questions = {split: {item.group for item in own} for split, own in items.items()}
    assert not questions["train"] & (questions["dev"] | questions["test"])
    problems = [parse(Problem, json.loads(line), "test") for line in (pose / "test.jsonl").read_text().splitlines()]
    assert {p.level for p in problems} == {2, 3}
    sampled = {c.token_ids for item in items["test"] for c in item.candidates}
    assert all(ids in sampled for p in problems for ids in p.choice_ids)
    record = parse(TraceRecord, next(iter(run.traces("transplant").done.values())), "transplant")
    problem = next(p for p in problems if record.key.endswith(f"/{p.id}"))
    assert record.score == posed.judge(problem, record.trace)
    assert len(posed.read(problem, record.trace).verdicts) == 2


@pytest.mark.slow
def test_the_summary_says_what_the_transplant_adds_and_what_needs_no_verifier(run: Run) -> None:
    found = findings(run)
    added = found["transplant"]["What transplant adds to text"]
    assert [row[0] for row in added.rows] == ["transplant", "text", "shuffled", "probe", "genrm"]
    assert "reading the text" in added.note
    assert "A verifier must beat" in found["transplant"]["What needs no verifier"].note
    best = found["transplant"]["Best of 3"]
    assert {"majority vote", "text, best", "any of 3 is right"} <= {row[0] for row in best.rows}
    judged = {row[0]: row[1] for row in found["text"]["How it judges pairs"].rows}
    assert "same candidate in both orders" in judged
    assert "same candidate in both orders" not in {row[0] for row in found["genrm"]["How it judges pairs"].rows}
    assert found["text"]["Reliability"].figure is not None
    steps = [row[0] for row in found["text"]["Evaluations on dev"].rows]
    assert steps == ["1", "2"]
    assert "Evaluations on dev" not in found["probe"]
    calibrated = read_json(run.root / "stages" / "calibrate-probe" / "method.json")
    assert len(calibrated["direction"]) == 128  # two states of 64 numbers


@pytest.mark.slow
def test_an_arm_may_choose_its_learning_rate_on_dev(run: Run) -> None:
    record = read_json(run.root / "stages/train-text/rates.json")
    assert [row["lr"] for row in record["tried"]] == [0.001, 0.003]
    settings = read_json(run.root / "stages/train-text/model/training.json")["settings"]
    assert (settings["lr"], settings["lrs"]) == (record["kept"], [])
    assert not (run.root / "stages/train-transplant/rates.json").exists()


@pytest.mark.slow
def test_a_verifier_asked_a_question_says_what_it_is(run: Run) -> None:
    with pytest.raises(ConfigError, match="is a verifier: it says which of several solutions is right"):
        open_model(str(run.root / "stages/train-transplant/model"))


def verified(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[list[dict], str]:
    """Run `thinktwice verify`; return its rows and what it says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["thinktwice", "verify", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    return [json.loads(line) for line in out.splitlines()], err


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["transplant", "genrm", "text"])
def test_a_trained_verifier_is_put_to_work_and_says_what_it_said_in_its_run(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], arm: str
) -> None:
    lines = (run.root / "stages/pose/test.jsonl").read_text().splitlines()
    problems = [parse(Problem, json.loads(line), "test") for line in lines]
    write_items(tmp_path / "items.jsonl", [posed.to_item(problem) for problem in problems])
    rows, said = verified(capsys, run.root, tmp_path / "items.jsonl", "--arm", arm)
    records = [parse(TraceRecord, row, arm) for row in run.traces(arm).done.values()]
    assert len(rows) == len(problems) > len(records) > 0
    for record in records:
        problem = next(p for p in problems if record.key.endswith(f"/{p.id}"))
        row = next(row for row in rows if row["id"] == problem.id)
        own = posed.read(problem, record.trace)
        assert row["scores"] == pytest.approx(own.scores, abs=1e-4)
        assert row["right"] is (row["best"] in posed.rights(problem))
        if own.verdicts:
            assert row["agree"] is (own.verdicts[0].slot != own.verdicts[1].slot)
    assert f"{len(rows)} questions" in said
    assert "the best candidate is right" in said


@pytest.mark.slow
def test_solutions_that_nobody_labelled_are_ranked(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "mine.jsonl", tmp_path / "ranked.jsonl"
    row = {"question": "Ann has 3 pens. How many pens does Ann have?", "candidates": ["#### 3", "#### 4", "#### 5"]}
    file.write_text(
        json.dumps(row) + "\n" + json.dumps({**row, "id": "mine", "candidates": row["candidates"][:2]}) + "\n"
    )
    printed, said = verified(capsys, run.root / "stages/train-text/model", file, "--arm", "text", "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert printed == []
    assert [(r["id"], len(r["scores"]), r["right"]) for r in rows] == [("line 1", 3, None), ("mine", 2, None)]
    assert all(r["scores"][r["best"]] == max(r["scores"]) <= 0 for r in rows)
    assert "right" not in said
    file.write_text(json.dumps({**row, "candidates": ["#### 3"]}))
    rows, _ = verified(capsys, run.root, file, "--arm", "genrm")
    assert (rows[0]["best"], rows[0]["agree"]) == (0, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "line", "words"),
    [
        ("", {"question": "q", "candidates": ["a"]}, "this verifier compares"),
        (
            "",
            {"question": 3, "candidates": ["a", "b"]},
            'mine.jsonl:1: a question with candidates is {"question": text',
        ),
        ("", {"question": "q", "candidates": ["a", " "]}, "none of them empty"),
        ("", {"question": "q", "candidates": []}, "one candidate or more"),
        ("", {"question": "q"}, "of no known kind"),
        ("stages/base", {"question": "q", "candidates": ["a", "b"]}, "is no verifier"),
    ],
)
def test_what_cannot_be_verified_is_refused_with_the_fix(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, line: dict, words: str
) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(AssertionError, match=re.escape(words)):
        verified(capsys, run.root / place, tmp_path / "mine.jsonl")


@pytest.mark.slow
def test_the_page_shows_the_figures(run: Run) -> None:
    page = report(run.root).read_text(encoding="utf-8")
    for word in (
        "What is moved where",
        "What transplant adds to text",
        "probability said",
        "Evaluations on dev, drawn",
        "Best of 3",
    ):
        assert word in page


@pytest.mark.slow
def test_a_file_of_real_solutions_runs_with_any_model(gsm8k_file: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = tmp_path / "base"
    config = LlamaConfig(
        vocab_size=400, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=2048, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(base)
    bytes_alone = Tokenizer(models.BPE())
    bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_alone.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bytes_alone.train_from_iterator(["solution answer right 1 2"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_alone, pad_token="<pad>", eos_token="<eos>")
    tokenizer.save_pretrained(base)
    rows = gsm8k_file.read_text(encoding="utf-8").splitlines()
    short = sorted((row for row in rows if '"is_correct": true' in row and '"is_correct": false' in row), key=len)[:60]
    file = tmp_path / "solutions.jsonl"
    file.write_text("\n".join(short), encoding="utf-8")
    words = [
        f"model.path={base}",
        f"method.posing.file={file}",
        "method.posing.by_generator=any",
        "train.steps=1",
        "train.eval_every=1",
        "train.batch_size=4",
        "train.grad_accumulation=1",
        "evaluation.problems=4",
        "evaluation.dev_problems=4",
    ]
    recipe = load(Recipe, ROOT / "recipes/transplant_gsm8k.yaml", words)
    recipe = replace(recipe, arms={name: recipe.arms[name] for name in ("transplant", "text", "swapped")})
    run = Run.load(run_recipe(recipe, tmp_path / "run"))
    summary = parse(Summary, run.summary(), "summary.json")
    assert summary.arms["swapped"][2].n == summary.arms["text"][2].n > 0
    bar = {f.title: f for f in summary.findings["transplant"]}["What needs no verifier"]
    assert "who wrote it" in {row[0] for row in bar.rows}
