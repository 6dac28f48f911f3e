from dataclasses import replace

import pytest
import torch

from thinktwice.decode.transplant import check_choice, collate_choices
from thinktwice.errors import DataError
from thinktwice.types import Choice, Move

ARGUED = ((10, 11, 12, 13, 14), (10, 11, 20, 21))
CHOICE = Choice(ARGUED, (10, 12, 13, 30, 20, 21, 31), (Move(0, 2, 1, 2), Move(1, 2, 4, 2)), (6, 7), 0, "p")


def test_rows_are_taken_from_and_put_to_where_the_moves_say():
    batch = collate_choices([CHOICE])
    taken = batch.argued_ids_NT.reshape(-1)[batch.from_U][batch.take_M]
    assert taken.tolist() == [12, 13, 20, 21]
    assert batch.token_ids_BT.reshape(-1)[batch.to_M].tolist() == [12, 13, 20, 21]
    assert batch.shift_M.tolist() == [-1, -1, 2, 2]


def test_a_text_that_several_choices_argue_from_is_read_once():
    other = replace(CHOICE, token_ids=(20, 21, 9, 12, 13, 31), moves=(Move(1, 2, 0, 2), Move(0, 2, 3, 2)), right=1)
    batch = collate_choices([CHOICE, other])
    assert len(batch.argued_ids_NT) == 2
    assert len(batch.from_U) == 4
    assert len(batch.to_M) == 8
    assert batch.take_M.tolist() == [0, 1, 2, 3, 2, 3, 0, 1]
    assert collate_choices([CHOICE, other], by_shift=True).shifts_N.tolist() == [-1, 2, -2, 1]


def test_argued_text_behind_the_last_moved_row_is_not_read():
    batch = collate_choices([CHOICE])
    assert batch.argued_ids_NT.tolist() == [[10, 11, 12, 13], [10, 11, 20, 21]]
    assert batch.tokens == 7 + 4 + 4


def test_a_text_that_nothing_is_moved_from_is_not_read():
    batch = collate_choices([replace(CHOICE, moves=CHOICE.moves[1:])])
    assert batch.argued_ids_NT.tolist() == [[10, 11, 20, 21]]
    alone = collate_choices([replace(CHOICE, moves=())])
    assert (len(alone.argued_ids_NT), len(alone.from_U), len(alone.to_M)) == (0, 0, 0)


def test_what_is_learned_stands_after_every_last_token():
    longer = replace(CHOICE, token_ids=(9, *CHOICE.token_ids), moves=())
    batch = collate_choices([CHOICE, longer])
    assert batch.supervised_N.tolist() == [6, 15]
    assert batch.weight == 2
    three = replace(CHOICE, options=(6, 7, 8))
    assert collate_choices([CHOICE, three]).shown_BO.tolist() == [[True, True, False], [True, True, True]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"token_ids": (10, 12, 99, 30, 20, 21, 31)}, "row 3 of argued text 0 is token 13, row 2 of"),
        ({"moves": (Move(0, 2, 1, 4),)}, "beyond the end"),
        ({"moves": (Move(0, 2, 1, 2), Move(1, 2, 2, 2)), "same_text": False}, "two rows to one place"),
        ({"moves": (Move(2, 0, 0, 1),)}, "it has 2 argued texts"),
        ({"moves": (Move(1, 3, 6, 1),), "same_text": False}, "moves its last row"),
        ({"moves": (Move(0, 2, 1, 0),)}, "all must be there"),
        ({"options": (6, 6)}, "two or more different identifiers"),
        ({"options": (6,)}, "two or more different identifiers"),
        ({"right": 2}, "no index into its 2 options"),
        ({"token_ids": ()}, "empty text"),
        ({"options": (-1, 6)}, "negative"),
    ],
)
def test_a_choice_that_contradicts_itself_is_refused(change, words):
    with pytest.raises(DataError, match="Choice of problem 'p'") as error:
        check_choice(replace(CHOICE, **change))
    assert words in str(error.value)


def test_a_control_may_move_another_text():
    swapped = replace(CHOICE, moves=(Move(1, 2, 1, 2), Move(0, 2, 4, 2)))
    with pytest.raises(DataError, match="same_text=False"):
        check_choice(swapped)
    check_choice(replace(swapped, same_text=False))
    batch = collate_choices([replace(swapped, same_text=False)])
    taken = batch.argued_ids_NT.reshape(-1)[batch.from_U][batch.take_M]
    assert taken.tolist() == [20, 21, 12, 13]


def test_moves_in_any_order_make_one_batch():
    turned = replace(CHOICE, moves=CHOICE.moves[::-1])
    a, b = collate_choices([CHOICE]), collate_choices([turned])
    assert torch.equal(a.to_M, b.to_M)
    assert torch.equal(a.argued_ids_NT.reshape(-1)[a.from_U][a.take_M], b.argued_ids_NT.reshape(-1)[b.from_U][b.take_M])
