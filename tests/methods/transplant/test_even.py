"""Pairs whose style gives the label away, evened out."""

import random

from thinktwice.methods.transplant.data import Candidate, Item
from thinktwice.methods.transplant.even import even, even_lengths
from thinktwice.methods.transplant.posing import Posing, _paired
from thinktwice.methods.transplant.shortcuts import n_grams


def styled(split: str, n: int, given_away: float) -> list[Item]:
    """Right ones say "therefore" in a share of the pairs, wrong ones in the others."""
    draw, found = random.Random(split), []
    for k in range(n):
        words = ["therefore it is", "hence it was"]
        if draw.random() > given_away:
            words.reverse()
        right, wrong = (Candidate(f"{w} {draw.randrange(90)}", "", w is words[0]) for w in words)
        pair = (right, wrong) if draw.random() < 0.5 else (wrong, right)
        found.append(Item(f"{split}{k}/0-1", f"{split} {k}?", "", pair))
    return found


def right_by_style(train: list[Item], test: list[Item]) -> float:
    scores = n_grams(train, test, unit="word")
    return sum((score > 0) == (item.right == 0) for score, item in zip(scores, test, strict=True)) / len(test)


def test_what_style_gives_away_is_gone_from_every_split() -> None:
    pairs = {"train": styled("train", 300, 0.85), "dev": styled("dev", 100, 0.85), "test": styled("test", 200, 0.85)}
    assert right_by_style(pairs["train"], pairs["test"]) > 0.75
    kept = even(pairs)
    assert abs(right_by_style(pairs["train"], kept["test"]) - 0.5) < 0.1
    assert right_by_style(kept["train"], kept["test"]) < 0.62
    assert 0.2 < len(kept["test"]) / 200 < 0.4  # twice the 15 % that style misjudges
    assert kept == even(pairs)
    assert {item.id for item in kept["dev"]} < {item.id for item in pairs["dev"]}


def test_evened_pairs_are_thinned_by_question_afterwards() -> None:
    found = {split: styled(split, 60, 0.5) for split in ("train", "dev", "test")}
    paired = _paired(Posing(even=True, most=1), found, 0)
    assert all(0 < len(own) <= 60 for own in paired.values())
    assert len({item.group for item in paired["test"]}) == len(paired["test"])


def test_of_what_is_kept_the_right_one_is_as_often_the_longer_text() -> None:
    pairs = styled("test", 100, 0.8)  # "therefore it is" is longer than "hence it was"
    kept = even_lengths(pairs)
    longer = [
        len(item.candidates[item.right or 0].text) - len(item.candidates[1 - (item.right or 0)].text) for item in kept
    ]
    assert sum(gap > 0 for gap in longer) == sum(gap < 0 for gap in longer) > 10
    assert sum(len(i.candidates[0].text) == len(i.candidates[1].text) for i in kept) == sum(
        len(i.candidates[0].text) == len(i.candidates[1].text) for i in pairs
    )  # where neither is longer, nothing is left out
