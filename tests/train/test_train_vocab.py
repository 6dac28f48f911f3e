import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PhiConfig, PhiForCausalLM, PreTrainedTokenizerFast

from thinktwice.errors import ModelError
from thinktwice.train.vocab import add_control_tokens, control_token_ids, encode_plain, prepare_base, single_id
from thinktwice.types import ControlToken

UNDO = ControlToken("<|undo|>", "delete the previous token in the response", ("delete", "undo", "remove", "back"))
PLAN = ControlToken("<|plan|>", "the quick brown fox", ("quick", "fox"))


def test_a_padded_vocabulary_is_used_before_it_grows(make_model, make_tokenizer):
    model, tokenizer = make_model(vocab=320), make_tokenizer()
    first = len(tokenizer)
    before = model.get_input_embeddings().weight.detach().clone()
    ids = add_control_tokens(model, tokenizer, [UNDO, PLAN])
    assert ids == {"<|undo|>": first, "<|plan|>": first + 1}
    after = model.get_input_embeddings().weight.detach()
    assert after.shape == before.shape
    changed = (after != before).any(1).nonzero().flatten().tolist()
    assert changed == [first, first + 1]
    assert tokenizer.encode("the<|undo|>fox", add_special_tokens=False).count(first) == 1


@pytest.mark.parametrize("tied", [True, False])
def test_a_full_vocabulary_grows_and_padding_rows_are_not_random(tied, make_model, make_tokenizer):
    tokenizer = make_tokenizer()
    rows = len(tokenizer)
    models_ = [make_model(vocab=rows, tie_word_embeddings=tied) for _ in range(2)]
    for k, model in enumerate(models_):
        torch.manual_seed(k)  # growth must not draw from the global generator
        ids = add_control_tokens(model, make_tokenizer(), [UNDO], pad_to_multiple_of=64)
    assert ids == {"<|undo|>": rows}
    embed, head = models_[0].get_input_embeddings().weight, models_[0].get_output_embeddings().weight
    assert len(embed) == len(head) == -(-(rows + 1) // 64) * 64 == models_[0].config.vocab_size
    assert (embed is head) == tied
    for a, b in zip(models_[0].parameters(), models_[1].parameters(), strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(embed[rows + 1 :], embed[:rows].mean(0).expand_as(embed[rows + 1 :]))


@pytest.mark.parametrize("tied", [True, False])
def test_the_four_initialisations_in_both_matrices(tied, make_model, make_tokenizer):
    tokenizer = make_tokenizer()
    vocabulary = len(tokenizer)
    description = encode_plain(tokenizer, UNDO.description)
    words = [i for word in UNDO.words for i in encode_plain(tokenizer, " " + word)]
    for init in ("description", "words", "combined", "mean"):
        model = make_model(tie_word_embeddings=tied)
        tables = [model.get_input_embeddings().weight] + ([] if tied else [model.get_output_embeddings().weight])
        expected = []
        for table in tables:
            means = {"description": table[description].mean(0), "words": table[words].mean(0)}
            means["combined"] = (means["description"] + means["words"]) / 2
            means["mean"] = table[:vocabulary].mean(0)
            expected.append(means[init].detach().clone())
        ids = add_control_tokens(model, make_tokenizer(), [UNDO], init=init, noise=0.0)
        for table, row in zip(tables, expected, strict=True):
            torch.testing.assert_close(table[ids["<|undo|>"]].detach(), row)


def test_noise_is_seeded_and_scaled_to_the_rows(make_model, make_tokenizer):
    rows = {}
    for key, options in {
        "none": {"noise": 0},
        "a": {},
        "again": {},
        "seed": {"seed": 1},
        "ten": {"noise": 1.0},
    }.items():
        model = make_model()
        (token_id,) = add_control_tokens(model, make_tokenizer(), [UNDO], **options).values()
        rows[key] = model.get_input_embeddings().weight[token_id].detach().clone()
        spread = model.get_input_embeddings().weight[:token_id].detach().std()
    assert torch.equal(rows["a"], rows["again"])
    assert not torch.equal(rows["a"], rows["seed"])
    torch.testing.assert_close((rows["a"] - rows["none"]) * 10, rows["ten"] - rows["none"], atol=1e-5, rtol=1e-4)
    assert 0.5 * spread < (rows["ten"] - rows["none"]).std() < 1.6 * spread


def test_a_reserved_token_is_reused(make_model, make_tokenizer):
    model, tokenizer = make_model(), make_tokenizer()
    token = ControlToken("<|reserved_special_token_0|>", UNDO.description, UNDO.words)
    before = len(tokenizer), model.get_input_embeddings().weight[3].detach().clone()
    assert add_control_tokens(model, tokenizer, [token]) == {token.token: 3}
    assert len(tokenizer) == before[0]
    assert not torch.equal(model.get_input_embeddings().weight[3], before[1])


def test_a_head_with_a_bias_grows_too(make_tokenizer):
    tokenizer = make_tokenizer()
    config = PhiConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1,
                       num_attention_heads=2, bos_token_id=1, eos_token_id=2)  # fmt: skip
    model = PhiForCausalLM(config)
    with torch.no_grad():
        model.lm_head.bias.normal_()
    (token_id,) = add_control_tokens(model, tokenizer, [UNDO]).values()
    assert len(model.lm_head.bias) == token_id + 1
    assert model.lm_head.bias.detach()[token_id].abs() < 3.0
    assert model(torch.tensor([[5, token_id]])).logits.shape == (1, 2, token_id + 1)


@pytest.mark.parametrize("token", ["<eos>", "<bos>", "<pad>"])
def test_a_token_with_another_role_is_refused(token, make_model, make_tokenizer):
    with pytest.raises(ModelError, match="choose another name"):
        add_control_tokens(make_model(), make_tokenizer(), [ControlToken(token, "delete")])


def test_an_unknown_or_split_token_is_refused(make_tokenizer):
    with pytest.raises(ModelError, match="not as one token"):
        single_id(make_tokenizer(), "<|undo|>")
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    with pytest.raises(ModelError, match="unknown token"):
        single_id(tokenizer, "<|undo|>")


def test_bos_is_not_taken_for_the_token(make_model, make_tokenizer):
    """The seed took `encode(token)[0]`, which is the begin token of Llama tokenizers: its resolver never resolved."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    assert tokenizer.encode("x")[0] == 1
    ids = add_control_tokens(make_model(), tokenizer, [UNDO])
    assert ids["<|undo|>"] == tokenizer.convert_tokens_to_ids("<|undo|>") != 1


def test_text_that_spells_a_control_token_never_becomes_one(make_model, make_tokenizer):
    model, tokenizer = make_model(), make_tokenizer()
    (token_id,) = add_control_tokens(model, tokenizer, [UNDO]).values()
    text = "please <|undo|> this<|undo|><eos> <|reserved_special_token_0|>"
    assert token_id in tokenizer.encode(text)
    plain = encode_plain(tokenizer, text)
    assert not {token_id, 0, 1, 2, 3} & set(plain)
    assert tokenizer.decode(plain) == text
    assert token_id in tokenizer.encode(text)  # the tokenizer itself is as before


def test_a_token_in_the_models_own_word_list_is_broken_apart():
    words = {"<unk>": 0, "say": 1, "<|undo|>": 2, "<": 3, "|undo|>": 4}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|undo|>"]})
    assert tokenizer.encode("say <|undo|>", split_special_tokens=True) == [1, 2]
    assert encode_plain(tokenizer, "say <|undo|>") == [1, 3, 4]


@pytest.mark.parametrize("tied", [True, False])
def test_a_prepared_base_has_the_rows_wherever_it_is_loaded(tied, make_base, make_tokenizer, tmp_path):
    base, out = make_base(vocab=len(make_tokenizer()), tie_word_embeddings=tied), tmp_path / "prepared"
    ids = prepare_base(base, out, [UNDO])
    assert control_token_ids(out) == ids
    assert control_token_ids(base) == {}
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert tokenizer.encode("<|undo|>", add_special_tokens=False) == list(ids.values())
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())
    prepare_base(base, tmp_path / "again", [UNDO])
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    more = prepare_base(out, tmp_path / "more", [PLAN])
    assert control_token_ids(tmp_path / "more") == {**ids, **more}
    assert len(model.get_input_embeddings().weight) == max(ids.values()) + 1


def test_rows_that_a_training_gave_a_base_are_not_drawn_anew(make_base, tmp_path):
    # They were, so that a trained model named as model.path lost its control tokens.
    trained = tmp_path / "trained"
    (undo,) = prepare_base(make_base(), trained, [UNDO], seed=1).values()
    ids = prepare_base(trained, tmp_path / "out", [UNDO, PLAN], seed=2)
    assert ids[UNDO.token] == undo
    rows = [
        AutoModelForCausalLM.from_pretrained(path).get_input_embeddings().weight[undo]
        for path in (trained, tmp_path / "out")
    ]
    assert torch.equal(*rows)
