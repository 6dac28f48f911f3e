"""Items as token ids: the moved rows spell the same in both texts, and the arms do what they say."""

import random
from dataclasses import replace

import pytest

from thinktwice.errors import ConfigError, DataError, ModelError
from thinktwice.methods.transplant.arms import both_orders, question_of, shuffled, swapped, without_moves
from thinktwice.methods.transplant.data import Candidate, Item
from thinktwice.methods.transplant.prompts import (
    BARE,
    BARE_POINTWISE,
    PAIRWISE,
    POINTWISE,
    by_token,
    check_moves,
    render_choice,
)
from thinktwice.render import Render
from thinktwice.train.nano import tokenizer

QUESTION = "Ann has 3 pens. Ben has as many as Ann plus 4. How many pens does Ben have?"
RIGHT = "Ben: Ann + 4 where Ann 3 = Ben 7\n#### 7"
WRONG = "Ben: Ann + 4 where Ann 3 = Ben 9\nBen: Ann + 4 where Ann 3 = Ben 9\n#### 9"


@pytest.fixture(scope="module")
def nano():
    return Render(tokenizer())


@pytest.fixture(scope="module")
def chat():
    made = tokenizer()
    turns = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<eos>\n{% endfor %}"
    made.chat_template = turns + "{{ '<|assistant|>\\n' }}"
    return Render(made)


def an_item(name="q", argument="", argued_for=None, question=QUESTION):
    both = (Candidate(RIGHT, "7", True), Candidate(WRONG, "9", False))
    return Item(name, question, "7", both, argument, argued_for)


def moved(choice, render):
    """The texts of the moved rows, in the order of the item's candidates."""
    return [render.text(choice.argued[m.source][m.start : m.start + m.n]) for m in choice.moves]


@pytest.mark.parametrize("template", ["nano", "chat"])
@pytest.mark.parametrize("rows", ["content", "shifted", "last_step", "truncated:40"])
def test_moved_rows_are_the_same_ids_in_both_texts(rows, template, request):
    render = request.getfixturevalue(template)
    for order in both_orders(an_item()):
        choice = render_choice(an_item(), order, render, rows=rows, wording=BARE)
        check_moves(choice)
        assert len(choice.moves) == 2
        assert choice.right == order.index(0)
        for move in choice.moves:
            assert choice.token_ids[move.to : move.to + move.n] == choice.argued[move.source][move.start :][: move.n]


def test_rows_rules(nano):
    def texts(rows):
        return moved(render_choice(an_item(), (1, 0), nano, rows=rows, wording=BARE), nano)

    assert texts("content") == [RIGHT, WRONG]
    last = nano.text(nano.encode(RIGHT)[:-1])
    assert texts("shifted")[0] == "\n" + last  # the row before predicts the first token; the last row stays behind
    assert texts("last_step") == [RIGHT, "Ben: Ann + 4 where Ann 3 = Ben 9\n#### 9"]
    assert RIGHT.startswith(texts("truncated:50")[0])
    cut = render_choice(an_item(), (0, 1), nano, rows="truncated:50", wording=BARE)
    assert "#### 7" not in nano.text(cut.token_ids)  # what is cut is read by nobody
    none = render_choice(an_item(), (0, 1), nano, rows="none", wording=BARE)
    assert (none.moves, none.argued) == ((), ())
    assert none.token_ids == render_choice(an_item(), (0, 1), nano, wording=BARE).token_ids


def test_the_arguer_reads_what_a_solver_writes(nano):
    """On policy: the arguer's text is the generation prompt and the ids as they were drawn."""
    drawn = tuple(nano.encode("Ben: ")) + nano.encode("Ann") + nano.encode(" + 4 where Ann 3 = Ben 7")
    item = replace(an_item(), candidates=(Candidate("Ben: Ann…", "7", True, "m", drawn), an_item().candidates[1]))
    choice = render_choice(item, (0, 1), nano, wording=BARE)
    assert choice.argued[0] == (*nano.question(QUESTION), *drawn)
    blind = render_choice(item, (0, 1), nano, wording=BARE, question_for_arguer=False)
    assert blind.argued[0] == (*nano.question(""), *drawn)
    assert blind.token_ids == choice.token_ids


