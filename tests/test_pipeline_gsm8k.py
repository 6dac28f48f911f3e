import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from thinktwice import answer, pipeline
from thinktwice.config import Recipe, load, parse
from thinktwice.methods.backtrack import UNDO
from thinktwice.records import Summary
from thinktwice.run import Run
from thinktwice.train.adapters import load_adapter

ROOT = Path(__file__).parents[1]
GSM8K = ROOT / "../shared/data/gsm8k"
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

pytestmark = pytest.mark.skipif(not GSM8K.is_dir(), reason="the published files are not in ../shared/data")


def random_qwen2(place: Path, *, chat: bool, tied: bool) -> Path:
    """Save a tiny untrained Qwen2 with a byte-level tokenizer of its own, learned from the first rows."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    lines = (GSM8K / "train.jsonl").read_text(encoding="utf-8").splitlines()[:100]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([" ".join(json.loads(line).values()) for line in lines], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token=special[0], eos_token=special[2 if chat else 0])
    if chat:
        tokenizer.chat_template = CHAT
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=tied,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def small(model: Path, **changes: Any) -> Recipe:
    values = {
        "model.path": model,
        "task.path": GSM8K.resolve(),
        "task.train": 24,
        "train.steps": 3,
        "train.tokens_per_step": 2048,
        "train.grad_accumulation": 2,
        "method.biases": [2.0],
        "method.rate": 0.4,
        "decode.max_new_tokens": 16,
        "evaluation.problems": 4,
        "evaluation.dev_problems": 2,
        **changes,
    }
    return load(Recipe, ROOT / "recipes/backtrack_gsm8k.yaml", [f"{key}={value}" for key, value in values.items()])


def check(root: Path, recipe: Recipe) -> None:
    summary = parse(Summary, json.loads((root / "summary.json").read_text()))
    assert list(summary.arms) == list(recipe.arms)
    assert all(cell.n == 4 for levels in summary.arms.values() for cell in levels.values())
    assert summary.headline is not None
    assert summary.failures["stopped: error"] == 0
    assert summary.retraction["backtrack"][0].retractions > 0
    assert summary.retraction["backtrack_off"][0].retractions == 0
    for arm in ("control", "backtrack"):
        audit = json.loads((root / "stages" / f"train-{arm}" / "audit.json").read_text())
        assert audit["n"] == 24
        assert len((root / "stages" / f"collect-{arm}" / "traces.jsonl").read_text().splitlines()) == 24


def test_the_recipe_runs_unchanged_with_adapters_on_a_chat_model(tmp_path: Path) -> None:
    recipe = small(random_qwen2(tmp_path / "model", chat=True, tied=False))
    assert recipe.train["mode"] == "lora"
    root = pipeline.run_recipe(recipe, tmp_path / "run")
    check(root, recipe)
    texts = json.loads((root / "traces/control.jsonl").read_text().splitlines()[0])
    assert "<|im_end|>" not in texts["question"]

    moved = root.rename(tmp_path / "elsewhere")  # an adapter finds its base beside it, wherever the run lies
    adapter = moved / "stages/train-backtrack/model"
    assert (adapter / "adapter_config.json").exists()
    engine = answer.load_engine(adapter)
    expected, base = load_adapter(adapter, moved / "stages/base"), answer.load_engine(moved / "stages/base")
    ids = torch.tensor([[5, 300, 17, 44, 260, 8]])
    with torch.no_grad():
        found, wanted, untrained = (m(ids).logits for m in (engine.model, expected, base.model))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    undo = json.loads((moved / "stages/base/control_tokens.json").read_text())[UNDO.token]
    assert (found[..., undo] - untrained[..., undo]).abs().min() > 1e-6  # the undo token's own row has moved
    assert (found - untrained).abs().max() > 1e-4
    record = Run.load(moved).traces("backtrack").done
    trace = answer.solve_question(next(iter(record.values()))["question"], str(adapter), options={"max_new_tokens": 16})
    first = next(iter(record.values()))["trace"]
    assert [list(step.token_ids) for step in trace.steps] == [step["token_ids"] for step in first["steps"]]


def test_the_recipe_runs_with_every_weight_trained_on_a_model_without_a_chat_template(tmp_path: Path) -> None:
    model = random_qwen2(tmp_path / "model", chat=False, tied=True)
    recipe = small(model, **{"train.mode": "full", "method.errors": ["plausible", "number", "onpolicy"]})
    root = pipeline.run_recipe(recipe, tmp_path / "run")
    check(root, recipe)
    assert not (root / "stages/train-backtrack/model/adapter_config.json").exists()
    written = (root / "stages/collect-backtrack/traces.jsonl").read_text()
    undo = json.loads((root / "stages/base/control_tokens.json").read_text())[UNDO.token]
    assert len(re.findall(rf"\b{undo}\b", written)) > 24
