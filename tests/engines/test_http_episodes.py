"""ReAct episodes on a server: many in flight, a tool in the middle of each, the very tokens of a local row."""

import random
import time

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from thinktwice.engines.http import Client, Endpoint, HttpEngine
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.methods.react.episode import ANSWER, SEARCH
from thinktwice.methods.react.grammar import build_grammar
from thinktwice.methods.react.play import play
from thinktwice.methods.react.written import read_episode
from thinktwice.render import Render
from thinktwice.tools import Passage
from thinktwice.types import Problem, Sampling

TAGS = [f"<{s}{t}>" for t in ("search", "open", "answer", "observation") for s in ("", "/")]


@pytest.fixture(scope="module")
def render():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = Tokenizer(models.BPE({c: i for i, c in enumerate(["<end>", *alphabet])}, []))
    letters.pre_tokenizer, letters.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    letters.add_special_tokens(["<end>", *TAGS])
    return Render(PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="<end>"))


class Slow:
    corpus, slow = "slow", True

    def search(self, query, k=3):
        time.sleep(random.Random(query).random() / 100)
        if "7" in query:
            raise TimeoutError("no answer in 10 s")
        return (Passage(f"Page {query}", f"About {query} there is nothing."),)

    def open(self, title):
        return None


@pytest.mark.parametrize("name", ["tags", "text"])
def test_many_episodes_at_a_time(server, tmp_path, monkeypatch, render, name):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    grammar = build_grammar(name, render)
    problems = [Problem(f"p{i}", f"Who is {i}?", str(i)) for i in range(18)]
    turns = {p.id: [("Look.", SEARCH, f"{p.answer} {n}") for n in range(int(p.answer) % 3)] for p in problems}
    scripts = {grammar.prompt(p.prompt): [*turns[p.id], ("So.", ANSWER, p.answer)] for p in problems}
    options = {"grammar": grammar, "retriever": Slow(), "max_turns": 4}
    sampling = Sampling(max_new_tokens=400)
    drawn = {prompt: [i for t in script for i in grammar.act(*t)] for prompt, script in scripts.items()}
    expected = play(problems, ScriptedEngine(lambda prompt: drawn[tuple(prompt)]), render, sampling, **options)
    contexts = {}
    for prompt in scripts:
        trace = next(t for t, p in zip(expected, problems, strict=True) if grammar.prompt(p.prompt) == prompt)
        ids = list(prompt)
        for part in trace.steps:
            if part.sampled:
                contexts[tuple(ids)] = part.token_ids
            ids += part.token_ids

    def script(body, number):
        """Go on with what the model would write, up to a token that the engine asked to stop at."""
        time.sleep(0.003)  # a real one is busy so long that others come in
        context, reply = tuple(body["prompt"]), []
        at = next(n for n in range(len(context), 0, -1) if context[:n] in contexts)
        while len(reply) < body["max_tokens"]:
            place = len(context) + len(reply) - at
            if place == len(contexts[context[:at]]):
                following = (*context, *reply)
                if following not in contexts:
                    break
                context, reply, at = following, [], len(following)  # thought, then action
                continue
            reply.append(contexts[context[:at]][place])
            if reply[-1] in body["stop_token_ids"]:
                break
        drawn_ids = [*context[len(body["prompt"]) :], *reply]
        return {
            "id": "1",
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "text": "",
                    "token_ids": drawn_ids,
                    "logprobs": {"token_logprobs": [-0.5] * len(drawn_ids)},
                    "finish_reason": "stop",
                    "stop_reason": drawn_ids[-1],
                }
            ],
            "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(drawn_ids)},
        }

    server.script = script
    with Client(Endpoint("tiny", server.url, concurrency=8, timeout_s=20.0), tmp_path / "replies.sqlite") as client:
        engine = HttpEngine(client, eos_ids=[render.end_id], max_length=4000)
        traces = play(problems, engine, render, sampling, **options)
        asked = len(server.asked)
        assert server.peak > 1
        again = play(problems, engine, render, sampling, **options)
        assert again == traces
        assert len(server.asked) == asked  # every reply was paid for already
    failed = 0
    for trace, scripted, problem in zip(traces, expected, problems, strict=True):
        assert [(s.kind, s.token_ids, s.sources) for s in trace.steps] == [
            (s.kind, s.token_ids, s.sources) for s in scripted.steps
        ]
        assert (trace.stop, trace.error) == (scripted.stop, scripted.error)
        episode = read_episode(trace, grammar)
        assert episode.answer == (problem.answer if trace.stop == "done" else None)
        failed += trace.stop == "error"
        assert trace.stop == "done" or "no answer in 10 s" in trace.error
    assert failed == 2  # 7 and 17
