import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from thinktwice.types import Example, Pair

torch.set_num_threads(1)

TEXTS = ["the quick brown fox deletes the previous token in the response", "undo delete remove back 1 2 3 4 5"] * 3


@pytest.fixture
def make_tokenizer() -> Callable[[], PreTrainedTokenizerFast]:
    def make() -> PreTrainedTokenizerFast:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<pad>", "<bos>", "<eos>", "<|reserved_special_token_0|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(TEXTS, trainer)
        return PreTrainedTokenizerFast(
            tokenizer_object=backend, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
        )

    return make


@pytest.fixture
def make_model() -> Callable[..., PreTrainedModel]:
    def make(
        family: str = "llama", *, vocab: int = 320, attention: str = "sdpa", seed: int = 0, **options
    ) -> PreTrainedModel:
        torch.manual_seed(seed)
        kinds = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
        config, model = kinds[family]
        sizes = {
            "vocab_size": vocab,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "initializer_range": 0.2,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        return model._from_config(config(**(sizes | options)), attn_implementation=attention)

    return make


@pytest.fixture
def make_base(tmp_path: Path, make_tokenizer, make_model) -> Callable[..., Path]:
    def make(name: str = "base", **options) -> Path:
        folder = tmp_path / name
        make_model(**options).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def make_examples() -> Callable[..., list[Example]]:
    """Prompts of random ids, a reply that repeats a rule, the end token (2); a tenth of the weights are fractions."""

    def make(n: int = 24, seed: int = 0, vocab: int = 260, fractions: bool = False) -> list[Example]:
        draw = random.Random(seed)
        examples = []
        for k in range(n):
            prompt = [draw.randrange(4, vocab) for _ in range(draw.randint(3, 9))]
            reply = [4 + (prompt[0] + i) % (vocab - 4) for i in range(draw.randint(2, 12))] + [2]
            ids = prompt + reply
            weights = [0.0] * (len(prompt) - 1) + [
                draw.choice([0.25, 0.5, 2.0]) if fractions and draw.random() < 0.3 else 1.0 for _ in reply
            ]
            examples.append(Example(tuple(ids), (*ids[1:], 0), (*weights, 0.0), problem_id=f"p{k}"))
        return examples

    return make


@pytest.fixture
def make_layout_examples() -> Callable[..., list[Example]]:
    """Trunks with error branches, as the rewind mode of backtracking writes them (undo id 3, step unit)."""
    from thinktwice.resolve import example, inject

    def make(n: int = 8, seed: int = 0, branches: int = 2) -> list[Example]:
        draw = random.Random(seed)
        step_end = frozenset({4})
        examples = []
        for k in range(n):
            prompt = [draw.randrange(5, 260) for _ in range(5)]
            steps = [[draw.randrange(5, 260) for _ in range(draw.randint(2, 4))] + [4] for _ in range(4)]
            clean = prompt + [token for step in steps for token in step] + [2]
            starts = [len(prompt) + sum(len(s) for s in steps[:i]) for i in range(4)]
            where = sorted(draw.sample(starts, branches))
            errors = [(p, [draw.randrange(5, 260) for _ in range(draw.randint(1, 3))]) for p in where]
            raw = inject(clean, errors, 3, floor=len(prompt), unit="step", step_ends=step_end)
            examples.append(
                example(
                    raw, 3, floor=len(prompt), context="rewind", unit="step", step_ends=step_end, problem_id=f"p{k}"
                )
            )
        return examples

    return make


@pytest.fixture
def make_pairs(make_examples) -> Callable[..., list[Pair]]:
    """Chosen repeats the rule of `make_examples`; rejected says something else after the same prompt, the end token in.

    A third of the rejected sides is longer, and one token in the middle of a few sides is only seen (an observation).
    """

    def make(n: int = 24, seed: int = 0, vocab: int = 260, fractions: bool = False, hole: bool = True) -> list[Pair]:
        draw = random.Random(f"pairs {seed}")
        pairs = []
        for k, chosen in enumerate(make_examples(n, seed, vocab, fractions)):
            start = next(i for i, weight in enumerate(chosen.weights) if weight > 0) + 1
            wrong = [draw.randrange(4, vocab) for _ in range(draw.randint(2, 15))] + [2]
            ids = (*chosen.token_ids[:start], *wrong)
            weights = [*[0.0] * (start - 1), *[1.0] * len(wrong), 0.0]
            if hole and k % 3 == 0:
                weights[start] = 0.0
            rejected = Example(ids, (*ids[1:], 0), tuple(weights), problem_id=chosen.problem_id)
            pairs.append(Pair(chosen, rejected, ("loop", "format")[k % 2]))
        return pairs

    return make
