"""The retraction algebra: properties against a naive reference, and the seed's defects."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinktwice.errors import DataError
from thinktwice.resolve import Resolver, example, inject, resolve, settle, unroll
from thinktwice.types import Completion, Example

UNDO, END = 0, 1  # token 1 ends a step
STEP = frozenset({END})

raw_ids = st.lists(st.sampled_from([UNDO, UNDO, END, 2, 3, 4]), max_size=24)
units = st.sampled_from(["token", "step"])


@st.composite
def streams(draw):
    ids = draw(raw_ids)
    return ids, draw(st.integers(0, len(ids))), draw(units)


def naive(ids, floor, unit):
    """The definition, executed slowly: the kept text, and the context each token was written in."""
    kept, contexts, run = [], [], []
    for index, token in enumerate(ids):
        undo = token == UNDO and index >= floor
        if unit == "token" and undo:
            run.append(index)
            contexts.append([*kept, *run])
            continue
        if unit == "token" and run:  # k undo tokens delete the k tokens before them
            kept = kept[: max(floor, len(kept) - len(run))]
            run = []
        contexts.append([*kept, index])
        if not undo:
            kept.append(index)
        elif len(kept) > floor:
            kept.pop()
            while len(kept) > floor and ids[kept[-1]] != END:
                kept.pop()
    if run:
        kept = kept[: max(floor, len(kept) - len(run))]
    return kept, contexts


@given(streams())
def test_agrees_with_the_definition(stream):
    ids, floor, unit = stream
    resolution = resolve(ids, UNDO, floor=floor, unit=unit, step_ends=STEP)
    kept, contexts = naive(ids, floor, unit)
    assert list(resolution.kept) == kept
    assert [list(resolution.visible(i)) for i in range(len(ids))] == contexts
    assert list(resolution.positions) == [len(context) - 1 for context in contexts]
    assert list(resolution.sources) == [context[-2] if len(context) > 1 else -1 for context in contexts]


@given(streams())
def test_every_token_has_one_fate_and_the_prompt_survives(stream):
    ids, floor, unit = stream
    resolution = resolve(ids, UNDO, floor=floor, unit=unit, step_ends=STEP)
    fates = resolution.fates
    assert resolution.kept[:floor] == tuple(range(floor))
    assert [i for i, fate in enumerate(fates) if fate == "kept"] == list(resolution.kept)
    for index, (fate, by) in enumerate(zip(fates, resolution.deleted_by, strict=True)):
        assert (fate == "deleted") == (by >= 0)
        assert by < 0 or (fates[by] == "undo" and by > index)
        assert fate not in ("undo", "noop") or (ids[index] == UNDO and index >= floor)
        assert fate != "undo" or index in resolution.deleted_by
    if unit == "token":
        assert fates.count("undo") == fates.count("deleted")
    assert UNDO not in resolution.kept_ids[floor:]


@given(streams())
def test_streaming_equals_batch(stream):
    ids, floor, unit = stream
    resolver = Resolver(UNDO, floor=floor, unit=unit, step_ends=STEP)
    visible = []
    for index, token in enumerate(ids):
        pushed = resolver.push(token)
        visible = [j for j in visible if j not in pushed.deleted] + ([index] if pushed.fate == "kept" else [])
        assert resolver.resolution() == resolve(ids[: index + 1], UNDO, floor=floor, unit=unit, step_ends=STEP)
        assert resolver.kept_ids == tuple(ids[j] for j in visible)


@given(st.data())
def test_inject_then_resolve_is_the_identity(data):
    clean = data.draw(st.lists(st.sampled_from([END, 2, 3, 4]), max_size=16))
    floor = data.draw(st.integers(0, len(clean)))
    unit = data.draw(units)
    positions = sorted(data.draw(st.lists(st.integers(floor, len(clean)), max_size=5)))
    body = st.lists(st.sampled_from([2, 3, 4] if unit == "step" else [END, 2, 3]), min_size=1, max_size=4)
    errors = [(position, data.draw(body)) for position in positions]
    raw = inject(clean, errors, UNDO, floor=floor, unit=unit, step_ends=STEP)
    resolution = resolve(raw, UNDO, floor=floor, unit=unit, step_ends=STEP)
    assert list(resolution.kept_ids) == clean
    assert "noop" not in resolution.fates
    assert resolution.fates.count("undo") == sum(len(error) if unit == "token" else 1 for _, error in errors)


def test_step_injection_writes_the_step_again():
    assert inject([5, END, 6, 7], [(3, [9, 8])], UNDO, unit="step", step_ends=STEP) == (5, END, 6, 9, 8, UNDO, 6, 7)
    assert inject([5, END, 6], [(2, [9, END])], UNDO, unit="step", step_ends=STEP) == (5, END, 9, END, UNDO, 6)


@pytest.mark.parametrize(
    ("clean", "errors", "unit"),
    [
        ([5, UNDO], [], "token"),
        ([5], [(0, [])], "token"),
        ([5], [(0, [6, UNDO])], "token"),
        ([5], [(2, [6])], "token"),
        ([5, 6], [(1, [7]), (0, [7])], "token"),
        ([5, 6], [(1, [END, 7])], "step"),
    ],
)
def test_an_error_that_cannot_be_taken_back_is_refused(clean, errors, unit):
    with pytest.raises(DataError):
        inject(clean, errors, UNDO, unit=unit, step_ends=STEP)


def test_a_prompt_is_never_deleted_and_its_undo_ids_are_text():
    assert resolve([5, UNDO, 6, UNDO, UNDO], UNDO, floor=2).kept_ids == (5, UNDO)
    with pytest.raises(DataError, match="floor"):
        inject([5], [], UNDO, floor=2)
    with pytest.raises(DataError, match="step_ends"):
        Resolver(UNDO, step_ends=frozenset({UNDO}))


def test_trailing_nested_and_overlong_runs():
    assert resolve([5, 6, UNDO], UNDO).fates == ("kept", "deleted", "undo")
    assert resolve([5, UNDO, UNDO, 6], UNDO).fates == ("deleted", "undo", "noop", "kept")
    nested = resolve([5, 6, 7, UNDO, 8, UNDO, UNDO, 9], UNDO)
    assert nested.kept_ids == (5, 9)
    assert nested.deleted_by == (-1, 6, 3, -1, 5, -1, -1, -1)
    assert nested.dead_from == (8, 7, 4, 4, 7, 7, 7, 8)
    assert nested.positions == (0, 1, 2, 3, 2, 3, 4, 1)


def test_defect_3_trailing_undo_tokens_are_applied():
    """The seed's deferred resolver kept a token whose undo was the last thing written."""
    assert resolve([5, 6, UNDO], UNDO).kept_ids == (5,)


