"""The batched loop: exact after edits, equal to `generate` without them, equal to the reference with them."""

import itertools
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinktwice.decode import loop
from thinktwice.decode.loop import Event, decode
from thinktwice.decode.reference import replay
from thinktwice.decode.undo import UndoRun, UndoStep, undo_policy
from thinktwice.errors import ConfigError
from thinktwice.resolve import resolve
from thinktwice.types import Append, Rewind, Sampling, Stop

VOCABULARY = 61
UNDO = 60
END = 59


def ragged(rows=5, seed=0, longest=12):
    draw = random.Random(seed)
    return [[draw.randrange(VOCABULARY - 2) for _ in range(draw.randint(1, longest))] for _ in range(rows)]


@torch.inference_mode()
def fresh_logits(model, ids):
    return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]


class Scramble:
    """Edits by arithmetic on the visible text: deterministic, frequent, of every kind."""

    watch = frozenset()

    def __init__(self, kinds=("rewind", "reject", "append", "long append")):
        self.kinds = kinds

    def edit(self, row, drawn):
        if drawn < 0:
            return None
        code = (7 * drawn + 3 * row.sampled + sum(row.token_ids[-3:])) % 11
        if code in (0, 1) and "rewind" in self.kinds:
            return Rewind(1 + row.sampled % 4, ban=(drawn,))
        if code == 2 and "reject" in self.kinds:
            return Rewind(row.sampled % 3, ban=(drawn,), reject=True)
        if code == 3 and "append" in self.kinds:
            return Append(((drawn + 1) % 59, (drawn + 2) % 59))
        if code == 4 and row.sampled % 5 == 0 and "long append" in self.kinds:
            return Append(tuple((drawn + i) % 59 for i in range(loop.READ_AT_ONCE + 4)))
        return None


class Collect:
    """A rule that keeps what the decoder saw: visible ids with their logits."""

    def __init__(self):
        self.seen = []

    def __call__(self, rows, logits_BV):
        assert len(rows) == len(logits_BV)
        self.seen += [(tuple(row.token_ids), logits.clone()) for row, logits in zip(rows, logits_BV, strict=True)]
        return logits_BV


def test_logits_after_any_edits_equal_a_fresh_forward_of_what_is_kept(model):
    collect = Collect()
    completions = decode(
        model, ragged(), Sampling(max_new_tokens=40), controls=[Scramble()], rules=[collect], batch_size=4
    )
    fates = {fate for completion in completions for fate in completion.fates}
    assert fates == {"kept", "deleted", "rejected", "inserted"}
    assert len(collect.seen) == 5 * 40  # one set of logits for each token drawn, and only for those
    for ids, logits in collect.seen:
        assert torch.allclose(logits, fresh_logits(model, ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
def test_eager_attention_is_as_exact(build_model, family):
    model = build_model(family, "eager")
    collect = Collect()
    decode(model, ragged(), Sampling(max_new_tokens=25), controls=[Scramble()], rules=[collect], batch_size=4)
    for ids, logits in collect.seen:
        assert torch.allclose(logits, fresh_logits(model, ids), atol=1e-5, rtol=1e-5)


def pad_left(prompts):
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    return ids, torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])


def test_without_controls_greedy_output_is_that_of_generate(model):
    prompts = ragged(rows=6, seed=1)
    ids, mask = pad_left(prompts)
    out = model.generate(ids, attention_mask=mask, max_new_tokens=24, do_sample=False, pad_token_id=0)
    eos = out[0, ids.shape[1] + 9].item()  # ends some rows early
    quiet = UndoRun(min(set(range(VOCABULARY)) - set(out.flatten().tolist())))  # a control that never fires
    ours = decode(model, prompts, Sampling(max_new_tokens=24), eos_ids=[eos], controls=[quiet], batch_size=4)
    for completion, row in zip(ours, out[:, ids.shape[1] :].tolist(), strict=True):
        expected = row[: row.index(eos) + 1] if eos in row else row
        assert list(completion.kept_ids) == expected
        assert completion.stop == ("done" if eos in row else "budget")


def oracle(model, prompt, sampling, *, rules=(), **kwargs):
    def propose(row, banned):
        logits = fresh_logits(model, row.token_ids)[None].clone()
        for rule in rules:
            logits = rule([row], logits)
        logits[0, list(banned)] = float("-inf")
        if not torch.isfinite(logits.max()):
            return "nothing can be drawn"
        best = int(logits.argmax())
        return best, float(logits.log_softmax(-1)[0, best])

    return replay(propose, prompt, sampling, **kwargs)


