"""The loss is the same number, and the same gradient, as one written out by hand."""

import pytest
import torch
import torch.nn.functional as F
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

import thinktwice.train.objective as objective_module
from thinktwice.errors import ModelError
from thinktwice.resolve import unroll
from thinktwice.train.batch import collate
from thinktwice.train.objective import Objective, check_layout, layout_problem


def by_hand(model, examples):
    """Each example alone, full logits, a loop over positions."""
    total = torch.zeros(())
    for example in examples:
        logits = model(torch.tensor([example.token_ids])).logits[0].float()
        for i, (target, weight) in enumerate(zip(example.targets, example.weights, strict=True)):
            if weight:
                total = total + weight * F.cross_entropy(logits[i], torch.tensor(target))
    return total


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(model, a, b, tolerance=1e-5):
    scale = float(b.detach().abs())
    assert float(a.detach()) == pytest.approx(float(b.detach()), rel=tolerance)
    left, right = gradients(model, a / scale), gradients(model, b / scale)
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=tolerance, rtol=1e-4)


def build(name, make_model):
    if name == "gemma2":
        config = Gemma2Config(
            vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, final_logit_softcapping=300.0, sliding_window=256,
            max_position_embeddings=256, initializer_range=0.3,
        )  # fmt: skip
        torch.manual_seed(0)
        return Gemma2ForCausalLM._from_config(config, attn_implementation="eager")
    if name == "gpt2":
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.2,
                            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)  # fmt: skip
        return GPT2LMHeadModel._from_config(config, attn_implementation="sdpa")
    return make_model(name)


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2", "gpt2"])
def test_loss_equals_a_cross_entropy_written_by_hand(name, make_model, make_examples):
    model = build(name, make_model)
    examples = make_examples(5, fractions=True)
    # Targets need not be the next ids.
    examples[0] = type(examples[0])(**{**{f: getattr(examples[0], f) for f in examples[0].__slots__},
                                       "targets": tuple((t + 7) % 320 for t in examples[0].targets)})  # fmt: skip
    objective = Objective(model)
    # Soft-capped logits are more than hidden states times head, even where the cap is too high to be felt.
    assert objective.plain_head == (name != "gemma2")
    assert_same(model, objective(collate([[e] for e in examples])), by_hand(model, examples))


def test_a_large_head_in_chunks_is_the_same(make_model, make_examples, monkeypatch):
    model, batch = make_model(), collate([[e] for e in make_examples(5, fractions=True)])
    whole = Objective(model)(batch)
    monkeypatch.setattr(objective_module, "HEAD_CHUNK", 320 * 7)
    assert_same(model, Objective(model)(batch), whole)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("packed", [False, True])
def test_one_pass_layout_equals_the_unrolled_sequences(
    family, attention, packed, make_model, make_layout_examples, make_examples
):
    model = make_model(family, attention=attention)
    layouts = make_layout_examples(3, branches=3) + make_examples(1)
    unrolled = [part for example in layouts for part in unroll(example)]
    assert len(unrolled) > len(layouts)
    assert all(part.dead_from is None for part in unrolled)
    objective = Objective(model)
    assert_same(model, objective(collate([layouts] if packed else [[e] for e in layouts])), by_hand(model, unrolled))
    assert_same(model, objective(collate([[e] for e in unrolled])), by_hand(model, unrolled))


def test_a_layout_is_refused_where_attention_cannot_express_it(make_model):
    assert layout_problem(make_model(), 10_000) is None
    window = MistralForCausalLM._from_config(
        MistralConfig(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                      num_key_value_heads=2, sliding_window=16)
    )  # fmt: skip
    assert layout_problem(window, 16) is None
    with pytest.raises(ModelError, match="attention=unrolled"):
        check_layout(window, 17)
    flash = make_model()
    flash.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ModelError, match="flash_attention_2"):
        check_layout(flash, 8)
