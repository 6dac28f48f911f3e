"""Decoding over HTTP: a server of vLLM's wire format around a tiny model, against the local engine on that model."""

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thinktwice.decode.undo import UndoRun, undo_policy
from thinktwice.engines.base import Engine
from thinktwice.engines.http import Client, Endpoint, HttpEngine
from thinktwice.engines.local import LocalEngine
from thinktwice.errors import ConfigError
from thinktwice.types import Append, Sampling

END, UNDO, STEP = 0, 1, 2
WORDS = ["<end>", "<undo>", ";", *[f"w{i}" for i in range(29)]]
PROMPTS = [[5, 6], [7], [8, 9, 10], [11, 5, 7, 9]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=96,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=END,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def local(model):
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    return LocalEngine(model, tokenizer)


@pytest.fixture
def serve(server, model):
    """Answer completions as vLLM's protocol says: ids in, ids out, the stop token among them."""

    @torch.no_grad()
    def script(body, number):
        assert body["return_token_ids"] is True
        assert body["ignore_eos"] is True
        ids, drawn, logprobs, reason = list(body["prompt"]), [], [], None
        draws = torch.Generator().manual_seed(body["seed"])
        while len(drawn) < body["max_tokens"] and reason is None:
            logits = model(torch.tensor([ids])).logits[0, -1].clone()
            for token_id, bias in body.get("logit_bias", {}).items():
                logits[int(token_id)] += min(100.0, max(-100.0, bias))
            if body["temperature"] == 0:
                scores = logits.log_softmax(-1)
                token_id = int(scores.argmax())
            else:
                scores = (logits / body["temperature"]).log_softmax(-1)
                token_id = int(torch.multinomial(scores.exp(), 1, generator=draws))
            ids.append(token_id)
            drawn.append(token_id)
            logprobs.append(float(scores[token_id]))
            reason = token_id if token_id in body["stop_token_ids"] else None
        choice = {
            "index": 0,
            "text": " ".join(WORDS[i] for i in drawn),
            "token_ids": drawn,
            "logprobs": {"token_logprobs": logprobs, "tokens": [], "top_logprobs": [], "text_offset": []},
            "finish_reason": "length" if reason is None else "stop",
            "stop_reason": reason,
        }
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(drawn)}
        return {"id": "1", "model": body["model"], "choices": [choice], "usage": usage}

    server.script = script
    return server


@pytest.fixture
def engine(serve, tmp_path, local, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Client(Endpoint("tiny", serve.url, concurrency=4, timeout_s=20.0), tmp_path / "replies.sqlite") as client:
        yield HttpEngine(client, eos_ids=[END], to_text=local.text, max_length=96)


def same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert (one.token_ids, one.fates, one.stop, one.error) == (
            other.token_ids,
            other.fates,
            other.stop,
            other.error,
        )
        assert one.rewinds == other.rewinds
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-3)


POLICIES = {
    "plain": {"context": "off"},
    "rewind": {"bias": 4.0},
    "often": {"bias": 7.0, "max_edits": 3},
    "step": {"bias": 4.0, "unit": "step", "step_ends": frozenset({STEP, 5, 9})},
    "keep": {"bias": 4.0, "context": "keep"},
}


@pytest.mark.parametrize("name", POLICIES)
def test_greedy_rows_are_those_of_the_local_engine(engine, local, name):
    protocol: Engine = engine
    controls, rules = undo_policy(UNDO, **POLICIES[name])
    sampling = Sampling(max_new_tokens=16)
    theirs = local.generate(PROMPTS, sampling, controls=controls, rules=rules)
    same(protocol.generate(PROMPTS, sampling, controls=controls, rules=rules), theirs)
    if name in ("rewind", "often", "step"):
        assert sum(len(row.rewinds) for row in theirs) >= 3  # there was something to agree on
    assert protocol.name == "tiny (HTTP)"


