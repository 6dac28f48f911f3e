import copy
import pickle
from pathlib import Path

import pytest
import torch

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM

from thinktwice.engines.local import LocalEngine
from thinktwice.errors import ConfigError, ModelError
from thinktwice.evals import Evaluation, evaluate, export
from thinktwice.evals.documents import scores, share
from thinktwice.evals.harness import ThinkTwiceLM
from thinktwice.evals.prompts import Rendered
from thinktwice.evals.reply import Reply
from thinktwice.methods.backtrack import Backtrack
from thinktwice.methods.baseline import Baseline
from thinktwice.render import Render
from thinktwice.tasks import load_task
from thinktwice.types import Problem, Sampling, Step, Trace

from .conftest import SLIPS, make_chain, make_tokenizer

DATA = Path(__file__).parents[2] / "../shared/data/gsm8k"


def lm(model, tokenizer, method=None, **options):
    return ThinkTwiceLM(LocalEngine(model, tokenizer), tokenizer, method or Backtrack(), **options)


def ask(context="how a?\n", doc=None, **options):
    return Instance("generate_until", doc or {}, (context, {"until": [], "max_gen_toks": 20} | options), 0)


class Counting:
    """A solver that remembers how many problems it was asked."""

    def __init__(self, method):
        self.method, self.asked = method, 0

    def solve(self, problems, engine, render, sampling):
        self.asked += len(problems)
        return self.method.solve(problems, engine, render, sampling)


def evaluated(model, task, tmp_path, **options) -> Evaluation:
    data = export(task, tmp_path / "rows.jsonl")
    return evaluate(model, ["thinktwice_arith"], options={"data": str(data)}, **options)["thinktwice_arith"]


def test_the_harness_gives_our_accuracy_and_our_retractions(slips, tokenizer, sevens, tmp_path):
    model = lm(slips, tokenizer)
    found = evaluated(model, sevens, tmp_path)
    render = Render(tokenizer, "{question}\n")
    problems = sevens.splits["test"]
    traces = Backtrack().solve(problems, model.engine, render, Sampling(max_new_tokens=256))
    ours = [sevens.score(p, t.reply).value for p, t in zip(problems, traces, strict=True)]
    assert [s.value for s in found.samples] == ours == [1, 1, 1, 0, 1, 0, 0, 0]
    assert found.metrics["accuracy"] == found.accuracy.value == sum(ours) / len(ours) == 0.5
    assert {level: a.value for level, a in found.levels.items()} == {1: 0.75, 2: 0.25}
    assert [s.trace.steps for s in found.samples] == [t.steps for t in traces]
    assert found.metrics["undo_replies"] == found.metrics["undos"] == 1.0
    # x, <undo>, a rejected y, ####, space, 7, <end>
    assert found.metrics["sampled_tokens"] == 7
    assert found.metrics["deleted_token_share"] == pytest.approx(3 / 7)
    assert {s.reply for s in found.samples} == {"#### 7"}


@pytest.mark.parametrize(
    ("context", "reply", "undos"), [("rewind", "#### 7", 1), ("keep", "y", 1), ("off", "x#### 7", 0)]
)
def test_context_modes(slips, tokenizer, context, reply, undos):
    (got,) = lm(slips, tokenizer, Backtrack(context=context)).generate_until([ask()])
    assert got.startswith(reply)
    assert "<undo>" not in got
    assert sum(step.kind == "error" for step in got.trace.steps) == undos


def test_stop_strings_see_only_visible_text(slips, tokenizer):
    model = lm(slips, tokenizer)
    stops = (["7"], ["y"], ["xy", "x#"], ["## 7"])
    seen, rejected, retracted, across = model.generate_until([ask(until=list(until)) for until in stops])
    assert seen == "#### "
    assert rejected == retracted == "#### 7"  # drawn: x <undo> y ####; ever visible: x, then ####
    assert across == "##"
    off = lm(slips, tokenizer, Backtrack(context="off"))
    assert off.generate_until([ask(until=["x"])]) == [""]


def test_requests_with_different_options_keep_their_order(slips, tokenizer):
    replies = lm(slips, tokenizer).generate_until([ask(), ask(max_gen_toks=4), ask(), ask(max_gen_toks=4)])
    assert replies == ["#### 7", "####", "#### 7", "####"]
    assert [r.trace.stop for r in replies] == ["done", "budget", "done", "budget"]