def what_the_rewinds_leave(completion):
    """The visible ids, from the log and the recorded rewinds alone."""
    visible, rewinds = [], list(completion.rewinds)
    for at, (token_id, fate) in enumerate(zip(completion.token_ids, completion.fates, strict=True), start=1):
        visible += [] if fate == "rejected" else [token_id]
        while rewinds and rewinds[0][0] == at:
            _, rewind = rewinds.pop(0)
            assert rewind.n <= len(visible)
            del visible[len(visible) - rewind.n :]
    assert not rewinds
    return tuple(visible)


def same(ours, reference):
    assert (ours.token_ids, ours.fates, ours.stop) == (reference.token_ids, reference.fates, reference.stop)
    assert ours.rewinds == reference.rewinds
    assert what_the_rewinds_leave(ours) == ours.kept_ids
    assert ours.logprobs == pytest.approx(reference.logprobs, abs=1e-4)
    assert (ours.error is None) == (reference.error is None)


@pytest.mark.parametrize(
    "kinds", [("rewind",), ("append", "long append"), ("rewind", "reject", "append", "long append")]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_the_reference_under_every_edit(llama, kinds, seed):
    prompts, sampling = ragged(rows=6, seed=seed), Sampling(max_new_tokens=30)
    ours = decode(llama, prompts, sampling, controls=[Scramble(kinds)], eos_ids=[END], batch_size=3, max_length=70)
    for prompt, completion in zip(prompts, ours, strict=True):
        same(completion, oracle(llama, prompt, sampling, controls=[Scramble(kinds)], eos_ids=[END], max_length=70))


@pytest.mark.parametrize("unit", ["token", "step"])
@pytest.mark.parametrize("seed", [0, 1])
def test_undo_agrees_with_the_reference_and_the_algebra(llama, unit, seed):
    ends = frozenset(range(0, 20))
    controls, rules = undo_policy(UNDO, unit=unit, step_ends=ends, bias=4.0, max_edits=5)
    prompts = ragged(rows=8, seed=seed)
    fired = 0
    for budget in (7, 30):  # 7 cuts some rows inside a run
        sampling = Sampling(max_new_tokens=budget)
        ours = decode(llama, prompts, sampling, controls=controls, rules=rules, eos_ids=[END], batch_size=3)
        for prompt, completion in zip(prompts, ours, strict=True):
            same(completion, oracle(llama, prompt, sampling, controls=controls, rules=rules, eos_ids=[END]))
            written = [(i, f) for i, f in zip(completion.token_ids, completion.fates, strict=True) if f != "rejected"]
            names = {"kept": "kept", "deleted": "deleted", "control": "undo"}
            resolution = resolve([i for i, _ in written], UNDO, unit=unit, step_ends=ends)
            assert resolution.fates == tuple(names[fate] for _, fate in written)
            fired += completion.fates.count("control")
    assert fired > 10


class Script:
    """Edits by the number of tokens drawn."""

    watch = frozenset()

    def __init__(self, edits):
        self.edits = edits

    def edit(self, row, drawn):
        return self.edits.get(row.sampled) if drawn >= 0 else None


tokens = st.integers(0, VOCABULARY - 1)
edits = st.one_of(
    st.builds(Rewind, st.integers(0, 6), st.lists(tokens, max_size=2).map(tuple), st.booleans()),
    st.builds(Append, st.lists(tokens, min_size=1, max_size=20).map(tuple)),
    st.just(Stop()),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(tokens, min_size=1, max_size=9), min_size=1, max_size=4),
    st.dictionaries(st.integers(0, 13), edits, max_size=8),
    st.sets(tokens, max_size=6),
)
def test_any_edits_on_any_batch_agree_with_the_reference(llama, prompts, script, eos):
    sampling = Sampling(max_new_tokens=14)
    kwargs = {"controls": [Script(script)], "eos_ids": eos, "max_length": 50}
    ours = decode(llama, prompts, sampling, batch_size=2, **kwargs)
    for prompt, completion in zip(prompts, ours, strict=True):
        same(completion, oracle(llama, prompt, sampling, **kwargs))


