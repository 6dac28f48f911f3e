"""A teacher on a server: its episodes are stored, paid for once, and asked for again where the server failed."""

from dataclasses import replace
from itertools import islice

import pytest
from transformers import AutoTokenizer

from thinktwice.engines.http import Endpoint
from thinktwice.errors import DataError
from thinktwice.methods.react import React
from thinktwice.methods.react.tags import TAGS
from thinktwice.methods.react.teacher import Teacher
from thinktwice.nano import resolve
from thinktwice.render import Render
from thinktwice.tasks import hotpotqa
from thinktwice.tasks.worlds.wiki import Encyclopedia, hops
from thinktwice.types import Task


@pytest.fixture(scope="module")
def render():
    tokenizer = AutoTokenizer.from_pretrained(resolve("nano-wiki"))
    tokenizer.add_special_tokens({"additional_special_tokens": TAGS})
    return Render(tokenizer)


def test_a_model_on_a_server_teaches(server, answer, render, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    problems = list({p.id: p for p in islice(hops.problems(Encyclopedia(), 1, (2, 2), "train"), 8)}.values())
    task = Task("hops", {"train": problems}, hotpotqa.score)
    method = React(k=1, teacher=Endpoint("big", server.url, deadline_s=5), store=str(tmp_path / "episodes.sqlite"))
    shown = method.written_in(render, shots=3)
    turns = {shown.prompt(p.prompt): Teacher().plan(p, method.retriever, 0) for p in problems}
    seen = shown.tokens["</observation>"]

    def write(body, number):
        """Go on with the turn that the context has begun."""
        context = tuple(body["prompt"])
        prompt = next(begun for begun in turns if context[: len(begun)] == begun)
        after = context[len(prompt) :]
        turn = turns[prompt][after.count(seen)]
        begun = len(after) - (len(after) - after[::-1].index(seen) if seen in after else 0)
        ids = [*shown.act(turn.thought, turn.tool, turn.argument), render.end_id][begun:][: body["max_tokens"]]
        for place, token in enumerate(ids):
            if token in body["stop_token_ids"]:
                ids = ids[: place + 1]
                break
        logprobs = {"token_logprobs": [-0.5] * len(ids)}
        choice = {"index": 0, "text": "", "token_ids": ids, "logprobs": logprobs, "finish_reason": "stop"}
        return {"id": "1", "model": body["model"], "choices": [choice]}

    server.script, server.models = write, ["big"]
    traces = method.collect(problems, None, render, task, 0)
    assert len(traces) == len(problems)
    rows = method.examples(problems, traces, render)
    student = method.written_in(render)
    for problem, row in zip(problems, rows, strict=True):
        prompt = student.prompt(problem.prompt)
        assert row.token_ids[: len(prompt)] == prompt  # without the worked examples that the teacher was shown
        learned = [t for t, w in zip(row.targets, row.weights, strict=True) if w]
        written = [i for t in turns[shown.prompt(problem.prompt)] for i in shown.act(t.thought, t.tool, t.argument)]
        assert learned == [*written, render.end_id]
    asked = len(server.asked)
    assert method.collect(problems, None, render, task, 0) == traces
    assert len(server.asked) == asked
    server.script = lambda body, number: answer({"error": "no such thing"}, 400)
    other = replace(method, temperature=0.5)  # other episodes, so that they are asked for
    with pytest.raises(DataError, match=r"open 8: The server gave no tokens: HTTP 400: no such thing; the same"):
        other.collect(problems, None, render, task, 0)
