"""The client against a real server on loopback: replies, faults, deadlines, secrets."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import traceback
from email.utils import formatdate

import pytest

from thinktwice.config import parse, to_dict
from thinktwice.engines.http import Client, Endpoint, Failure, Pace, Reply, Request, ToolCall, Usage
from thinktwice.errors import ConfigError, EngineError
from thinktwice.retry import LONGEST_WAIT_S, retry_after
from thinktwice.types import Sampling

KEY = "sk-test-0123456789abcdef"


class Time:
    """A clock that only sleeping moves; chance is always the largest."""

    def __init__(self):
        self.seconds, self.slept = 0.0, []
        self.pace = Pace(lambda: self.seconds, lambda: 1_000_000.0 + self.seconds, self.sleep, lambda low, high: high)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def client(server, tmp_path, time):
    made = []

    def make(**settings):
        settings = {"model": "small", "base_url": server.url, "timeout_s": 20.0, **settings}
        made.append(Client(Endpoint(**settings), tmp_path / "replies.sqlite", pace=time.pace))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_replies_keep_order_and_say_what_they_cost(server, client):
    server.script = lambda body, number: f"answer to {body['messages'][-1]['content']}"
    requests = [Request(f"question {i}") for i in range(20)]
    told = {}
    asker = client()
    replies = asker.chat(requests, listener=told.__setitem__)
    assert [reply.text for reply in replies] == [f"answer to question {i}" for i in range(20)]
    assert replies[0] == Reply("answer to question 0", "stop", Usage(7, 4), "small")
    assert told == dict(enumerate(replies))
    assert asker.spending.usage == Usage(140, 80)
    assert (asker.spending.requests, asker.spending.attempts, asker.spending.replies) == (20, 20, 20)
    assert set(server.paths) == {"/v1/chat/completions"}
    assert asker.chat([]) == []


def test_the_body_is_the_documented_one(server, client):
    sampling = Sampling(temperature=0.7, top_p=0.9, top_k=20, max_new_tokens=5, stop=("]",), seed=3)
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"})
    asker = client(extra={"min_p": 0.1})
    asker.chat([Request(messages, sampling, extra={"response_format": {"type": "json_object"}})])
    asker.complete([Request("Once", sampling), Request((5, 6), sampling)])
    chat, *texts = server.asked
    seed = chat.pop("seed")
    assert 0 <= seed < 2**31
    assert chat == {
        "model": "small",
        "messages": list(messages),
        "max_tokens": 5,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
        "stop": ["]"],
        "min_p": 0.1,
        "response_format": {"type": "json_object"},
    }
    assert sorted((body["prompt"] for body in texts), key=str) == ["Once", [5, 6]]
    assert set(server.paths[1:]) == {"/v1/completions"}
    other = client(token_limit="max_completion_tokens", extra={"temperature": None, "seed": None})
    other.chat([Request("Hi", sampling)])
    assert server.asked[-1]["max_completion_tokens"] == 5
    assert not {"max_tokens", "temperature", "seed"} & server.asked[-1].keys()
    with pytest.raises(ConfigError, match="chat"):
        asker.complete([Request(messages)])
    with pytest.raises(ConfigError, match="complete"):
        asker.chat([Request((5, 6))])


def test_samples_and_seeds_get_streams_of_their_own(server, client):
    client().chat([Request("Hi", Sampling(seed=seed), sample) for seed in range(4) for sample in range(4)])
    assert len({body["seed"] for body in server.asked}) == 16


def test_tool_calls_reasoning_and_log_probabilities_are_read(server, client, whole):
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
    message = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}
    logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": 0}]}
    server.script = lambda body, number: whole(body, message=message, finish_reason="tool_calls", logprobs=logprobs)
    (reply,) = client().chat([Request("Hi")])
    assert reply.tool_calls == (ToolCall("c1", "search", '{"q": "x"}'),)
    assert (reply.text, reply.reasoning, reply.logprobs) == ("", "hm", (-0.5, 0.0))


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_may_pass_is_asked_again(server, client, time, answer, status):
    server.script = lambda body, number: answer({"error": {"message": "busy"}}, status) if number < 3 else "yes"
    (reply,) = client().chat([Request("Hi")])
    assert reply.text == "yes"
    assert time.slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [400, 405, 413, 422])
def test_what_cannot_pass_is_a_failure_at_once(server, client, time, answer, status):
    server.script = lambda body, number: (
        answer({"error": {"message": f"too long, {KEY}\x1b[31m"}}, status) if "2" in str(body["messages"]) else "yes"
    )
    replies = client().chat([Request("1"), Request("2"), Request("3")])
    assert [type(reply) for reply in replies] == [Reply, Failure, Reply]
    assert replies[1] == Failure("refused", f"HTTP {status}: too long, [key] [31m", 1)
    assert len(server.asked) == 3
    assert time.slept == []


def test_the_server_says_when_to_come_back(server, client, time, answer):
    waits = ["7", formatdate(1_000_000.0 + 60, usegmt=True), "soon"]
    server.script = lambda body, number: (
        answer({"error": {}}, 429, {"Retry-After": waits[number]}) if number < 3 else "yes"
    )
    (reply,) = client().chat([Request("Hi")])
    assert reply.text == "yes"
    assert time.slept == [7.5, 60 - 7.5 + 0.5, 2.0]  # the last one cannot be read: the usual back-off


def test_a_pause_the_server_asks_for_holds_for_every_request(server, client, time, answer):
    server.script = lambda body, number: answer({"error": {}}, 429, {"Retry-After": "30"}) if number == 0 else "yes"
    asker = client(deadline_s=10.0)
    (failure,) = asker.chat([Request("1")])
    assert (failure.kind, time.slept) == ("deadline", [])
    (reply,) = asker.chat([Request("2")])  # waits before it asks, which its own deadline does not count
    assert reply.text == "yes"
    assert time.slept == [30.5]


def test_retry_after_in_all_its_forms():
    assert retry_after({}, 0) is None
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}, 0) == 1.5
    assert retry_after({"retry-after": "2.5"}, 0) == 2.5
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 45) == 15
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 90) == 0
    for nonsense in ("", "-3", "nan", "inf", "tomorrow", "Thu, 99 Jan"):
        assert retry_after({"retry-after": nonsense}, 0) is None


def test_nothing_outlives_the_deadline(server, client, time, answer):
    server.script = lambda body, number: answer(b"<html>bad gateway</html>", 502, kind="text/html")
    asker = client(deadline_s=300.0)
    (failure,) = asker.chat([Request("Hi")])
    assert failure.kind == "deadline"
    assert failure.attempts == len(server.asked) == asker.spending.attempts > 5
    assert "HTTP 502" in failure.reason
    assert "deadline_s=300" in failure.reason
    assert sum(time.slept) < 300
    assert max(time.slept) == LONGEST_WAIT_S


def test_a_pause_past_the_deadline_is_not_waited_for(server, client, time, answer):
    server.script = lambda body, number: answer({"error": {}}, 429, {"Retry-After": "3600"})
    (failure,) = client(deadline_s=60.0).chat([Request("Hi")])
    assert (failure.kind, failure.attempts, time.slept) == ("deadline", 1, [])
    assert "3600 s more" in failure.reason


def test_a_hanging_server_is_asked_again(server, client, time):
    def script(body, number):
        if number < 2:
            server.hang()
        return "yes"

    server.script = script
    asker = client(timeout_s=0.2)
    (reply,) = asker.chat([Request("Hi")])
    assert reply.text == "yes"
    assert asker.spending.attempts == 3


def test_a_reply_that_trickles_is_timed_as_a_whole(server, client, answer, whole):
    """A byte now and then keeps a connection's own time-out from ever firing; the attempt ends all the same."""
    server.script = lambda body, number: answer(whole(body), drip=number == 0)
    asker = client(timeout_s=0.4)
    (reply,) = asker.chat([Request("Hi")])
    assert reply.text == "yes"
    assert asker.spending.attempts == 2