def test_inserted_text_ends_and_stop_strings_agree(engine, local, serve):
    class Tool:
        watch = frozenset({local.generate([[5, 6]], Sampling(max_new_tokens=3))[0].token_ids[1]})

        def edit(self, row, drawn):
            return Append((30, 31)) if drawn in self.watch else None

    sampling = Sampling(max_new_tokens=12)
    same(engine.generate(PROMPTS, sampling, controls=[Tool()]), local.generate(PROMPTS, sampling, controls=[Tool()]))
    plain = local.generate(PROMPTS, sampling)
    word = WORDS[plain[0].token_ids[4]]
    stopped = Sampling(max_new_tokens=12, stop=(word,))
    same(engine.generate(PROMPTS, stopped), local.generate(PROMPTS, stopped))
    assert any(row.stop == "done" for row in engine.generate(PROMPTS, stopped))


def test_every_request_of_every_row_draws_from_a_stream_of_its_own(engine, serve):
    controls, rules = undo_policy(UNDO, bias=4.0)
    sampling = Sampling(temperature=1.0, max_new_tokens=12, seed=3)
    together = engine.generate(PROMPTS, sampling, controls=controls, rules=rules)
    seeds = [body["seed"] for body in serve.asked]
    assert len(set(seeds)) == len(seeds) > len(PROMPTS)
    asked = len(seeds)
    alone = [engine.generate([p], sampling, controls=controls, rules=rules, keys=[i]) for i, p in enumerate(PROMPTS)]
    assert [row for (row,) in alone] == together
    assert len(serve.asked) == asked  # and every one of them was paid for already
    (other,) = engine.generate([PROMPTS[0]], sampling, controls=controls, rules=rules, keys=[9])
    assert other.token_ids != together[0].token_ids


def test_nothing_is_sampled_in_vain(engine, local):
    controls, rules = undo_policy(UNDO, bias=7.0)
    rows = engine.generate(PROMPTS, Sampling(max_new_tokens=10), controls=controls, rules=rules)
    assert all(len(row.token_ids) <= 10 for row in rows)
    often = local.generate([[5, 6]], Sampling(max_new_tokens=3))[0].token_ids[2]
    more = engine.generate(PROMPTS, Sampling(max_new_tokens=11), controls=[UndoRun(often)])
    assert any(row.rewinds for row in more)
    sampled = sum(len(row.token_ids) for row in [*rows, *more])
    assert sampled == engine.client.spending.usage.completion_tokens


def test_what_a_server_cannot_do_is_refused(engine):
    def rule(rows, logits_BV):
        return logits_BV

    with pytest.raises(ConfigError, match=r"rule changes next-token scores .* local engine"):
        engine.generate(PROMPTS, Sampling(), rules=[rule])
    with pytest.raises(ConfigError, match="logit_bias ends at 100"):
        engine.generate(PROMPTS, Sampling(), rules=undo_policy(UNDO, bias=200.0)[1])
    with pytest.raises(ConfigError, match="keys"):
        engine.generate(PROMPTS, Sampling(), keys=[1])
    with pytest.raises(ConfigError, match="to_text"):
        HttpEngine(engine.client, eos_ids=[END]).generate(PROMPTS, Sampling(stop=("x",)))


def test_a_row_that_fails_is_data(engine, serve, answer, whole):
    script = serve.script
    serve.script = lambda body, number: (
        answer({"error": {"message": "too long"}}, 400) if body["prompt"][0] == 7 else script(body, number)
    )
    rows = engine.generate([*PROMPTS, []], Sampling(max_new_tokens=4))
    assert [row.stop for row in rows] == ["budget", "error", "budget", "budget", "error"]
    assert "too long" in rows[1].error
    assert "empty" in rows[4].error
    serve.script = lambda body, number: whole(body, "words without ids")
    (row,) = engine.generate([[4, 4]], Sampling(max_new_tokens=4))
    assert "0 token ids and 0 log-probabilities" in row.error
    forced = {"token_ids": [12], "logprobs": {"token_logprobs": [-0.1]}}
    serve.script = lambda body, number: whole(body, **forced)

    class Ban:
        watch = frozenset({12})

        def edit(self, row, drawn):
            from thinktwice.types import Rewind

            return Rewind(1, ban=(12,))

    (row,) = engine.generate([[4, 5]], Sampling(max_new_tokens=4), controls=[Ban()])
    assert row.stop == "error"
    assert "12, which was banned" in row.error
