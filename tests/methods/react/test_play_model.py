"""Episodes of a real (tiny, untrained) model: the same whatever is in flight beside them, however slow a tool is."""

import time

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from thinktwice.engines.local import LocalEngine
from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH
from thinktwice.methods.react.guard import Guard
from thinktwice.methods.react.play import play, step
from thinktwice.methods.react.written import read_episode
from thinktwice.types import Problem, Sampling

PROBLEMS = [Problem(f"p{i}", f"Who taught number {i}" + " or so" * (i % 3) + "?", "x") for i in range(10)]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=520,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=400,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


class Chatty:
    """A rule under which an untrained model often acts."""

    def __init__(self, grammar):
        marks = grammar.tokens
        self.close = {marks[f"<{tool}>"]: marks[f"</{tool}>"] for tool in ("search", "open", "answer")}

    def __call__(self, rows, logits_BV):
        for index, row in enumerate(rows):
            opened = [i for i in row.token_ids[-6:] if i in self.close or i in self.close.values()]
            likely = [self.close[opened[-1]]] if opened and opened[-1] in self.close else list(self.close)
            logits_BV[index, likely] += 5.0
        return logits_BV


class Sleepy:
    corpus = "sleepy"
    slow = True

    def __init__(self, shelf):
        self.shelf = shelf

    def search(self, query, k=3):
        time.sleep(len(query) % 4 / 500)
        return self.shelf.search(f"{query} Ida" if len(query) % 3 else "Norham", k)

    def open(self, title):
        return self.shelf.search("Hugo", 1)[0] if len(title) % 2 else None


class Fast(Sleepy):
    slow = False


@pytest.mark.parametrize("mode", ["warn", "ban"])
def test_an_episode_depends_on_its_problem_alone(model, make_grammar, shelf, mode):
    grammar = make_grammar("tags")
    sampling = Sampling(temperature=1.0, max_new_tokens=60, seed=1)

    def episodes(problems, batch_size, retriever):
        engine = LocalEngine(model, grammar.render.tokenizer, batch_size=batch_size)
        options = {"max_turns": 3, "observation_tokens": 30, "guard": Guard(mode, most=3), "rules": (Chatty(grammar),)}
        return play(problems, engine, grammar.render, sampling, grammar=grammar, retriever=retriever, **options)

    together = episodes(PROBLEMS, 8, Fast(shelf))
    told = [read_episode(trace, grammar) for trace in together]
    tools = {turn.tool for episode in told for turn in episode.turns}
    assert tools >= {SEARCH, OPEN, ANSWER, ""}  # of everything there is something
    assert any(episode.forced for episode in told)
    assert any(not s.kept for trace in together for s in trace.steps)
    for other in (
        episodes(PROBLEMS, 3, Sleepy(shelf)),
        episodes(PROBLEMS, 10, Sleepy(shelf)),
        [episodes([problem], 1, Fast(shelf))[0] for problem in PROBLEMS],
    ):
        for one, two in zip(together, other, strict=True):
            assert [(s.kind, s.token_ids, s.kept, s.sources, s.rewind) for s in one.steps] == [
                (s.kind, s.token_ids, s.kept, s.sources, s.rewind) for s in two.steps
            ]
            assert (one.stop, one.problem_id) == (two.stop, two.problem_id)


def test_siblings_at_one_place_differ_by_key(model, make_grammar):
    grammar = make_grammar("tags")
    engine = LocalEngine(model, grammar.render.tokenizer)
    prompt = grammar.prompt("Who?")
    found = step([prompt] * 4, engine, Sampling(temperature=1.0, max_new_tokens=20), grammar, [1, 2, 3, 3])
    assert found[2] == found[3]
    assert len({ids for ids, _ in found}) == 3