def test_defect_4_the_mask_follows_the_stack_not_the_run():
    """The seed masked the N raw tokens before a run: here an undo token, missing the token truly deleted."""
    ids = [5, 6, UNDO, 7, UNDO, UNDO]
    assert resolve(ids, UNDO).loss_mask == (False, False, True, False, True, True)
    packed = example([9, *ids], UNDO, floor=1, context="keep")
    assert packed.targets[:-1] == tuple(ids)
    assert packed.weights == (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0)


def test_keep_examples_learn_everything_but_prompt_and_errors():
    packed = example([8, 9, 5, 6, UNDO, 7], UNDO, floor=2, context="keep", problem_id="p")
    assert packed.targets == (9, 5, 6, UNDO, 7, 0)
    assert packed.weights == (0.0, 1.0, 0.0, 1.0, 1.0, 0.0)
    assert packed.positions is None
    assert packed.dead_from is None
    assert packed.problem_id == "p"
    unmasked = example([8, 9, 5, 6, UNDO, 7], UNDO, floor=2, context="keep", mask_errors=False)
    assert unmasked.weights == (0.0, 1.0, 1.0, 1.0, 1.0, 0.0)


def test_rewind_examples_teach_the_clean_step_detection_and_the_end_of_a_run():
    #      prompt 9 | 5  X6 X7  U  U  8
    packed = example([9, 5, 6, 7, UNDO, UNDO, 8], UNDO, floor=1, context="rewind")
    assert packed.targets == (5, 8, 7, UNDO, UNDO, 8, 0)
    assert packed.weights == (1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0)
    assert packed.positions == (0, 1, 2, 3, 4, 5, 2)
    assert packed.dead_from == (7, 7, 6, 6, 6, 6, 7)
    twice = example([9, 5, 6, UNDO, 7, UNDO, 8], UNDO, floor=1, context="rewind")
    assert twice.targets == (5, 8, UNDO, 8, UNDO, 8, 0)
    assert twice.weights == (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)


