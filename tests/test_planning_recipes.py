"""The recipes with the published hyper-parameters: they load strictly, and do on a tiny model what they say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thinktwice import answer, pipeline
from thinktwice.cli.migrate.recipe import migrate_planning
from thinktwice.config import Recipe, load, merge, parse
from thinktwice.methods import build_method
from thinktwice.records import Summary
from thinktwice.tasks import TASKS
from thinktwice.train.adapters import load_adapter
from thinktwice.train.adapters import merge as merged
from thinktwice.train.settings import Training
from thinktwice.types import Sampling

ROOT = Path(__file__).parents[1]
RECIPES = sorted(ROOT.glob("recipes/planning_*.yaml"))
PROBE = [[5, 300, 17, 44, 260, 8, 31]]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_loads_strictly_and_carries_the_published_training(path: Path) -> None:
    recipe = load(Recipe, path)
    assert recipe.name == path.stem
    assert recipe.task.name in TASKS
    settings = parse(Training, merge({}, recipe.train), "train")
    published = (settings.lr, settings.schedule, settings.lora_rank, settings.lora_alpha, settings.lora_dropout)
    assert published == (2e-4, "cosine", 16, 16, 0.05)
    assert (settings.batch_size, settings.grad_accumulation, settings.bits, settings.overflow) == (16, 16, 8, "drop")
    arms: dict[str, Any] = {}
    for name in recipe.arms:
        spec = recipe.method_of(name)
        arms[name] = build_method(spec.name, spec.options)
    assert {"none", "untyped", "shuffled", "text_tags", "typed"} <= set(arms)
    assert recipe.headline is not None
    assert (recipe.headline.a, recipe.headline.b) == ("typed", "untyped")
    assert arms["untyped"].tokens_of_a_block == arms["typed"].tokens_of_a_block > 0
    assert arms["untyped"].types == arms["none"].control_tokens == arms["text_tags"].control_tokens == ()
    assert "No number was measured" in " ".join(path.read_text(encoding="utf-8").replace("#", "").split())


def test_the_recipe_is_what_the_published_script_becomes() -> None:
    words = (
        "train.py --model_name_or_path meta-llama/Llama-2-7b-hf --add_soft_prompts True --num_general_prefix_tokens 3 "
        "--num_special_prefix_tokens 3 --parameter_efficient_mode lora+prompt-tuning --dataset gsm8k --fp16 True "
        "--model_max_length 512 --num_train_epochs 10 --per_device_train_batch_size 1 --per_device_eval_batch_size 16 "
        "--evaluation_strategy epoch --save_strategy epoch --learning_rate 2e-4 --weight_decay 0. --warmup_steps 1000 "
        "--lr_scheduler_type cosine --optim adamw_torch --gradient_accumulation_steps 16 --num_test 500 "
        "--num_plan_types 5 --extract_step_type_tokens vae --lora_module mlp --int8_training True --logging_steps 10"
    )
    ours = load(Recipe, ROOT / "recipes/planning_gsm8k.yaml")
    theirs = parse(Recipe, migrate_planning(words.split()).tree)
    assert parse(Training, ours.train) == parse(Training, theirs.train)
    typed = [build_method("planning", recipe.method_of("typed").options) for recipe in (ours, theirs)]
    assert typed[0] == typed[1]
    assert (ours.decode, ours.evaluation, ours.seed) == (theirs.decode, theirs.evaluation, theirs.seed)
    assert {k: v for k, v in ours.task.options.items() if k not in ("path", "dev")} == theirs.task.options


def strategyqa(place: Path) -> Path:
    """Write a few rows as the authors' files have them."""

    def row(n: int, split: str) -> dict[str, Any]:
        steps = [
            f"[rag]: Ship {n} was launched in {1900 + n}.",
            "",
            f"[reason]: {1900 + n} is {'after' if n % 2 else 'before'} then.",
        ]
        steps[1] = f"[rag]: The war ended in {1905 + n}."
        return {
            "question": f"Was ship number {n} there?",
            "answer": str(bool(n % 2)),
            "cot_steps": steps,
            "split": split,
        }

    for split, numbers in (("train", range(14)), ("test", range(20, 24))):
        rows = [row(n, split) for n in numbers]
        if split == "train":
            rows[0]["cot_steps"][0] += " It was long." * 60  # longer than train.max_length
        (place / f"StrategyQA_{split}_clean.json").write_text(json.dumps(rows), encoding="utf-8")
    return place


def random_llama(place: Path, texts: list[str]) -> Path:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=1024,
        initializer_range=0.2,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor(PROBE)).logits
    return found


