"""Rows that wait for a tool: the same tokens as an insertion at once, whenever the tool answers."""

import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinktwice.decode import loop
from thinktwice.decode.loop import Decoder, decode
from thinktwice.decode.reference import replay
from thinktwice.types import Append, Rewind, RowView, Sampling, Stop, Wait

VOCABULARY = 61
PROMPTS = [[5, 6], [7, 8, 9, 10], [11], [12, 13, 14], [15] * 6, [16, 17]]


class Edits:
    """Insertions of every kind, rewinds into them and around them, by arithmetic on the visible text."""

    watch = frozenset()

    def edit(self, row, drawn):
        if drawn < 0:
            return None
        code = (7 * drawn + 3 * row.sampled + sum(row.token_ids[-3:])) % 11
        if code < 3:
            length = (1, 3, loop.READ_AT_ONCE + 5, loop.READ_AT_ONCE + 9)[row.sampled % 4]
            return Append(tuple((drawn + i) % 59 for i in range(length)), reject=code == 2)
        if code == 3:
            return Rewind(1 + row.sampled % 5, ban=(drawn,))
        return None


class Slow:
    """The same edits, each insertion from another thread, after a time of its own."""

    watch = frozenset()

    def __init__(self, pool, delays):
        self.pool, self.delays, self.asked = pool, delays, 0

    def edit(self, row, drawn):
        edit = Edits().edit(row, drawn)
        if not isinstance(edit, Append):
            return edit
        delay = self.delays[self.asked % len(self.delays)]
        self.asked += 1
        return Wait(self.pool.submit(lambda: time.sleep(delay) or edit.token_ids), edit.reject)


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.002, 0.01]), min_size=1, max_size=7),
    st.integers(1, 6),
    st.sampled_from([0.0, 1.0]),
)
def test_waiting_writes_what_appending_writes(llama, pool, delays, batch_size, temperature):
    sampling = Sampling(temperature=temperature, max_new_tokens=18, seed=5)
    at_once = decode(llama, PROMPTS, sampling, controls=[Edits()], batch_size=6, max_length=90)
    waited = decode(llama, PROMPTS, sampling, controls=[Slow(pool, delays)], batch_size=batch_size, max_length=90)
    for one, other in zip(at_once, waited, strict=True):
        assert (one.token_ids, one.fates, one.stop, one.rewinds) == (
            other.token_ids,
            other.fates,
            other.stop,
            other.rewinds,
        )
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    fates = {fate for completion in at_once for fate in completion.fates}
    assert fates >= {"kept", "rejected", "inserted"}


def test_the_reference_waits_too(pool):
    def propose(row, banned):
        return (row.sampled * 7 + len(row.token_ids)) % 59, -0.5

    sampling = Sampling(max_new_tokens=25)
    for prompt in PROMPTS:
        at_once = replay(propose, prompt, sampling, controls=[Edits()], max_length=90)
        assert replay(propose, prompt, sampling, controls=[Slow(pool, [0.0, 0.002])], max_length=90) == at_once


class Once:
    """One edit, after `at` tokens."""

    watch = frozenset()

    def __init__(self, edit, at=3):
        self.answer, self.at = edit, at

    def edit(self, row, drawn):
        return self.answer if row.sampled == self.at and drawn >= 0 else None


def test_others_go_on_while_one_waits_and_nobody_spins_when_all_do(llama):
    result: Future[tuple[int, ...]] = Future()

    class First:
        watch = frozenset()

        def edit(self, row, drawn):
            return Wait(result) if row.token_ids[0] == 5 and row.sampled == 2 and drawn >= 0 else None

    decoder = Decoder(llama, Sampling(max_new_tokens=10), controls=[First()], batch_size=2, eos_ids=())
    for index, prompt in enumerate(PROMPTS):
        decoder.add(prompt, key=index)
    while len(decoder.completions) < len(PROMPTS) - 1:
        assert decoder.step()  # five others came and went through the one free place
    assert 0 not in decoder.completions
    sleeper = ThreadPoolExecutor(1)
    sleeper.submit(lambda: time.sleep(0.2) or result.set_result((1, 2, 3)))
    steps = 0
    while decoder.step():
        steps += 1
    sleeper.shutdown()
    assert (
        steps == 2 + 7 - 1
    )  # two insertions to read before the first draw, seven tokens; one of the steps is the last
    assert decoder.completions[0].fates == (*["kept"] * 3, *["inserted"] * 3, *["kept"] * 7)


