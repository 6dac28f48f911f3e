"""Truth that only the arguer is told, candidates of pure noise: a positive and a negative control of the whole path.

The chooser's text says nothing about which candidate is right; the arguer reads a token before each candidate that
does. A verifier that reads the text alone can do no better than chance, and one whose path is broken anywhere neither.
"""

import random
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from thinktwice.decode.transplant import Verifier
from thinktwice.train.settings import Training
from thinktwice.train.verifier import Roles, train_choices
from thinktwice.types import Choice, Move

TRUE, FALSE, ONE, TWO, ASK, SLOT, WORDS = 3, 4, 5, 6, 7, 8, 4


def planted(items, seed):
    draw = random.Random(seed)
    choices = []
    for k in range(items):
        candidates = [[draw.randrange(10, 32) for _ in range(WORDS)] for _ in range(2)]
        argued = ((TRUE, *candidates[0]), (FALSE, *candidates[1]))
        for order in ((0, 1), (1, 0)):
            ids, moves = [], []
            for source in order:
                ids.append(SLOT)
                moves.append(Move(source, 1, len(ids), WORDS))
                ids += candidates[source]
            choices.append(Choice(argued, (*ids, ASK), tuple(moves), (ONE, TWO), order.index(0), f"{seed}-{k}"))
    return choices


def text_alone(choices):
    return [replace(choice, moves=()) for choice in choices]


def swapped(choices):
    """Each candidate's states in the other's slot."""
    return [
        replace(c, same_text=False, moves=tuple(replace(move, source=1 - move.source) for move in c.moves))
        for c in choices
    ]


def shuffled(choices):
    """Another item's states, right and wrong in either slot: all that they say is chance."""
    draw = random.Random(0)
    found = []
    for index, choice in enumerate(choices):
        other = choices[(index + 2 * draw.randrange(1, len(choices) // 2)) % len(choices)].argued
        found.append(replace(choice, same_text=False, argued=other[:: draw.choice((1, -1))]))
    return found


def accuracy(verifier, choices):
    answers = verifier.choose(choices, batch_size=256)
    return sum(max(range(2), key=lambda k: row[k]) == c.right for row, c in zip(answers, choices, strict=True)) / len(
        choices
    )


def learn(tmp_path, seed, choices, steps=100, **options):
    base = tmp_path / f"base{seed}"
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(base)
    settings = Training(
        mode="lora",
        lora_rank=16,
        lora_alpha=32,
        steps=steps,
        batch_size=64,
        lr=5e-3,
        warmup_steps=10,
        seed=seed,
        **options,
    )
    model, saved, _ = train_choices(choices, base, settings)
    return Verifier(model, switch=Roles(model, saved))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_only_the_arguer_knows_reaches_the_answer(tmp_path, seed):
    test = planted(250, 1000 + seed)
    verifier = learn(tmp_path, seed, planted(600, seed))
    assert accuracy(verifier, test) >= 0.99
    assert accuracy(verifier, swapped(test)) <= 0.01
    assert 0.4 < accuracy(verifier, shuffled(test)) < 0.6
    assert 0.4 < accuracy(verifier, text_alone(test)) < 0.6  # trained with a transplant, asked without


def test_the_text_alone_says_nothing(tmp_path):
    verifier = learn(tmp_path, 0, text_alone(planted(600, 0)))
    assert 0.4 < accuracy(verifier, text_alone(planted(250, 1000))) < 0.6


def test_one_adapter_for_both_carries_it_too(tmp_path):
    verifier = learn(tmp_path, 0, planted(600, 0), arguer="tied")
    assert accuracy(verifier, planted(250, 1000)) >= 0.99
