import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thinktwice.types import Problem, Task

WORDS = [
    "<end>",
    "<undo>",
    "<user>",
    "<reply>",
    "####",
    "\n",
    " ",
    "?",
    "x",
    "y",
    *"0123456789",
    *"abcdefghij",
    "<",
    ">",
    "u",
]
CHAT = "{% for m in messages %}<user>{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}<reply>{% endif %}"


def make_tokenizer(chat: bool = False) -> PreTrainedTokenizerFast:
    """Characters and '####' as tokens; `<undo>` and its kind are special, and `<undo>` in a text is '<', 'u', ..."""
    vocabulary = {word: index for index, word in enumerate([*WORDS, "n", "o", "s", "e", "r", "p", "l"])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("####|.|\n"), "isolated")
    raw.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<end>",
        additional_special_tokens=["<undo>", "<user>", "<reply>"],
        clean_up_tokenization_spaces=False,
    )
    if chat:
        tokenizer.chat_template = CHAT
    return tokenizer


def make_chain(tokenizer: PreTrainedTokenizerFast, follows: dict[str, list[str]]) -> LlamaForCausalLM:
    """A Llama that is a Markov chain: after each token, its followers in order of preference.

    Attention and MLP add nothing, embeddings are one-hot, so the next logits are a row of the output matrix.
    """
    size = len(tokenizer)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size,
            hidden_size=size + size % 2,
            intermediate_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=4,
            max_position_embeddings=256,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1.0)
        model.model.layers[0].input_layernorm.weight.fill_(1.0)
        model.model.layers[0].post_attention_layernorm.weight.fill_(1.0)
        model.model.embed_tokens.weight[:, :size] = torch.eye(size)
        for word, followers in follows.items():
            for rank, follower in enumerate(followers):
                row, column = (tokenizer.convert_tokens_to_ids(w) for w in (follower, word))
                model.lm_head.weight[row, column] = 3.0 - rank
    return model.eval()


SLIPS = {  # after the question: writes x, takes it back, then answers 7
    "\n": ["x", "####"],
    "x": ["<undo>", "####"],
    "<undo>": ["y", "####"],
    "####": [" "],
    " ": ["7"],
    "7": ["<end>"],
}


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def slips(tokenizer):
    return make_chain(tokenizer, SLIPS)


@pytest.fixture(scope="session")
def sevens():
    """A task whose answer is 7 for three problems of level 1 and one of level 2, of four each."""
    from thinktwice.tasks.gsm8k import score

    names = "abcdefgh"
    answers = "77797999"
    problems = [
        Problem(f"p{n}", f"how {n}?", a, f"#### {a}", 1 + (i > 3))
        for i, (n, a) in enumerate(zip(names, answers, strict=True))
    ]
    return Task("sevens", {"train": problems[:0], "test": problems}, score)
