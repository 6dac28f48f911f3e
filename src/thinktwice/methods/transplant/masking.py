"""Arguments without the names of what they argue for. Law: every identifier of any candidate, not the chosen one's.

An argument ("Candidate 2 is right because it ...") states the label that a verifier should find. The seed replaced the
identifier of the chosen candidate by `_`; what was left still names the other one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MASK = "_"
Masking = Literal["none", "plain", "masked", "seed", "flipped"]
"""none: no argument at all; plain: as it is; masked: every identifier gone; seed: the chosen one's only; flipped: every
identifier names another candidate."""

_NOUN = r"(?:candidate|answer|option|solution|choice|response|argument|explanation|reasoning|approach|proposal)"
_ORDINALS = (("first", "1st"), ("second", "2nd"), ("third", "3rd"), ("fourth", "4th"))
_CARDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_LETTERS = "ABCDEFGHI"
_PAIRED = {"former": 0, "latter": 1}
_ORDINAL = "|".join(word for words in _ORDINALS for word in words) + "|former|latter"
_AFTER_BARE = (
    r"(?:is|was|has|had|does|did|gives?|provides?|takes?|uses?|makes?|shows?|explains?|states?|fails?|ignores?|arrives?"
    r"|correctly|incorrectly|accurately|because|since)\b"
)
_NAME = rf"(?:[1-9](?![\d.]*\d)|(?:{'|'.join(_CARDINALS)})\b|(?-i:[A-I])\b)"
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b{_NOUN}s?[\s_#:.\-]*(?:no\.?\s*|number\s*)?[(\"'“]?(?P<name>{_NAME})",  # Candidate 1, option_B
        rf"\b{_NOUN}s\s+{_NAME}\s*(?:,|and|or|&|/|to|versus|vs\.?)\s*(?P<name>{_NAME})",  # Candidates 1 and 2
        rf"\b(?P<name>{_ORDINAL})\s+(?:{_NOUN}|one)\b",  # the second candidate
        rf"\bthe\s+(?P<name>{_ORDINAL})(?=\s+{_AFTER_BARE}|\s*[,.;:!?)]|\s*$)",  # the first is right
        r"\b(?:choose|pick|prefer|select|choice\s+is|go\s+with)\s+[(\"'“]?(?P<name>[1-9](?![\d.]*\d))",  # I pick 2
        r"\A\W*(?P<name>[1-9])\W*\Z",  # nothing but the number
    )
)


@dataclass(frozen=True, slots=True)
class Identifier:
    """A place in an argument that names a candidate."""

    start: int
    end: int
    """Of the name alone: "1" in "Candidate 1"."""
    index: int
    """Which candidate, from 0."""


def identifiers(argument: str, count: int = 2) -> list[Identifier]:
    """Return every place that names one of `count` candidates, in order; what merely counts things is left alone."""
    found: dict[int, Identifier] = {}
    for pattern in _PATTERNS:
        for match in pattern.finditer(argument):
            index = _index(match["name"])
            if index < count:
                found.setdefault(match.start("name"), Identifier(match.start("name"), match.end("name"), index))
    return [found[start] for start in sorted(found)]


def _index(name: str) -> int:
    word = name.casefold()
    if word.isdigit():
        return int(word) - 1
    if word in _CARDINALS:
        return _CARDINALS.index(word)
    if word in _PAIRED:
        return _PAIRED[word]
    ordinal = next((index for index, words in enumerate(_ORDINALS) if word in words), None)
    return _LETTERS.index(name.upper()) if ordinal is None else ordinal


def rename(argument: str, names: Mapping[int, int | None], count: int = 2) -> str:
    """Return the argument with candidate i called names[i], in the words it uses; None, or no entry, is the mask."""
    pieces, place = [], 0
    for found in identifiers(argument, count):
        pieces += [argument[place : found.start], _spell(argument[found.start : found.end], names.get(found.index))]
        place = found.end
    return "".join([*pieces, argument[place:]])


def _spell(like: str, index: int | None) -> str:
    """Write a candidate's index in the way `like` is written."""
    if index is None:
        return MASK
    word = like.casefold()
    if word.isdigit():
        return str(index + 1)
    if word in _PAIRED:
        spelled = ("former", "latter")[index] if index < 2 else _ORDINALS[min(index, len(_ORDINALS) - 1)][0]
    elif word in _CARDINALS:
        spelled = _CARDINALS[index]
    elif any(word in words for words in _ORDINALS):
        kind = next(words.index(word) for words in _ORDINALS if word in words)
        spelled = _ORDINALS[min(index, len(_ORDINALS) - 1)][kind]
    else:
        spelled = _LETTERS[index]
    return spelled.capitalize() if like[0].isupper() and like != like.upper() else spelled


def mask(argument: str, count: int = 2) -> str:
    """Return the argument with every identifier of any candidate replaced by `_`.

    Example:
        >>> mask("Candidate 2 is right; the first one forgets a step.")
        'Candidate _ is right; the _ one forgets a step.'
    """
    return rename(argument, {}, count)


def mask_chosen(argument: str, chosen: int, count: int = 2) -> str:
    """Return the argument as the seed masked it: only the identifier of the candidate it chooses becomes `_`."""
    return rename(argument, {i: None if i == chosen else i for i in range(count)}, count)


def place(argument: str, order: tuple[int, ...], masking: Masking, chosen: int | None = None, count: int = 2) -> str:
    """Return the argument as it reads when candidate order[s] stands in slot s.

    Its identifiers follow the candidates to their slots; `flipped` sends each to the next slot instead. A candidate
    that is not shown is masked.
    """
    if masking == "none":
        return ""
    if masking == "masked":
        return mask(argument, count)
    slots: dict[int, int | None] = {candidate: slot for slot, candidate in enumerate(order)}
    if masking == "seed" and chosen is not None:
        slots[chosen] = None
    if masking == "flipped":
        slots = {candidate: (slot + 1) % len(order) for slot, candidate in enumerate(order)}
    return rename(argument, slots, count)
