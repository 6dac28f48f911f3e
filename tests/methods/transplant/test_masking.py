"""Masked arguments: nothing names a candidate any more, and what merely counts things is left alone."""

import re

import pytest

from thinktwice.methods.transplant.masking import identifiers, mask, mask_chosen, place
from thinktwice.methods.transplant.seed_data import read_arguments


@pytest.mark.parametrize(
    ("argument", "masked"),
    [
        ("Candidate 1 is right, candidate_2 is not.", "Candidate _ is right, candidate__ is not."),
        ("Candidates 1 and 2 agree; CANDIDATE 2 slips.", "Candidates _ and _ agree; CANDIDATE _ slips."),
        ("The first candidate adds; the second one does not.", "The _ candidate adds; the _ one does not."),
        ("The second is better than the first.", "The _ is better than the _."),
        ("The former because it checks; the latter fails.", "The _ because it checks; the _ fails."),
        ("Option B, not Option A.", "Option _, not Option _."),
        ("Solution #2, i.e. solution two", "Solution #_, i.e. solution _"),
        ("I prefer 2.", "I prefer _."),
        ("1", "_"),
        ("In the first hour 2 of 12 runners, in the second year 21.", None),
        ("The answer is 12, for 1 + 11 = 12.", None),
        ("Candidate 12 and answer 1.5 are not here.", None),
        ("The first and second halves last 2 x 45 minutes.", None),
    ],
)
def test_identifiers_go_and_numbers_stay(argument, masked):
    assert mask(argument) == (argument if masked is None else masked)


def test_only_candidates_there_are():
    assert mask("Candidate 3 beats candidate 2", count=2) == "Candidate 3 beats candidate _"
    assert mask("Candidate 3 beats candidate 2", count=3) == "Candidate _ beats candidate _"


def test_the_seeds_masking_leaves_the_other_one():
    assert mask_chosen("Candidate 2 is right. Candidate 1 forgets.", 1) == "Candidate _ is right. Candidate 1 forgets."


def test_identifiers_follow_the_candidates_to_their_slots():
    said = "The second candidate (candidate_2) is right; Candidate 1 and Option A are not."
    assert place(said, (0, 1), "plain") == said
    turned = "The first candidate (candidate_1) is right; Candidate 2 and Option B are not."
    assert place(said, (1, 0), "plain") == turned
    assert place(said, (0, 1), "flipped") == turned
    assert place(said, (1, 0), "flipped") == said
    assert place(said, (0, 1), "none") == ""
    assert place("Candidate 1 over candidate 3", (2, 1), "plain", count=3) == "Candidate _ over candidate 1"


def test_no_real_argument_names_a_candidate_after_masking(seed_file):
    items = read_arguments(seed_file)
    named = [item for item in items if identifiers(item.argument)]
    assert len(named) >= 0.999 * len(items)
    # unmasked, the first name is nearly always the choice: the label stands in the text
    assert sum(identifiers(i.argument)[0].index == i.argued_for for i in named) >= 0.997 * len(items)
    left = re.compile(r"candidates?[\s_]*[12]\b|\b(first|second) (candidate|answer|option)\b", re.IGNORECASE)
    assert not [item.id for item in items if left.search(mask(item.argument))]
    seeds = [mask_chosen(item.argument, item.argued_for) for item in items]
    assert sum(bool(left.search(argument)) for argument in seeds) > 1000  # the seed's masking still names the other