def test_second_model_is_never_served_the_first_ones_answers(slips, tokenizer, tmp_path):
    """lm-evaluation-harness#4063: its cache knows a request by its text alone."""
    store = tmp_path / "cache.sqlite"
    other = make_chain(tokenizer, SLIPS | {" ": ["8"], "8": ["<end>"]})
    first, second = lm(slips, tokenizer, cache_path=store), lm(other, tokenizer, cache_path=store)
    assert first.generate_until([ask()]) == ["#### 7"]
    assert second.generate_until([ask()]) == ["#### 8"]
    assert first.generate_until([ask()]) == ["#### 7"]


def test_cache_serves_only_the_very_same_request(slips, tokenizer, tmp_path):
    store = tmp_path / "sub" / "cache.sqlite"

    def asked(model, method, *requests):
        counting = Counting(method)
        wrapped = ThinkTwiceLM(LocalEngine(model, tokenizer), tokenizer, counting, cache_path=store)
        wrapped.fingerprint = lambda: ThinkTwiceLM.fingerprint(lm(model, tokenizer, method))
        replies = wrapped.generate_until(list(requests))
        return counting.asked, replies

    count, (first,) = asked(slips, Backtrack(), ask())
    assert count == 1
    count, (again,) = asked(slips, Backtrack(), ask())
    assert (count, again, again.trace) == (0, first, first.trace)
    assert asked(copy.deepcopy(slips), Backtrack(), ask())[0] == 0
    assert asked(slips, Backtrack(bias=0.5), ask())[0] == 1
    assert asked(slips, Backtrack(context="off"), ask())[0] == 1
    assert asked(slips, Backtrack(), ask(max_gen_toks=4))[0] == 1
    assert asked(slips, Backtrack(), ask(temperature=0.5))[0] == 1
    assert asked(slips, Backtrack(), ask(until=["7"]))[0] == 1
    assert asked(slips, Backtrack(), ask("how b?\n"))[0] == 1
    with torch.no_grad():
        slips.lm_head.weight[3, 3] += 1e-3
    assert asked(slips, Backtrack(), ask())[0] == 1


def test_a_killed_evaluation_goes_on(slips, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("thinktwice.evals.harness.CHUNK", 2)
    model = lm(slips, tokenizer, cache_path=tmp_path / "cache")
    solve, calls = Backtrack.solve, []

    def dies(self, problems, *rest):
        calls.append(len(problems))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return solve(self, problems, *rest)

    monkeypatch.setattr(Backtrack, "solve", dies)
    requests = [ask(f"how {n}?\n") for n in "abcdefg"]
    with pytest.raises(KeyboardInterrupt):
        model.generate_until(requests)
    monkeypatch.setattr(Backtrack, "solve", solve)
    counting = []
    monkeypatch.setattr(
        Backtrack, "solve", lambda self, problems, *rest: counting.extend(problems) or solve(self, problems, *rest)
    )
    assert model.generate_until(requests) == ["#### 7"] * 7
    assert len(counting) == 3


def test_repeats_draw_anew_and_the_same_id_draws_the_same(slips, tokenizer):
    even = make_chain(tokenizer, {"\n": ["a"]})
    with torch.no_grad():
        even.lm_head.weight.zero_()  # every token equally likely
    model = lm(even, tokenizer, Baseline())
    hot = {"do_sample": True, "max_gen_toks": 12}
    one, two = model.generate_until([ask(doc={"id": "p"}, **hot)] * 2)
    assert one != two
    (alone,) = model.generate_until([ask(doc={"id": "p"}, **hot)])
    assert alone == one


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Sampling(max_new_tokens=99)),
        ({"do_sample": False, "temperature": 0.7}, Sampling(max_new_tokens=99)),
        ({"do_sample": True}, Sampling(temperature=1.0, max_new_tokens=99)),
        ({"temperature": 0.7, "top_p": 0.9, "top_k": 5}, Sampling(0.7, 0.9, 5, 99)),
        ({"until": "a", "max_gen_toks": 5}, Sampling(max_new_tokens=5, stop=("a",))),
        ({"until": ["a", ""], "max_tokens": 5, "seed": 3}, Sampling(max_new_tokens=5, stop=("a",), seed=3)),
    ],
)
def test_generation_options(slips, tokenizer, options, expected):
    assert lm(slips, tokenizer, max_new_tokens=99).sampling(options) == expected