@pytest.mark.parametrize("how", ["closed", "cut"])
def test_a_broken_connection_is_asked_again(server, client, answer, whole, how):
    def script(body, number):
        if number >= 2:
            return "yes"
        return None if how == "closed" else answer(whole(body, "a shorter answ"), cut=True)

    server.script = script
    (reply,) = client().chat([Request("Hi")])
    assert reply.text == "yes"
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>hello</html>", "no JSON"),
        (b'{"choices": [{"mess', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ([], "list where choices should be"),
        ({}, "no choices"),
        ({"choices": []}, "0 choices"),
        ({"choices": ["x"]}, "str where finish_reason should be"),
        ({"choices": [{"message": {"content": "half"}, "finish_reason": None}]}, "no finish_reason"),
        ({"choices": [{"message": {}, "finish_reason": "stop"}]}, "without content"),
        ({"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}, "content is int"),
        ({"choices": [{"message": {"content": "x", "tool_calls": 3}, "finish_reason": "stop"}]}, "tool_calls is int"),
        ({"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "logprobs": 3}]}, "int where content"),
        ({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": []}, "prompt_tokens"),
        ({"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "token_ids": ["a"]}]}, "no number"),
    ],
)
def test_a_reply_that_is_none_is_data(server, client, answer, body, says):
    server.script = lambda request, number: answer(body) if number == 0 else "yes"
    (failure,) = client().chat([Request("Hi")])
    assert (failure.kind, failure.attempts) == ("bad reply", 1)
    assert says in failure.reason
    (reply,) = client().chat([Request("Hi")])  # it was not taken for an answer: the next run asks again
    assert reply.text == "yes"


def test_a_reply_the_server_broke_off_is_asked_again(server, client, answer, whole):
    server.script = lambda body, number: answer(whole(body, "hal", finish_reason="abort")) if number == 0 else "yes"
    (reply,) = client().chat([Request("Hi")])
    assert reply.text == "yes"


def test_hostile_text_survives(server, client, answer, whole):
    text = "\ud800 </script>\x00\u202e" + "x" * 100_000
    server.script = lambda body, number: answer(whole(body, text))
    (reply,) = client().chat([Request("Hi")])
    assert reply.text.strip("\ufffd") == text[1:]  # half of a surrogate pair fits in no file
    (again,) = client().chat([Request("Hi")])
    assert again.text == reply.text


# Streams


def lines(*chunks, done=True):
    rows = [chunk if isinstance(chunk, bytes) else b"data: " + json.dumps(chunk).encode() for chunk in chunks]
    return b"\n\n".join([*rows, *([b"data: [DONE]"] if done else [])]) + b"\n\n"


def piece(text=None, finish=None, **delta):
    return {
        "id": "1",
        "object": "chat.completion.chunk",
        "model": "small",
        "choices": [{"index": 0, "delta": {"content": text, **delta}, "finish_reason": finish}],
    }


USAGE = {"id": "1", "model": "small", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
HALF = [piece("one "), piece("tw")]
FULL = [piece("one "), piece("two"), piece(finish="stop"), USAGE]


def test_a_stream_is_the_reply_it_would_have_been(server, client, answer):
    server.script = lambda body, number: answer(lines(*FULL), kind="text/event-stream")
    (reply,) = client(stream=True).chat([Request("Hi")])
    assert reply == Reply("one two", "stop", Usage(7, 2), "small")
    assert server.asked[0]["stream"] is True
    assert server.asked[0]["stream_options"] == {"include_usage": True}
    (again,) = client(stream=False).chat([Request("Hi")])
    assert again.cached  # how it travels does not decide what it says
    calls = [
        piece(tool_calls=[{"index": 0, "id": "c", "function": {"name": "find", "arguments": ""}}]),
        piece(tool_calls=[{"index": 0, "function": {"arguments": '{"q"'}}]),
        piece(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}], finish="tool_calls"),
    ]
    server.script = lambda body, number: answer(lines(*calls), kind="text/event-stream")
    (reply,) = client(stream=True).chat([Request("Call")])
    assert reply.tool_calls == (ToolCall("c", "find", '{"q": 1}'),)
    assert reply.usage is None


@pytest.mark.parametrize(
    ("body", "cut"),
    [
        (lines(*HALF, done=False), False),  # ends politely, but without a finish_reason
        (lines(*HALF), False),
        (lines(*HALF, done=False), True),  # the connection breaks
        (lines(*HALF, b'data: {"choices": [{"del', done=False), False),
        (lines(*HALF, b"data: [1, 2]", done=False), False),
        (lines(*HALF, {"error": {"message": "out of memory", "code": 500}}), False),
        (lines(piece("x", finish=None) | {"choices": "zzz"}), False),
        (b"", False),
        (json.dumps({"choices": []}).encode(), False),
    ],
)
def test_half_a_stream_is_asked_again_and_never_an_answer(server, client, answer, body, cut):
    server.script = lambda request, number: answer(
        lines(*FULL) if number == 2 else body, kind="text/event-stream", cut=cut and number < 2
    )
    asker = client(stream=True)
    (reply,) = asker.chat([Request("Hi")])
    assert reply.text == "one two"
    assert asker.spending.attempts == 3


def test_a_stream_that_trickles_is_asked_again(server, client, answer):
    server.script = lambda body, number: answer(lines(*FULL), kind="text/event-stream", drip=number == 0)
    asker = client(stream=True, timeout_s=0.4)
    (reply,) = asker.chat([Request("Hi")])
    assert reply.text == "one two"
    assert asker.spending.attempts == 2


def test_a_whole_stream_whose_connection_breaks_after_its_end_is_kept(server, client, answer):
    server.script = lambda body, number: answer(lines(*FULL[:3], done=False), kind="text/event-stream", cut=True)
    (reply,) = client(stream=True).chat([Request("Hi")])
    assert (reply.text, reply.finish_reason, reply.usage) == ("one two", "stop", None)
    assert len(server.asked) == 1


# Many at once


def test_the_server_sees_no_more_at_once_than_allowed(server, client):
    together = threading.Barrier(3)

    def script(body, number):
        together.wait(20)  # fails with fewer than three at once
        return "yes"

    server.script = script
    asker = client(concurrency=3)
    threads = [threading.Thread(target=asker.chat, args=([Request(f"{t} {i}") for i in range(6)],)) for t in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert asker.spending.replies == 18
    assert server.peak == 3


def test_too_many_failures_stop_the_call(server, client, answer, whole):
    server.script = lambda body, number: answer({"error": {"message": "no"}}, 400) if number % 2 else "yes"
    asker = client(concurrency=1, max_failures=0.1)
    with pytest.raises(EngineError, match=r"21 of 200 requests to small .* max_failures=0\.1 .*HTTP 400: no"):
        asker.chat([Request(f"{i}", sample=i) for i in range(100)] + [Request("same")] * 100)
    assert len(server.asked) < 50  # and the rest was not even asked
    few = client(max_failures=0.1)
    assert sum(isinstance(result, Failure) for result in few.chat([Request(f"few {i}") for i in range(8)])) <= 10


def test_an_error_in_a_listener_calls_the_rest_off(server, client):
    def listener(index, result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client(concurrency=1).chat([Request(f"{i}") for i in range(50)], listener=listener)
    assert len(server.asked) < 50


# One clear error


@pytest.mark.parametrize(
    ("known", "says"), [(False, "OPENAI_API_KEY is not set"), (True, "the key in OPENAI_API_KEY is not accepted")]
)
def test_a_missing_or_wrong_key_names_its_variable(server, client, answer, monkeypatch, known, says):
    if not known:
        monkeypatch.delenv("OPENAI_API_KEY")
    server.script = lambda body, number: answer({"error": {"message": f"Incorrect API key: {KEY[:6]}***"}}, 401)
    with pytest.raises(ConfigError, match=says) as caught:
        client().chat([Request(str(i)) for i in range(20)])
    assert "Export" in str(caught.value)
    assert "sk-" not in str(caught.value)
    assert len(server.asked) <= 16


def test_a_server_without_keys_needs_none(server, client, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert client().chat([Request("Hi")])[0].text == "yes"


def test_a_model_that_is_not_there_names_the_nearest(server, client, answer):
    server.script = lambda body, number: answer({"error": {"message": "no such model"}}, 404)
    with pytest.raises(ConfigError, match=r"has no model 'smal'\. Did you mean 'small'\?"):
        client(model="smal").chat([Request("Hi")])
    server.models = []
    with pytest.raises(ConfigError, match="end in /v1"):
        client().chat([Request("Hi")])


def test_an_account_without_credit_is_not_asked_again(server, client, time, answer):
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    server.script = lambda request, number: answer(body, 429)
    with pytest.raises(ConfigError, match="no credit"):
        client().chat([Request("Hi")])
    assert time.slept == []


def test_no_server_at_all_is_one_sentence(server, client, time, new_server):
    gone = new_server()
    gone.shutdown()
    gone.server_close()
    with pytest.raises(EngineError, match=r"no connection to http://127.* start the server, or set base_url"):
        client(base_url=gone.url).chat([Request(str(i)) for i in range(3)])


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"pip install 'thinktwice\[http\]'"):
        Client(Endpoint("small"), None)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": ""}, "model is empty"),
        ({"base_url": "localhost:8000"}, "web address"),
        ({"base_url": f"https://user:{KEY}@host/v1"}, "environment variable"),
        ({"base_url": f"https://host/v1?key={KEY}"}, "environment variable"),
        ({"api_key_env": KEY}, "must be the name of an environment variable"),
        ({"timeout_s": 0}, "timeout_s must be more than 0"),
        ({"max_failures": 2}, "share"),
        ({"extra": {"n": 4}}, "n is set by"),
        ({"extra": {"api_key": KEY}}, "api_key is set by"),
        ({"extra": {"temperature": 0.5}}, "set by the sampling"),
        ({"concurency": 3}, "Did you mean 'concurrency'"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_repeating_a_key(settings, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse(Endpoint, {"model": "small", **settings})
    assert KEY not in str(caught.value)


def test_settings_go_into_a_recipe_and_back(monkeypatch):
    endpoint = Endpoint("small", extra={"temperature": None}, concurrency=4)
    assert parse(Endpoint, to_dict(endpoint)) == endpoint
    assert endpoint.address == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1/")
    assert endpoint.address == "http://localhost:8000/v1"


# The key


def test_the_key_is_sent_and_appears_nowhere_else(server, client, answer, whole, tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"what is {KEY}?", "detail": KEY}}
    answers = [
        lambda body: answer(echo, 500),
        lambda body: answer(whole(body, "fine")),
        lambda body: answer(echo, 400),
        lambda body: answer(whole(body, f"your key is {KEY}")),
        lambda body: answer(echo, 403),
    ]
    server.script = lambda body, number: answers[number](body)
    asker = client(concurrency=1)
    results = [asker.chat([Request(f"{i}")])[0] for i in range(3)]
    assert [type(result) for result in results] == [Reply, Failure, Failure]
    with pytest.raises(ConfigError, match="HTTP 403") as caught:
        asker.chat([Request("last")])
    error = caught.value
    assert all(headers["authorization"] == f"Bearer {KEY}" for headers in server.headers)
    assert error.__context__ is None  # the library's errors hold the request, and it the key
    assert error.__cause__ is None
    shown = [caplog.text, *capsys.readouterr(), repr(results), "".join(traceback.format_exception(error))]
    shown += [repr(value) for value in (asker, asker.endpoint, asker.spending, asker._wire._secret, vars(asker))]
    shown += [repr(record.__dict__) for record in caplog.records]
    asker.close()
    files = [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    assert len(files) >= 1
    assert not [text for text in [*shown, *files] if KEY in text]


def test_another_variable_holds_another_key(server, client, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "other-key-000")
    client(api_key_env="TEACHER_KEY").chat([Request("Hi")])
    assert server.headers[0]["authorization"] == "Bearer other-key-000"
    monkeypatch.setenv("TEACHER_KEY", "two\nlines")
    with pytest.raises(ConfigError, match="key in TEACHER_KEY has a line break"):
        client(api_key_env="TEACHER_KEY")


def test_importing_it_brings_neither_openai_nor_torch():
    code = "import sys, thinktwice.engines.http; sys.exit(bool({'openai', 'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
