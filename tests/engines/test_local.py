"""The local engine on a tiny model saved to disk."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thinktwice.decode.undo import undo_policy
from thinktwice.engines.base import Engine
from thinktwice.engines.local import LocalEngine
from thinktwice.errors import ConfigError, ModelError
from thinktwice.types import Sampling

WORDS = ["<end>", "<undo>", *[f"w{i}" for i in range(40)]]
ROWS = 48  # six rows of the vocabulary have no token
UNDO = 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=96,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<undo>"]})
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def engine(folder):
    return LocalEngine.load(folder, device="cpu", batch_size=3)


PROMPTS = [[2, 3], [4] * 9, [5, 6, 7], [8], [9, 10, 11, 12, 13], []]


def test_order_keys_and_batches(engine):
    protocol: Engine = engine
    sampling = Sampling(temperature=1.0, max_new_tokens=12, seed=4)
    together = protocol.generate(PROMPTS, sampling)
    assert together[-1].stop == "error"
    alone = [engine.generate([p], sampling, keys=[i])[0] for i, p in enumerate(PROMPTS)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    swapped = engine.generate(PROMPTS[:2], sampling, keys=[1, 0])
    assert [c.token_ids for c in swapped] != [c.token_ids for c in together[:2]]
    with pytest.raises(ConfigError, match="keys"):
        engine.generate(PROMPTS, sampling, keys=[1])


def test_rows_without_a_token_are_never_drawn(engine):
    assert engine.suppress == tuple(range(len(WORDS), ROWS))
    hot = Sampling(temperature=50.0, max_new_tokens=60)
    assert all(max(c.token_ids) < len(WORDS) for c in engine.generate(PROMPTS[:5], hot))


def test_events_name_the_prompt_they_belong_to(engine):
    events = []
    completions = engine.generate(PROMPTS, Sampling(max_new_tokens=8), listener=events.append)
    for index, completion in enumerate(completions):
        written = [i for e in events if e.row == index and e.kind == "written" for i in e.token_ids]
        assert tuple(written) == completion.token_ids
        assert [e.stop for e in events if e.row == index and e.kind == "stopped"] == [completion.stop]


def test_a_stream_tells_the_same_story_as_generate(engine):
    controls, rules = undo_policy(UNDO, bias=3.0, max_edits=4)
    sampling = Sampling(temperature=1.0, max_new_tokens=40, seed=1)
    (completion,) = engine.generate([[4, 5]], sampling, controls=controls, rules=rules, keys=[9])
    events = list(engine.stream([4, 5], sampling, controls=controls, rules=rules, key=9))
    visible = []
    for event in events:
        if event.kind == "written":
            visible += event.token_ids
        elif event.kind == "deleted":
            del visible[-len(event.token_ids) :]
    assert "deleted" in {event.kind for event in events}
    assert tuple(visible) == completion.kept_ids
    assert (events[-1].kind, events[-1].stop) == ("stopped", completion.stop)
    (only,) = engine.stream([], sampling)
    assert only.stop == "error"


def test_stop_strings_use_the_tokenizer(engine):
    (free,) = engine.generate([[2, 3]], Sampling(max_new_tokens=10))
    word = engine.text([free.token_ids[3]])
    (cut,) = engine.generate([[2, 3]], Sampling(max_new_tokens=10, stop=(word,)))
    assert cut.token_ids == free.token_ids[: free.token_ids.index(free.token_ids[3]) + 1]
    assert cut.stop == "done"


def test_probabilities_and_margins_are_those_of_the_decoder(engine):
    sequences = [[2, 3, 4, 5, 6], [7, 8], [], [9]]
    probabilities = engine.token_probabilities(sequences, UNDO)
    margins = engine.token_margins(sequences, UNDO)
    assert [len(row) for row in probabilities] == [len(row) for row in margins] == [5, 2, 0, 1]
    with torch.no_grad():
        logits = engine.model(torch.tensor([sequences[0]])).logits[0]
    logits[:, len(WORDS) :] = float("-inf")
    assert probabilities[0] == pytest.approx(logits.softmax(-1)[:, UNDO].tolist(), abs=1e-6)
    others = logits.clone()
    others[:, UNDO] = float("-inf")
    assert margins[0] == pytest.approx((logits[:, UNDO] - others.max(-1).values).tolist(), abs=1e-5)
    for shift, drawn in ((1e-3, True), (-1e-3, False)):
        _, rules = undo_policy(UNDO, bias=-margins[0][-1] + shift)
        (row,) = engine.generate([sequences[0]], Sampling(max_new_tokens=1), rules=rules[:1])
        assert (row.token_ids[0] == UNDO) is drawn


def test_names_and_types(engine, folder):
    assert engine.name == f"{folder} (float32)"
    assert LocalEngine(engine.model, engine.tokenizer, name="x").name == "x"
    assert LocalEngine.load(folder, dtype="bfloat16", device="cpu").model.dtype == torch.bfloat16
    short = LocalEngine.load(folder, device="cpu", max_length=10)
    assert short.generate([[2] * 4], Sampling(max_new_tokens=50))[0].stop in ("length", "done")


@pytest.mark.parametrize("path", ["no/such/model", "./nothing-here"])
def test_a_model_that_is_not_there_is_one_sentence(path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="No model could be loaded"):
        LocalEngine.load(path)


def test_weights_that_are_not_safetensors_are_refused(folder, tmp_path):
    for file in folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        LocalEngine.load(tmp_path)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # PEFT 0.21 on transformers 5.23
def test_an_adapter_finds_its_base(folder, engine, tmp_path):
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    base = LlamaForCausalLM.from_pretrained(folder)
    adapted = peft.get_peft_model(
        base, peft.LoraConfig(task_type="CAUSAL_LM", r=2, init_lora_weights=False, trainable_token_indices=[UNDO])
    )
    adapted.save_pretrained(tmp_path, save_embedding_layers=False)
    loaded = LocalEngine.load(tmp_path, device="cpu")
    prompts = [[2, 3, 4], [5]]
    with torch.no_grad():
        expected = adapted.eval()(torch.tensor([prompts[0]])).logits[0, -1]
        got = loaded.model(torch.tensor([prompts[0]])).logits[0, -1]
    assert torch.allclose(got, expected, atol=1e-5)
    wrapped = LocalEngine(adapted, engine.tokenizer)
    sampling = Sampling(max_new_tokens=15)
    theirs = [c.token_ids for c in loaded.generate(prompts, sampling)]
    assert theirs == [c.token_ids for c in wrapped.generate(prompts, sampling)]
    assert theirs != [c.token_ids for c in engine.generate(prompts, sampling)]