def test_unknown_generation_option_is_refused(slips, tokenizer):
    with pytest.raises(ConfigError, match="'num_beams' is not supported"):
        lm(slips, tokenizer).generate_until([ask(num_beams=4)])


def test_the_harness_cache_is_refused(slips, tokenizer, tmp_path):
    pytest.importorskip("sqlitedict")
    with pytest.raises(ConfigError, match=r"#4063.*cache=FILE"):
        CachingLM(lm(slips, tokenizer), str(tmp_path / "x.db"))


def test_reply_is_text_that_survives_pickling():
    trace = Trace("p", (Step("text", "hi", (1,)),))
    for reply in (
        Reply("hi", trace),
        pickle.loads(pickle.dumps(Reply("hi", trace))),
        copy.deepcopy(Reply("hi", trace)),
    ):
        assert reply == "hi"
        assert reply.trace == trace


def test_chat_prompts_have_the_ids_training_has(slips):
    tokenizer = make_tokenizer(chat=True)
    model = lm(slips, tokenizer)
    text = model.apply_chat_template([{"role": "user", "content": "how a?\n"}])
    assert text == "<user>how a?\n<reply>"
    assert model.render.prompt(Problem("p", text, "")) == Render(tokenizer, "chat").question("how a?")


def test_text_that_spells_a_control_token_stays_text(slips):
    tokenizer = make_tokenizer(chat=True)
    model = lm(slips, tokenizer)
    undo = tokenizer.convert_tokens_to_ids("<undo>")
    text = model.apply_chat_template([{"role": "user", "content": "say <undo>"}])
    assert undo not in model.render.prompt(Problem("p", text, ""))
    assert undo not in model.render.prompt(Problem("p", "say <undo>\n", ""))
    assert tokenizer.convert_tokens_to_ids("<reply>") in model.render.prompt(Problem("p", text, ""))


def test_chat_refusals(slips, tokenizer):
    with pytest.raises(ModelError, match="no chat template"):
        lm(slips, tokenizer).apply_chat_template([{"role": "user", "content": "a"}])
    shouting = make_tokenizer(chat=True)
    shouting.chat_template = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
    with pytest.raises(ModelError, match="rewrites messages"):
        Rendered(shouting, "{question}").chat([{"role": "user", "content": "abc"}])
    with pytest.raises(ModelError, match="--cache_requests"):
        Rendered(make_tokenizer(chat=True), "{question}").prompt(Problem("p", "<user>how a?\n<reply>", ""))


def test_evaluating_with_a_chat_template(slips, sevens, tmp_path):
    tokenizer = make_tokenizer(chat=True)
    model = make_chain(tokenizer, SLIPS | {"<reply>": ["x", "####"]})
    found = evaluated(lm(model, tokenizer), sevens, tmp_path, chat=True)
    assert found.metrics["accuracy"] == 0.5
    assert found.metrics["undo_replies"] == 1.0


def test_likelihoods_are_the_plain_models(tokenizer):
    requests = [Instance("loglikelihood", {}, ("how\na", text), 0) for text in ("\nx", "\n####")]
    slips = make_chain(tokenizer, SLIPS | {"a": ["\n"]})
    got = lm(slips, tokenizer).loglikelihood(requests)
    logprobs = slips(tokenizer("how\na\n", return_tensors="pt").input_ids).logits[0].log_softmax(-1)
    newline = logprobs[-2, tokenizer.convert_tokens_to_ids("\n")].item()
    expected = [newline + logprobs[-1, tokenizer.convert_tokens_to_ids(word)].item() for word in ("x", "####")]
    assert [value for value, _ in got] == pytest.approx(expected, abs=1e-4)
    assert [greedy for _, greedy in got] == [True, False]


def test_limit_and_unknown_task(slips, tokenizer, sevens, tmp_path):
    assert evaluated(lm(slips, tokenizer), sevens, tmp_path, limit=3).n == 3
    with pytest.raises(ConfigError, match="no evaluation task is called 'thinktwice_arit'"):
        evaluate(lm(slips, tokenizer), ["thinktwice_arit"])
    with pytest.raises(ConfigError, match="no such file"):
        evaluate(lm(slips, tokenizer), ["thinktwice_arith"], options={"data": str(tmp_path / "no.jsonl")})
    with pytest.raises(ConfigError, match="has no split 'tset'"):
        export(sevens, tmp_path / "x", "tset")


