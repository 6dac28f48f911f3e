"""Models whose context cannot be edited are refused with one sentence; the editable cache keeps what it holds."""

import pytest
import torch
import transformers

from thinktwice.decode.cache import SlotCache, check_editable, feed
from thinktwice.decode.loop import decode
from thinktwice.errors import ModelError
from thinktwice.types import Sampling

SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def test_a_sliding_window_is_refused_unless_it_never_slides():
    torch.manual_seed(0)
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**SMALL, sliding_window=16)).eval()
    with pytest.raises(ModelError, match="max_length=16"):
        decode(model, [[1, 2]], Sampling())
    (short,) = decode(model, [[1, 2, 3]], Sampling(max_new_tokens=50), max_length=16, eos_ids=())
    assert (short.stop, len(short.token_ids)) == ("length", 13)
    out = model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=13, do_sample=False, eos_token_id=None)
    assert out[0, 3:].tolist() == list(short.token_ids)


def test_default_gemma3_is_refused_for_its_window():
    config = transformers.Gemma3TextConfig(**SMALL, head_dim=8, sliding_window=32)
    with pytest.raises(ModelError, match="sliding window"):
        check_editable(transformers.Gemma3ForCausalLM(config).eval())


def test_a_recurrent_state_is_refused():
    config = transformers.MambaConfig(vocab_size=61, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(ModelError, match="recurrent state"):
        check_editable(transformers.MambaForCausalLM(config).eval())


def test_positions_that_are_no_input_are_refused():
    config = transformers.BloomConfig(vocab_size=61, hidden_size=16, n_layer=1, n_head=2)
    with pytest.raises(ModelError, match="position_ids"):
        check_editable(transformers.BloomForCausalLM(config).eval())


def test_an_encoder_is_refused():
    config = transformers.T5Config(vocab_size=61, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(ModelError, match="encoder"):
        check_editable(transformers.T5ForConditionalGeneration(config).eval())


def test_an_attention_backend_without_masks_is_refused(build_model):
    model = build_model("Llama")
    model.config._attn_implementation = "flash_attention_2"
    try:
        with pytest.raises(ModelError, match="sdpa"):
            check_editable(model)
    finally:
        model.config._attn_implementation = "sdpa"


def test_an_unknown_model_that_decodes_wrongly_is_found_by_trying():
    """Its config promises full attention and position inputs; its forward ignores the positions."""

    class Deaf(transformers.LlamaForCausalLM):
        def forward(self, input_ids=None, position_ids=None, logits_to_keep=0, **kwargs):
            cache = kwargs.get("past_key_values")
            seen = 0 if cache is None else cache.get_seq_length()
            position_ids = seen + torch.arange(input_ids.shape[1])[None]
            return super().forward(input_ids, position_ids=position_ids, logits_to_keep=logits_to_keep, **kwargs)

    torch.manual_seed(0)
    with pytest.raises(ModelError, match="other logits after a rewind"):
        check_editable(Deaf(transformers.LlamaConfig(**SMALL, initializer_range=0.3)).eval())


@torch.inference_mode()
def test_growing_trimming_and_moving_keep_the_text(llama):
    cache = SlotCache(layers=2, rows=3, device=torch.device("cpu"))
    ids = torch.arange(120)[None].repeat(2, 1) % 61
    slots = torch.arange(120)[None]
    feed(llama, cache, slice(0, 2), ids[:, :5], slots[:, :5], 5)
    small = cache.slots
    feed(llama, cache, slice(0, 2), ids[:, 5:119], slots[:, 5:119], 119)
    assert cache.slots > small
    cache.move(1, 2)
    last = feed(llama, cache, slice(2, 3), ids[:1, 119:], slots[:, 119:], 120)
    fresh = llama(input_ids=ids[:1], use_cache=False).logits[:, -1]
    assert torch.allclose(last, fresh, atol=1e-5)
    cache.trim(120)
    large = cache.slots
    cache.trim(20)
    assert cache.slots < large
    last = feed(llama, cache, slice(2, 3), ids[:1, 19:20], slots[:, 19:20], 20)
    fresh = llama(input_ids=ids[:1, :20], use_cache=False).logits[:, -1]
    assert torch.allclose(last, fresh, atol=1e-5)