@given(
    st.lists(st.sampled_from([UNDO, UNDO, 1, 2, 3]), max_size=20),
    st.integers(1, 20),
    st.sampled_from(["token", "step"]),
)
def test_what_the_controls_leave_is_what_the_algebra_leaves(stream, budget, unit):
    """Whatever is drawn, wherever it is cut: without its rejected tokens, a completion resolves to its fates."""
    (control,), _ = undo_policy(UNDO, unit=unit, step_ends=frozenset({1}))

    def propose(row, banned):
        return (stream[row.sampled], 0.0) if row.sampled < len(stream) else None

    completion = replay(propose, [9, 9], Sampling(max_new_tokens=budget), controls=[control])
    assert what_the_rewinds_leave(completion) == completion.kept_ids
    written = [(i, f) for i, f in zip(completion.token_ids, completion.fates, strict=True) if f != "rejected"]
    resolution = resolve([i for i, _ in written], UNDO, unit=unit, step_ends=frozenset({1}))
    names = {"kept": "kept", "deleted": "deleted", "control": "undo"}
    assert resolution.fates == tuple(names[fate] for _, fate in written)
    assert completion.kept_ids == resolution.kept_ids


def sampled(**kwargs):
    return Sampling(temperature=1.0, max_new_tokens=20, **kwargs)


def test_a_rows_tokens_do_not_depend_on_its_batch(llama):
    prompts = ragged(rows=7)
    keys = [70, 11, 12, 13, 14, 15, 16]
    kwargs = {"controls": [Scramble()]}
    together = decode(llama, prompts, sampled(seed=3), keys=keys, **kwargs)
    apart = [decode(llama, [p], sampled(seed=3), keys=[k], **kwargs)[0] for p, k in zip(prompts, keys, strict=True)]
    assert [c.token_ids for c in together] == [c.token_ids for c in apart]
    backwards = decode(llama, prompts[::-1], sampled(seed=3), keys=keys[::-1], batch_size=2, **kwargs)[::-1]
    assert [c.token_ids for c in together] == [c.token_ids for c in backwards]
    assert [c.fates for c in together] == [c.fates for c in backwards]


def test_streams_differ_by_key_and_by_seed(llama):
    same_prompt = [[1, 2, 3]] * 4
    rows = {c.token_ids for c in decode(llama, same_prompt, sampled())}
    assert len(rows) == 4
    assert len({c.token_ids for c in decode(llama, same_prompt, sampled(), keys=[5] * 4)}) == 1
    assert rows.isdisjoint(c.token_ids for c in decode(llama, same_prompt, sampled(seed=1)))


def test_a_retraction_is_drawn_anew(llama):
    """The stream moves on with every draw, or sampling would repeat the retracted token for ever."""

    class Once:
        watch = frozenset()

        def edit(self, row, drawn):
            return Rewind(1) if row.sampled < 5 and drawn >= 0 else None

    rows = decode(llama, [[1, 2]] * 8, Sampling(temperature=2.0, max_new_tokens=6), controls=[Once()])
    assert all(len(set(row.token_ids[:5])) > 1 for row in rows)


def test_bans_lapse_only_when_the_text_below_changes(llama):
    proposals = []

    class Watch:
        watch = frozenset()

        def edit(self, row, drawn):
            if drawn < 0:
                return None
            proposals.append((tuple(row.token_ids), drawn))
            n = len(row.token_ids) - row.prompt_length
            if row.edits < 3 and n == 1:
                return Rewind(1, ban=(drawn,))  # at depth 1: three first tries of the second token
            if row.edits == 3 and n == 1:
                return Rewind(2, ban=(row.token_ids[-1],))  # back to depth 0
            return None

    decode(llama, [[4, 5]], Sampling(max_new_tokens=9), controls=[Watch()])
    second = [drawn for ids, drawn in proposals if len(ids) == 3]
    assert len(set(second[:4])) == 4  # banned one after the other while the first token stood
    firsts = [drawn for ids, drawn in proposals if len(ids) == 2]
    assert len(firsts) == 2
    assert firsts[0] != firsts[1]


def test_banning_everything_ends_the_row_with_a_reason_and_spares_the_others(llama):
    class Ban:
        watch = frozenset()

        def edit(self, row, drawn):
            if drawn >= 0 and row.token_ids[0] == 1 and len(row.token_ids) == 4:
                return Rewind(1, ban=tuple(range(VOCABULARY)))
            return None

    bad, good = decode(llama, [[1, 2], [2, 2]], Sampling(max_new_tokens=8), controls=[Ban()])
    assert (bad.stop, good.stop) == ("error", "budget")
    assert "banned" in bad.error
    assert bad.fates == ("kept", "kept", "deleted")
    assert len(good.kept_ids) == 8