def test_rewind_examples_by_step():
    #       9 | 5 END 6  X  U  6  7: the step is written again
    packed = example([9, 5, END, 6, 8, UNDO, 6, 7], UNDO, floor=1, context="rewind", unit="step", step_ends=STEP)
    assert packed.positions == (0, 1, 2, 3, 4, 5, 3, 4)
    assert packed.dead_from == (8, 8, 8, 6, 6, 6, 8, 8)
    assert packed.targets == (5, END, 6, 8, UNDO, 0, 7, 0)
    assert packed.weights == (1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0)


def lessons(packed: Example):
    """The multiset of (context, target, weight), read from the attention layout or from plain causal order."""
    found: Counter = Counter()
    for i, weight in enumerate(packed.weights):
        dead = packed.dead_from or [len(packed.token_ids)] * len(packed.token_ids)
        if weight:
            seen = tuple(packed.token_ids[j] for j in range(i + 1) if i < dead[j])
            found[(seen, packed.targets[i], weight)] += 1
    return found


@given(streams(), st.booleans())
def test_unrolled_sequences_teach_exactly_the_same(stream, mask_errors):
    ids, floor, unit = stream
    packed = example(
        ids, UNDO, floor=floor, context="rewind", unit=unit, step_ends=STEP, mask_errors=mask_errors, problem_id="p"
    )
    plain = unroll(packed)
    assert all(p.dead_from is None and p.positions is None and p.problem_id == "p" for p in plain)
    assert sum((lessons(p) for p in plain), Counter()) == lessons(packed)
    if packed.positions:  # a logical position is the place in the context
        contexts = [[j for j in range(i + 1) if i < packed.dead_from[j]] for i in range(len(ids))]
        assert list(packed.positions) == [len(context) - 1 for context in contexts]


@given(streams())
def test_no_lesson_imitates_an_error_or_sees_the_future(stream):
    """Masked: every supervised target survives or retracts, and is what the decoder will meet in that context."""
    ids, floor, unit = stream
    resolution = resolve(ids, UNDO, floor=floor, unit=unit, step_ends=STEP)
    packed = example(ids, UNDO, floor=floor, context="rewind", unit=unit, step_ends=STEP)
    _, contexts = naive(ids, floor, unit)
    written = {(tuple(context[:-1]), ids[context[-1]]) for context in contexts}
    for i, weight in enumerate(packed.weights):
        if weight and resolution.fates[i] in ("kept", "deleted"):
            assert (tuple(contexts[i]), packed.targets[i]) in written
    trunk = [i for i in resolution.kept if i >= max(floor, 1)]
    for before, after in zip(resolution.kept, resolution.kept[1:], strict=False):
        if after in trunk:
            assert packed.targets[before] == ids[after]


def test_a_plain_example_unrolls_to_itself():
    packed = example([9, 5, 6], UNDO, floor=1, context="keep")
    assert unroll(packed) == [packed]


def test_settle_resolves_a_completion_whose_errors_stayed_in_context():
    completion = Completion(
        token_ids=(5, 6, UNDO, 7, 4, UNDO, UNDO, UNDO, 8),
        fates=("kept", "kept", "kept", "rejected", "inserted", "kept", "kept", "kept", "kept"),
        logprobs=(0.0,) * 9,
        stop="done",
    )
    settled = settle(completion, UNDO)
    assert settled.fates == (
        "deleted", "deleted", "control", "rejected", "deleted", "control", "control", "control", "kept",
    )  # fmt: skip
    assert settled.kept_ids == (8,)
    assert settled.token_ids == completion.token_ids