def test_a_run_with_a_learned_prefix_answers_as_its_adapter_does(tmp_path: Path) -> None:
    data = strategyqa(tmp_path)
    changes = {
        "model.path": random_llama(tmp_path / "model", ["Was ship number there? True False launched war ended"]),
        "task.path": data,
        "task.dev": 3,
        "task.train": 6,
        "train.mode": "prefix-tuning",
        "train.prefix_tokens": 3,
        "train.precision": "fp32",
        "train.steps": 3,
        "train.warmup_steps": 0,
        "train.lr": 0.1,
        "train.eval_every": 0,
        "decode.max_new_tokens": 8,
        "evaluation.num_test": 2,
    }  # fmt: skip
    recipe = load(Recipe, ROOT / "recipes/planning_strategyqa.yaml", [f"{k}={v}" for k, v in changes.items()])
    root = pipeline.run_recipe(recipe, tmp_path / "run")
    adapter = root.rename(tmp_path / "moved") / "stages/train-typed/model"
    saved = answer.open_model(str(adapter))
    rows = [json.loads(line) for line in (tmp_path / "moved/traces/typed.jsonl").read_text().splitlines()]
    answers = [saved.answer(row["question"], Sampling(max_new_tokens=8)) for row in rows]
    assert [[list(s.token_ids) for s in a.steps] for a in answers] == [
        [s["token_ids"] for s in row["trace"]["steps"]] for row in rows
    ]
    assert size(adapter, "*.safetensors") < 0.01 * size(tmp_path / "moved/stages/base", "*.safetensors")


def test_a_recipe_runs_end_to_end_and_its_checkpoint_is_small_reloads_and_merges(tmp_path: Path) -> None:
    data = strategyqa(tmp_path)
    texts = [
        row["question"] + " ".join(row["cot_steps"])
        for row in json.loads((data / "StrategyQA_train_clean.json").read_text())
    ]
    changes = {
        "model.path": random_llama(tmp_path / "model", texts),
        "task.path": data,
        "task.dev": 3,
        "train.mode": "lora",  # bitsandbytes needs a GPU
        "train.precision": "fp32",
        "train.steps": 2,
        "train.batch_size": 4,
        "train.grad_accumulation": 2,
        "train.warmup_steps": 1,
        "train.eval_every": 0,
        "train.max_length": 220,
        "train.lora_rank": 1,  # 16 on a width of 256 would be 6 % of it, on the 4096 of the recipe's model 0.3 %
        "decode.max_new_tokens": 12,
        "evaluation.num_test": 2,
    }  # fmt: skip
    recipe = load(
        Recipe, ROOT / "recipes/planning_strategyqa.yaml", [f"{key}={value}" for key, value in changes.items()]
    )
    root = pipeline.run_recipe(recipe, tmp_path / "run")
    summary = parse(Summary, json.loads((root / "summary.json").read_text()))
    assert list(summary.arms) == list(recipe.arms)
    assert all(cell.n == 4 for levels in summary.arms.values() for cell in levels.values())
    assert summary.failures["stopped: error"] == 0
    assert summary.headline is not None

    stage, base = root / "stages/train-typed", root / "stages/base"
    audit = json.loads((stage / "audit.json").read_text())
    dropped = [entry["reason"] for entry in audit["dropped"]]  # counted, and the answer is never cut
    assert dropped == ["longer than 220 tokens"]
    assert audit["n"] == 14 - 3 - 1
    assert audit["end_learned_share"] == 1.0
    assert "eval_acc" in json.dumps(json.loads((stage / "trainer_state.json").read_text()))

    adapter = stage / "model"
    whole = size(base, "*.safetensors")
    assert size(adapter, "*.safetensors") < 0.01 * whole
    assert not list(adapter.glob("*.bin")) + list(adapter.glob("*.pt")) + list(adapter.glob("*.pkl"))
    here = logits(load_adapter(adapter, base))
    code = (
        "import sys, json, pathlib, torch\nfrom thinktwice.train.adapters import load_adapter\n"
        "model = load_adapter(pathlib.Path(sys.argv[1]), sys.argv[2])\n"
        f"print(json.dumps(model(torch.tensor({PROBE})).logits.tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(adapter), str(base)], check=True, capture_output=True, text=True
    )
    assert torch.equal(torch.tensor(json.loads(done.stdout.splitlines()[-1])), here)
    plain = AutoModelForCausalLM.from_pretrained(merged(adapter, tmp_path / "merged", base))
    torch.testing.assert_close(logits(plain), here, atol=1e-4, rtol=1e-4)
    assert (logits(AutoModelForCausalLM.from_pretrained(base)) - here).abs().max() > 1e-3

    # the merged model goes through the recipe that eval.py's command line becomes: its rows are not drawn anew
    words = "eval.py --add_soft_prompts --num_general_prefix_tokens 2 --num_special_prefix_tokens 4 --max_length 12 "
    words += "--extract_step_type_tokens memory --dataset stratgeqa_agent --model_name_or_path"
    tree = migrate_planning([*words.split(), str(tmp_path / "merged")], data=str(data)).tree
    scored = parse(Recipe, merge(tree, {"task": {**tree["task"], "dev": 3}}))
    again = pipeline.run_recipe(scored, tmp_path / "scored")
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(again / "stages/base")), logits(plain), atol=0, rtol=0
    )
    first, second = (
        [json.loads(line)["trace"]["steps"] for line in (run / "traces/typed.jsonl").read_text().splitlines()]
        for run in (root, again)
    )
    assert [[s["token_ids"] for s in steps] for steps in first] == [[s["token_ids"] for s in steps] for steps in second]