def test_a_row_whose_logits_are_not_finite_cannot_poison_its_successor(llama):
    """The row that takes a failed one's place reads its slots, masked, beside a longer row: 0 * nan would be nan."""
    prompts = [[1] * 20, [1, 2, 9, 3, 4], [5, 6, 7]]
    clean = decode(llama, prompts, Sampling(max_new_tokens=8), suppress=[9])
    weight = llama.get_input_embeddings().weight
    assert llama.lm_head.weight is weight  # tied: id 9 has nan logits everywhere, so it is suppressed
    kept = weight[9].clone()
    with torch.no_grad():
        weight[9] = float("nan")
    try:
        rows = decode(llama, prompts, Sampling(max_new_tokens=8), batch_size=2, suppress=[9])
    finally:
        with torch.no_grad():
            weight[9] = kept
    assert [row.stop for row in rows] == ["budget", "error", "budget"]
    assert "finite" in rows[1].error
    assert [rows[i].token_ids for i in (0, 2)] == [clean[i].token_ids for i in (0, 2)]


def test_bad_prompts_are_data(llama):
    rows = decode(llama, [[], [1, VOCABULARY], [1] * 200, [1] * 128, [1, 2]], Sampling(max_new_tokens=2))
    assert [row.stop for row in rows] == ["error", "error", "error", "length", "budget"]
    assert "empty" in rows[0].error
    assert "vocabulary" in rows[1].error
    assert "context of 128" in rows[2].error
    assert decode(llama, [], Sampling()) == []
    with pytest.raises(ConfigError, match="keys"):
        decode(llama, [[1]], Sampling(), keys=[1, 2])


def test_the_context_ends_a_row_and_an_insertion_that_does_not_fit_is_left_out(llama):
    (row,) = decode(llama, [[1] * 10], Sampling(max_new_tokens=500), max_length=40)
    assert (row.stop, len(row.token_ids)) == ("length", 30)

    class Observe:
        watch = frozenset()

        def edit(self, row, drawn):
            return Append((1,) * 40) if row.sampled == 3 else None

    (row,) = decode(llama, [[1] * 10], Sampling(max_new_tokens=500), max_length=40, controls=[Observe()])
    assert (row.stop, row.fates) == ("length", ("kept",) * 4)


def test_suppressed_ids_are_never_drawn(llama):
    (free,) = decode(llama, [[1, 2]], Sampling(max_new_tokens=12))
    banned = sorted(set(free.token_ids[:3]))
    for sampling in (Sampling(max_new_tokens=12), sampled(), sampled(top_p=0.9, top_k=7)):
        (row,) = decode(llama, [[1, 2]], sampling, suppress=banned)
        assert not set(row.token_ids) & set(banned)


def text(ids):
    return "".join("ab\n"[i % 3] for i in ids)


def test_stop_strings_end_a_row_where_they_are_completed(llama):
    prompts = ragged(rows=6, seed=4)
    free = decode(llama, prompts, Sampling(max_new_tokens=30), to_text=text)
    stopped = decode(llama, prompts, Sampling(max_new_tokens=30, stop=("ab", "b\n")), to_text=text, batch_size=3)
    ends = 0
    for before, after in zip(free, stopped, strict=True):
        whole = text(before.token_ids)
        cut = min((whole.find(s) + 2 for s in ("ab", "b\n") if s in whole), default=30)
        assert after.token_ids == before.token_ids[:cut]
        assert after.stop == ("done" if cut < 30 else "budget")
        ends += cut < 30
    assert ends > 2
    with pytest.raises(ConfigError, match="to_text"):
        decode(llama, prompts, Sampling(stop=("x",)))


def test_stop_strings_are_tested_on_the_visible_text(llama):
    """A stop string split by a deleted token is found; one in an inserted observation is not the model's."""

    force = [[0], [2], [1], [0], [0], [0]]  # a, newline, b: the newline is rejected, "ab" is completed

    def rule(rows, logits):
        for i, row in enumerate(rows):
            logits[i, :] = float("-inf")
            logits[i, force[row.sampled][0]] = 0
        return logits

    sampling = Sampling(max_new_tokens=6, stop=("ab",))
    edits = {1: Rewind(0, reject=True)}
    (row,) = decode(llama, [[3]], sampling, rules=[rule], controls=[Script(edits)], to_text=text)
    assert (row.token_ids, row.fates, row.stop) == ((0, 2, 1), ("kept", "rejected", "kept"), "done")
    (row,) = decode(llama, [[3]], sampling, rules=[rule], controls=[Script({0: Append((0, 1)), **edits})], to_text=text)
    assert (row.token_ids[:5], row.stop, len(row.token_ids)) == ((0, 0, 1, 2, 1), "budget", 8)