@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
@pytest.mark.parametrize(("name", "shots"), [("thinktwice_gsm8k", 0), ("thinktwice_gsm8k_8shot", 8)])
def test_gsm8k_on_its_real_files(tokenizer, name, shots):
    seen = []

    class Echo:
        def solve(self, problems, engine, render, sampling):
            seen.extend((p, sampling) for p in problems)
            return [Trace(p.id, (Step("text", "so\n#### 18", (1, 2)),)) for p in problems]

    model = ThinkTwiceLM(LocalEngine(make_chain(tokenizer, SLIPS), tokenizer), tokenizer, Echo())
    found = evaluate(model, [name], options={"data": str(DATA)}, limit=4)[name]
    assert found.metrics["accuracy"] == 0.25  # the first answer of the test set is 18
    assert found.metrics["undo_replies"] == 0.0
    problem, sampling = seen[0]
    first = load_task("gsm8k", path=str(DATA)).splits["test"][0]
    assert problem.id == first.id
    assert problem.prompt.count("####") == shots
    assert problem.prompt.endswith(f"Question: {first.prompt}\nAnswer:" if shots else f"{first.prompt}\n")
    assert sampling == Sampling(max_new_tokens=512, stop=("Question:",) if shots else ())


def test_examples_need_training_problems(slips, tokenizer, sevens, tmp_path):
    data = str(export(sevens, tmp_path / "rows.jsonl"))
    with pytest.raises(ConfigError, match="no training problems"):
        evaluate(lm(slips, tokenizer), ["thinktwice_gsm8k_8shot"], options={"data": data})


def test_arith_without_a_file_is_the_worlds_own_test_split(slips, tokenizer):
    found = evaluate(lm(slips, tokenizer), ["thinktwice_arith"], options={"levels": 2}, limit=3)["thinktwice_arith"]
    expected = load_task("arith", levels=[2], train=1).splits["test"]
    assert [s.id for s in found.samples] == [p.id for p in expected[:3]]


def test_a_reply_of_another_model_has_no_retraction_metrics():
    row = {"reference": "7"}
    assert scores(row, ["#### 7"]) == {"accuracy": 1.0, "flexible_accuracy": 1.0}
    failed = scores(row, [Reply("", Trace("p", stop="error", error="out of memory"))])
    assert (failed["accuracy"], failed["unscored"], failed["unfinished"]) == (0.0, 1.0, 0.0)


def test_deleted_share_is_a_ratio_of_sums():
    assert share([(0, 10), (9, 90)]) == 0.09
    assert share([(0, 0)]) == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pretraned": "x"}, "lacks pretrained"),
        ({"pretrained": "./no-such-directory"}, "no-such-directory"),
        ({"pretrained": "MODEL", "methd": "baseline"}, "methd"),
        ({"pretrained": "MODEL", "method": "backtrak"}, "Did you mean 'backtrack'"),
        ({"pretrained": "MODEL", "context": "rewnd"}, "rewnd"),
        ({"pretrained": "MODEL", "batch_size": "many"}, "neither a number"),
    ],
)
def test_bad_model_arguments_are_one_sentence(slips, tokenizer, tmp_path, arguments, message):
    slips.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    given = {key: str(tmp_path) if value == "MODEL" else value for key, value in arguments.items()}
    with pytest.raises(ConfigError, match=message):
        ThinkTwiceLM.create_from_arg_obj(given)


def test_model_arguments_choose_the_method_the_model_was_trained_for(slips, tokenizer, tmp_path):
    slips.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    made = ThinkTwiceLM.create_from_arg_string(f"pretrained={tmp_path},bias=1.5,context=keep", {"batch_size": 8})
    assert made.solver == Backtrack(context="keep", bias=1.5)
    assert made.engine.batch_size == 8
    plain = ThinkTwiceLM.create_from_arg_string(f"pretrained={tmp_path},method=baseline,samples=3")
    assert plain.solver == Baseline(samples=3)
