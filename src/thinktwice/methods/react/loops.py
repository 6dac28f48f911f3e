"""Searches that lead nowhere, by what was asked and by what was found.

Judging queries alone rewards paraphrase: an agent that may not repeat itself changes a word and reads the same pages
again. So a search is also judged by its evidence.

| class | what it says of a search |
|---|---|
| exact adjacent | the same query as the search before |
| exact later | the same query as an earlier search, not the one before (araft's rule cannot see it) |
| near duplicate | nearly the words of an earlier query (Jaccard of the sets at least 0.8) |
| nothing new | every page it shows was seen before |
"""

import re
import unicodedata
from collections.abc import Sequence

from thinktwice.methods.react.episode import SEARCH, Episode, Turn

ADJACENT, LATER, NEAR, STALE = "exact adjacent", "exact later", "near duplicate", "nothing new"
CLASSES = (ADJACENT, LATER, NEAR, STALE)
"""The most certain first; a search has the first that holds, or "" where none does."""
LIKENESS = 0.8
"""Least Jaccard similarity of a near duplicate."""
_ARTICLES = frozenset(("a", "an", "the"))
_APOSTROPHES = re.compile(r"['’]")


def words_of(query: str) -> tuple[str, ...]:
    """Return what a query asks for, whatever its form: its words sorted, without case, punctuation and articles.

    Example:
        >>> words_of("The Teacher of  Ida-Marshby?")
        ('ida', 'marshby', 'of', 'teacher')
    """
    folded = _APOSTROPHES.sub("", unicodedata.normalize("NFKC", query).casefold())
    # What is neither letter, mark nor digit parts words: "C#" and "C" are one, "São" and "Sao" are two.
    spaced = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    words = spaced.split()
    # A query of articles or signs only is what it is: it must not equal every other one.
    return tuple(sorted(w for w in words if w not in _ARTICLES) or sorted(words)) or tuple(folded.split())


def classify(episode: Episode) -> tuple[str, ...]:
    """Return one class for each search of an episode, in order (`CLASSES`, or "")."""
    return tuple(judge(episode.turns[:index], turn) for index, turn in enumerate(episode.turns) if turn.tool == SEARCH)


def judge(before: Sequence[Turn], turn: Turn) -> str:
    """Return the class of one search after the turns `before`; its `sources` are what it found."""
    return repeated(before, turn.argument) or (STALE if stale(before, turn.sources) else "")


def repeated(before: Sequence[Turn], query: str) -> str:
    """Return how a query repeats an earlier one, "" where it does not: known before anything is searched."""
    words = words_of(query)
    earlier = [words_of(turn.argument) for turn in before if turn.tool == SEARCH]
    if earlier and earlier[-1] == words:
        return ADJACENT
    if words in earlier:
        return LATER
    return NEAR if any(_likeness(words, other) >= LIKENESS for other in earlier) else ""


def stale(before: Sequence[Turn], sources: Sequence[str]) -> bool:
    """Return whether all of some pages were seen before. A search that shows none is no evidence of a loop."""
    seen = {title for turn in before for title in turn.sources}
    return bool(sources) and seen.issuperset(sources)


def _likeness(one: Sequence[str], other: Sequence[str]) -> float:
    a, b = set(one), set(other)
    return len(a & b) / len(a | b) if a | b else 1.0