def test_stop_ends_a_row_and_the_first_control_wins(llama):
    class Halt:
        watch = frozenset()

        def edit(self, row, drawn):
            return Stop() if row.sampled == 2 else None

    class Never:
        watch = frozenset()

        def edit(self, row, drawn):
            assert row.sampled != 2 or drawn < 0, "the first control had an answer"

    (row,) = decode(llama, [[1, 2]], Sampling(max_new_tokens=9), controls=[Halt(), Never()])
    assert (row.stop, len(row.token_ids)) == ("done", 3)


def test_the_listener_can_rebuild_the_visible_text(llama):
    visible: dict[int, list[int]] = {}
    stops: dict[int, str] = {}
    said: dict[int, list[float]] = {}
    banned: dict[int, list[tuple[int, ...]]] = {}

    def listen(event: Event):
        text = visible.setdefault(event.row, [])
        assert event.row not in stops
        if event.kind in ("written", "inserted"):
            text += event.token_ids
        elif event.kind == "deleted":
            assert tuple(text[-len(event.token_ids) :]) == event.token_ids
            del text[-len(event.token_ids) :]
        elif event.kind == "stopped":
            stops[event.row] = event.stop
        if event.kind in ("written", "rejected"):
            said.setdefault(event.row, []).append(event.logprob)
        elif event.kind == "banned":
            banned.setdefault(event.row, []).append(event.token_ids)

    prompts = ragged(rows=6)
    controls = [Scramble()]
    heard = decode(llama, prompts, Sampling(max_new_tokens=25), controls=controls, batch_size=4, listener=listen)
    assert heard == decode(llama, prompts, Sampling(max_new_tokens=25), controls=controls, batch_size=4)
    for index, completion in enumerate(heard):
        assert tuple(visible[index]) == completion.kept_ids
        assert stops[index] == completion.stop
        assert [p for p in completion.logprobs if p] == [p for p in said[index] if p]  # inserted ones have 0
        assert banned.get(index, []) == [rewind.ban for _, rewind in completion.rewinds if rewind.ban]


def test_controls_sleep_unless_a_watched_token_is_near(llama):
    asked = []

    class Watch:
        watch = frozenset({17, 23})

        def edit(self, row, drawn):
            asked.append((row.token_ids[-1], drawn))
            assert drawn < 0 or drawn in self.watch or row.token_ids[-1] in self.watch

    rows = decode(llama, ragged(rows=8), Sampling(temperature=3.0, max_new_tokens=30), controls=[Watch()])
    pairs = []
    for prompt, row in zip(ragged(rows=8), rows, strict=True):
        ids = [prompt[-1], *row.token_ids]
        pairs += [(a, b) for a, b in itertools.pairwise(ids) if {a, b} & Watch.watch]
        pairs += [(ids[-1], -1)] if ids[-1] in Watch.watch else []
    assert sorted(asked) == sorted(pairs)
    assert len(pairs) > 4


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_impossible_sampling_is_refused(llama, wrong):
    with pytest.raises(ConfigError, match="Cannot sample"):
        decode(llama, [[1]], Sampling(**wrong))


def test_training_mode_is_restored(llama):
    llama.train()
    try:
        decode(llama, [[1, 2]], Sampling(max_new_tokens=2))
        assert llama.training
    finally:
        llama.eval()


def test_greedy_undo_does_not_livelock(llama):
    """A pure rewind meets the same state and would repeat the same token for ever; the ban breaks it."""
    controls, rules = undo_policy(UNDO, unit="step", step_ends=frozenset(), bias=100.0)
    (row,) = decode(llama, [[1, 2]], Sampling(max_new_tokens=41), controls=controls, rules=rules)
    firsts = [i for i, f in zip(row.token_ids, row.fates, strict=True) if f == "deleted"]
    assert len(firsts) == len(set(firsts)) == 20
    assert isinstance(controls[0], UndoStep)