def test_both_orders_argue_the_same_texts(nano):
    one, other = (render_choice(an_item(), order, nano, wording=BARE) for order in both_orders(an_item()))
    assert one.argued == other.argued
    assert one.problem_id == other.problem_id
    assert {one.right, other.right} == {0, 1}
    assert len(one.token_ids) == len(other.token_ids)


def test_identifiers_are_one_token_each(nano):
    choice = render_choice(an_item(), (0, 1), nano, wording=BARE)
    assert [nano.text((i,)) for i in choice.options] == [" 1", " 2"]
    assert nano.text(choice.token_ids).endswith("####")
    with pytest.raises(ModelError, match="no single tokens for Yes, No"):
        render_choice(an_item(), (0,), nano, wording=POINTWISE)
    with pytest.raises(ModelError, match="<first>"):
        render_choice(an_item(), (0, 1), nano, wording=by_token(BARE))


def test_control_tokens_as_identifiers():
    made = tokenizer()
    made.add_special_tokens({"additional_special_tokens": ["<first>", "<second>"]})
    render = Render(made)
    choice = render_choice(an_item(question="<first>?"), (1, 0), render, wording=by_token(BARE))
    assert choice.options == (render.control_id("<first>"), render.control_id("<second>"))
    places = [choice.token_ids.index(option) for option in choice.options]
    assert choice.token_ids.count(choice.options[0]) == 1  # the question's "<first>" is text
    assert places[0] < min(m.to for m in choice.moves) < places[1]


def test_chat_templates_frame_the_whole(chat):
    text = chat.text(render_choice(an_item(), (0, 1), chat, wording=PAIRWISE).token_ids)
    assert text.startswith("<|user|>\nAnn has 3 pens.")
    assert text.endswith("Reply with its number alone.\n<|assistant|>\n")


def test_shifted_is_refused_behind_a_special_token(nano):
    ends = replace(nano, template="{question}\n")
    assert render_choice(an_item(), (0, 1), ends, rows="shifted", wording=BARE).moves
    made = tokenizer()
    made.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}<eos>"
    with pytest.raises(ModelError, match="rows=shifted"):
        render_choice(an_item(), (0, 1), Render(made), rows="shifted", wording=BARE)


def test_pointwise_and_listwise(nano):
    yes = render_choice(an_item(), (0,), nano, wording=BARE_POINTWISE)
    no = render_choice(an_item(), (1,), nano, wording=BARE_POINTWISE)
    assert (yes.right, no.right, len(yes.moves)) == (0, 1, 1)
    solver = yes.argued[0]
    assert yes.token_ids[: len(solver)] == solver, "a bare yes/no verifier reads what the solver wrote, as it wrote it"
    many = replace(an_item(), candidates=(*an_item().candidates, *an_item().candidates[1:]))
    choice = render_choice(many, (2, 0, 1), nano, wording=BARE)
    assert choice.right == 1
    assert [nano.text((i,)) for i in choice.options] == [" 1", " 2", " 3"]
    assert sorted(order.index(0) for order in both_orders(many)) == [0, 1, 2]
    two_right = replace(many, candidates=(*many.candidates, many.candidates[0]))
    assert render_choice(two_right, (0, 1, 2, 3), nano, wording=BARE).right is None


def test_the_argument_follows_the_order(nano):
    item = an_item(argument="Candidate 1 is right.", argued_for=0)

    def said(order, **options):
        return nano.text(render_choice(item, order, nano, wording=PAIRWISE, **options).token_ids)

    assert "Candidate 1 is right." in said((0, 1), argument="plain")
    assert "Candidate 2 is right." in said((1, 0), argument="plain")
    assert "Candidate 2 is right." in said((0, 1), argument="flipped")
    assert "Candidate _ is right." in said((0, 1), argument="masked")
    assert "is right." not in said((0, 1)).split("Exactly one")[0]


def test_text_that_spells_a_special_token_or_a_field_stays_text(nano):
    item = an_item(question="{question} <eos> {name}")
    choice = render_choice(item, (0, 1), nano, wording=PAIRWISE)
    assert nano.end_id not in choice.token_ids
    assert "{question} <eos> {name}" in nano.text(choice.token_ids)


