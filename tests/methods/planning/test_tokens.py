"""Blocks and placements: exact strings for the settings of the public runs (research notes, 1.3 and 1.4)."""

import pytest

from thinktwice.methods.planning.tokens import Inventory, upstream_text

STEPS = ("Iwo Jima is an island.", "Since it is an island, a ship can reach it.")
TYPES = (("memory",), ("reason",))
ANSWER = "The answer is: True\n"
LABELS = ("memory", "reason")


def text(general: int, special: int, types=TYPES, placement="every_step", names=LABELS) -> str:
    return upstream_text(Inventory(general, special, names).lay_out(STEPS, types, ANSWER, placement))


def block(prefix: int, key: str, count: int) -> str:
    return "".join(f" <prefix_{i}>" for i in range(prefix)) + "".join(f" <{key}_{i}>" for i in range(count))


@pytest.mark.parametrize(("general", "special"), [(3, 4), (2, 4), (6, 0), (3, 3), (0, 2)])
def test_every_step_has_its_block_and_the_answer_too(general, special):
    assert text(general, special) == (
        f"{block(general, 'memory', special)} {STEPS[0]}\n"
        f"{block(general, 'reason', special)} {STEPS[1]}\n"
        f"{block(general, 'answer', special)} {ANSWER}"
    )


def test_the_example_of_the_notes():
    assert text(2, 4).startswith(" <prefix_0> <prefix_1> <memory_0> <memory_1> <memory_2> <memory_3> Iwo Jima")
    assert text(6, 0).count("<prefix_5>") == 3
    assert text(6, 0).count("memory") == 0


def test_the_number_of_new_tokens():
    """n_prefix + n_special (2 + T): 19 for (3, 4) and two labels, as the notes count them."""
    assert len(Inventory(3, 4, LABELS).tokens) == 3 + 4 * (2 + 2) == 19
    assert len(Inventory(6, 0, LABELS).tokens) == 6
    assert len({token.token for token in Inventory(3, 3, ("+", "-", "*", "/")).tokens}) == 3 + 3 * 6
    assert Inventory(0, 0, ()).tokens == ()


def test_every_token_starts_from_words_and_none_from_its_own_name():
    """Upstream looked `assignment`, `kmeans0` and `vae_0` up in the vocabulary and started from <unk>."""
    for token in Inventory(2, 2, ("kmeans0", "vae_0", "memory", "+")).tokens:
        assert token.words
        assert not any(character.isdigit() or character == "_" for character in "".join(token.words))
    words = {token.token: token.words for token in Inventory(1, 1, ("memory", "reason", "+")).tokens}
    assert "remember" in words["<memory_0>"]
    assert "plus" in words["<+_0>"]
    assert len(set(words.values())) == len(words)


def test_a_step_without_a_type_is_an_assignment_and_one_with_two_has_both_blocks():
    lines = text(1, 2, ((), ("+", "*", "+")), names=("+", "-", "*", "/"))
    first, second, _ = lines.split("\n", 2)
    assert first == f" <prefix_0> <assignment_0> <assignment_1> {STEPS[0]}"
    assert second.startswith(" <prefix_0> <+_0> <+_1> <*_0> <*_1> <+_0> <+_1> Since")


def test_the_other_placements():
    blocks = [block(1, key, 1) for key in ("memory", "reason", "answer")]
    plan = "".join(f"{b}\n" for b in blocks)
    assert text(1, 1, placement="only_at_front") == f" <prefix_0> {STEPS[0]}\n{STEPS[1]}\n{ANSWER}"
    assert text(1, 1, placement="plan_first") == f"{plan}{STEPS[0]}\n{STEPS[1]}\n{ANSWER}"
    assert text(1, 1, placement="plan_only") == f"{plan}{ANSWER}"


def test_types_and_steps_must_be_aligned():
    with pytest.raises(ValueError, match="zip"):
        Inventory(1, 1, LABELS).lay_out(STEPS, TYPES[:1], ANSWER)