def test_a_full_batch_of_waiting_rows_lets_others_in(llama):
    results = [Future() for _ in PROMPTS]

    class All:
        watch = frozenset()

        def edit(self, row, drawn):
            if row.sampled == 1 and drawn >= 0 and row.inserted_to == 0:
                return Wait(results[PROMPTS.index(list(row.token_ids[: row.prompt_length]))])
            return None

    for future in random.Random(0).sample(results[:-1], len(results) - 1):
        future.set_result((4, 4))
    results[-1].set_exception(RuntimeError("the tool is\nbroken"))
    rows = decode(llama, PROMPTS, Sampling(max_new_tokens=5), controls=[All()], batch_size=16)
    assert [row.stop for row in rows] == [*["budget"] * 5, "error"]
    assert rows[-1].error == "A tool failed: RuntimeError: the tool is broken"
    assert rows[-1].fates == ("kept", "kept")
    assert all(row.fates.count("inserted") == 2 for row in rows[:-1])


def test_cancelled_late_or_too_long(llama):
    cancelled: Future[tuple[int, ...]] = Future()
    cancelled.cancel()
    wait_for([cancelled], timeout=0)
    (row,) = decode(llama, [[1]], Sampling(max_new_tokens=9), controls=[Once(Wait(cancelled))])
    assert (row.stop, row.error) == ("error", "A tool failed: CancelledError:")
    never: Future[tuple[int, ...]] = Future()
    (row,) = decode(llama, [[1]], Sampling(max_new_tokens=4), controls=[Once(Wait(never))])
    assert row.stop == "budget"  # nothing more could be drawn, so nobody waits
    for edit in (Append((2,) * 30), Wait(Future())):
        if isinstance(edit, Wait):
            edit.result.set_result((2,) * 30)
        (row,) = decode(llama, [[1] * 10], Sampling(max_new_tokens=99), max_length=40, controls=[Once(edit)])
        assert (row.stop, row.fates) == ("length", ("kept",) * 4)
        mirrored = replay(lambda row, banned: (3, 0.0), [1] * 10, Sampling(), controls=[Once(edit)], max_length=40)
        assert (mirrored.stop, mirrored.fates) == ("length", ("kept",) * 4)


@pytest.mark.parametrize("ids", [(), (9, 9)])
def test_an_insertion_may_replace_the_token_just_drawn(llama, ids):
    """Its text went too far: it is paid for, and the next draw does not see it."""
    (row,) = decode(llama, [[1, 2]], Sampling(max_new_tokens=6), controls=[Once(Append(ids, reject=True))])
    assert row.fates == (*["kept"] * 3, "rejected", *["inserted"] * len(ids), *["kept"] * 2)
    again = decode(llama, [[1, 2, *row.kept_ids[: 3 + len(ids)]]], Sampling(max_new_tokens=2))
    assert row.kept_ids[3 + len(ids) :] == again[0].token_ids


def test_a_row_knows_where_its_own_words_begin(llama):
    seen = []

    class Look:
        watch = frozenset()

        def edit(self, row, drawn):
            seen.append((len(row.token_ids), row.inserted_to, row.begun))
            edits = {1: Append((3, 4, 5)), 3: Rewind(4), 4: Append((6,)), 5: Stop()}
            return edits.get(row.sampled) if drawn >= 0 else None

    decode(llama, [[1, 2]], Sampling(max_new_tokens=20), controls=[Look()])
    # 2 drawn, 3 inserted (7), 2 drawn; a rewind of four cuts the insertion by two (5), one drawn (6), one inserted (7)
    assert seen == [(2, 0, 2), (3, 0, 2), (7, 7, 7), (8, 7, 7), (5, 5, 5), (7, 7, 7), (8, 7, 7)]
    mirrored, seen = seen, []
    replay(lambda row, banned: (3, 0.0), [1, 2], Sampling(max_new_tokens=20), controls=[Look()])
    assert seen == mirrored
    assert RowView((1, 2), 2, 0, 0).begun == 2