@pytest.mark.parametrize(
    ("options", "order", "error", "says"),
    [
        ({"rows": "contents"}, (0, 1), ConfigError, "no rule"),
        ({"rows": "truncated:120"}, (0, 1), ConfigError, "per cent"),
        ({}, (0, 0), ConfigError, "order="),
        ({}, (0, 2), ConfigError, "order="),
        ({}, (0,), ConfigError, "several"),
        ({"wording": BARE_POINTWISE}, (0, 1), ConfigError, "one candidate"),
    ],
)
def test_what_does_not_fit_is_refused(nano, options, order, error, says):
    with pytest.raises(error, match=says):
        render_choice(an_item(), order, nano, **{"wording": BARE, **options})


def test_an_empty_candidate_is_refused(nano):
    empty = replace(an_item(), candidates=(Candidate("", "", False), Candidate("x", "1", True)))
    with pytest.raises(DataError, match="candidate 1 is empty"):
        render_choice(empty, (0, 1), nano, wording=BARE)


def test_a_move_that_spells_something_else_is_refused(nano):
    choice = render_choice(an_item(), (0, 1), nano, wording=BARE)
    off = replace(choice.moves[0], start=choice.moves[0].start + 1)
    with pytest.raises(DataError, match="not the ids that were argued"):
        check_moves(replace(choice, moves=(off,)))
    check_moves(replace(choice, moves=(off,), same_text=False))


# -- arms --------------------------------------------------------------------------------------------------------------


def choices(nano, count=30):
    items = [an_item(f"q{i // 2}/{i % 2}-1") for i in range(count)]
    return [render_choice(item, order, nano, wording=BARE) for item in items for order in both_orders(item)]


def test_swapping_moves_each_candidates_states_to_the_other(nano):
    choice = render_choice(an_item(), (0, 1), nano, wording=BARE)
    turned = swapped(choice)
    assert [m.source for m in choice.moves] == [0, 1]
    assert [m.source for m in turned.moves] == [1, 0]
    assert {m.n for m in turned.moves} == {min(m.n for m in choice.moves)}
    for before, after in zip(choice.moves, turned.moves, strict=True):
        assert after.to + after.n == before.to + before.n  # aligned at the end
    assert nano.text(turned.argued[1][turned.moves[0].start :][: turned.moves[0].n]).endswith("#### 9")
    assert not turned.same_text
    assert (turned.token_ids, turned.right) == (choice.token_ids, choice.right)
    with pytest.raises(DataError, match="two candidates"):
        swapped(without_moves(choice))


def test_shuffled_states_are_of_another_question_and_say_nothing_of_the_label(nano):
    given = choices(nano)
    found = shuffled(given, random.Random(0))
    assert shuffled(given, random.Random(0)) == found
    agree = 0
    for before, after in zip(given, found, strict=True):
        assert (after.token_ids, after.right, after.problem_id) == (before.token_ids, before.right, before.problem_id)
        assert not after.same_text
        donors = {question_of(c) for c in given if c.argued == after.argued}
        assert donors
        first = min(after.moves, key=lambda m: m.to)
        # candidate 0 is right in every item: is the right one's state in the right slot?
        agree += (first.source == 0) == (after.right == 0)
    assert 0.3 < agree / len(given) < 0.7


def test_shuffling_a_single_order_leaks_no_label_either(nano):
    given = [c for c in choices(nano, 200) if c.right == 0]
    found = shuffled(given, random.Random(1))
    assert 0.35 < sum(min(c.moves, key=lambda m: m.to).source == 0 for c in found) / len(found) < 0.65


def test_a_donor_is_never_of_the_same_question(nano):
    one = choices(nano, 2)
    with pytest.raises(DataError, match="two questions"):
        shuffled(one, random.Random(0))


def test_without_moves(nano):
    choice = render_choice(an_item(), (0, 1), nano, wording=BARE)
    assert without_moves(choice) == render_choice(an_item(), (0, 1), nano, rows="none", wording=BARE)
