"""Tokenizers with the traps of real ones, and a small encyclopedia."""

from functools import cache

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from thinktwice.methods.react.grammar import build_grammar
from thinktwice.render import Render
from thinktwice.tools import Passage

TEXT = [
    "Thought: I need the teacher of Ida Marshby.\nAction: [action: Wikipedia, action_input: Ida Marshby (film)]\n",
    'Observation: Ida Marshby was taught by Hugo Oakham. He said "so [sic]." and left [1].\n',
    "Action: [action: Answer, action_input: Hugo Oakham (poet)] He left [1]\nand [2].\n",
    "Question: Who taught Ida Marshby?\n",
    "<search>Ida Marshby</search><observation>Hugo Oakham</observation><answer>1843</answer>",
    '{"name": "search", "arguments": {"query": "Ida Marshby"}}\nAnswer: yes',
] * 40
# Qwen's pattern: signs keep the line breaks after them, so that "]\n" and ")]" can be one piece.
PATTERN = r"""[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"""
CHAT = """{%- if tools %}{{- '<|im_start|>system\\n' }}{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- '# Tools\\n<tools>' }}{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}{{- '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}{{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}{{- '<|im_start|>assistant' }}
{%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
{%- for call in message.tool_calls %}{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}{{- call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""  # noqa: E501
TAGS = [f"<{s}{t}>" for t in ("search", "open", "answer", "observation") for s in ("", "/")]


@cache
def bpe(kind: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE. chat: the marks of tool calls are tokens, not special ones; tags: with control tokens."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(TEXT, trainer)
    if kind == "tags":
        words.add_special_tokens(TAGS)
    if kind == "chat":
        marks = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
        words.add_tokens([AddedToken(mark, special=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|im_end|>")
    if kind in ("chat", "letters"):
        tokenizer.chat_template = CHAT
    return tokenizer


GRAMMARS = {
    "text": ("text", "plain", {}),
    "tags": ("tags", "tags", {"control": True}),
    "letters": ("tags", "plain", {"control": False}),
    "template": ("template", "chat", {}),
    "template in letters": ("template", "letters", {}),
}


@cache
def grammar_of(name: str, shots: int = 0):
    surface, tokenizer, options = GRAMMARS[name]
    return build_grammar(surface, Render(bpe(tokenizer)), shots=shots, **options)


@pytest.fixture(params=GRAMMARS)
def grammar(request):
    return grammar_of(request.param)


@pytest.fixture
def make_grammar():
    return grammar_of


@pytest.fixture
def tokenizer_of():
    return bpe


PAGES = {
    "Ida Marshby": "Ida Marshby was taught by Hugo Oakham. She was born in 1872. She lived in Norham [see map].",
    "Hugo Oakham": "Hugo Oakham was born in 1843.",
    "Norham": "Norham is a town. " * 20,
}


class Shelf:
    """Pages whose title shares a word with the query, in the order of titles."""

    corpus = "shelf"

    def __init__(self, pages=PAGES):
        self.pages, self.asked = pages, []

    def search(self, query, k=3):
        self.asked.append(query)
        words = set(query.lower().split())
        found = [title for title in self.pages if words & set(title.lower().split())]
        return tuple(Passage(title, self.pages[title]) for title in found[:k])

    def open(self, title):
        self.asked.append(title)
        return Passage(title, self.pages[title]) if title in self.pages else None


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def make_shelf():
    return Shelf
