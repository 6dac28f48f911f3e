"""Why an episode's answer is wrong: one reason each, the first that holds of a fixed order.

| failure | what it says |
|---|---|
| tool error | the row failed, or the last action before the end was not carried out |
| parse error | the last action before the end could not be read |
| context overflow | the context was full |
| loop | it searched again for what it had searched for |
| step limit | it never answered, or only when made to |
| no-search guess | it answered without having looked anything up |
| retrieval miss | no page that supports the answer was ever shown; where that is unknown, the answer itself was not |
| hop incomplete | some of those pages were shown, not all |
| reading error | everything was there, and the answer shares no word with the reference |
| label ambiguity | everything was there, and the answer shares words with the reference: perhaps it is right |

What comes first stops the rest from being asked: an episode that loops and misses its pages is a loop.
"""

from collections.abc import Sequence

from thinktwice.methods.react.episode import ANSWER, Episode
from thinktwice.methods.react.filters import REPEATED
from thinktwice.scoring.exact import normalise
from thinktwice.scoring.f1 import Match
from thinktwice.types import Problem, StopReason

FAILURES = (
    "tool error",
    "parse error",
    "context overflow",
    "loop",
    "step limit",
    "no-search guess",
    "retrieval miss",
    "hop incomplete",
    "reading error",
    "label ambiguity",
)
"""In the order in which they are asked."""


def blame(problem: Problem, episode: Episode, match: Match, loops: Sequence[str], *, stop: StopReason = "done") -> str:
    """Return why an answer is wrong, one of `FAILURES`; empty when it is right (EM 1).

    Args:
        problem: with `support`, where the dataset names the pages.
        episode: what happened.
        match: its answer against the reference.
        loops: what `loops.classify` says of each search.
        stop: how the row ended.
    """
    if match.em == 1:
        return ""
    acted = [turn for turn in episode.turns if turn.tool != ANSWER]
    failed = bool(acted) and bool(acted[-1].error)
    if stop == "error" or (failed and acted[-1].tool):
        return "tool error"
    if failed:
        return "parse error"
    if stop == "length":
        return "context overflow"
    if any(kind in REPEATED for kind in loops):
        return "loop"
    if episode.answer is None or episode.forced:
        return "step limit"
    if not acted:
        return "no-search guess"
    return _reading(problem, episode, match)


def _reading(problem: Problem, episode: Episode, match: Match) -> str:
    """Return what went wrong in an episode that searched and answered."""
    if problem.support and episode.sources:
        found = set(problem.support).intersection(episode.sources)
        if not found:
            return "retrieval miss"
        if len(found) < len(problem.support):
            return "hop incomplete"
    elif not _shown(problem, episode):
        return "retrieval miss"
    return "label ambiguity" if match.f1 else "reading error"


def _shown(problem: Problem, episode: Episode) -> bool:
    """Say whether an observation holds the reference answer; yes and no are held by any, if no page is known."""
    wanted = normalise(problem.answer)
    texts = [f" {normalise(turn.observation)} " for turn in episode.turns if turn.tool != ANSWER and turn.observation]
    if wanted in ("yes", "no"):
        return bool(texts) and not problem.support
    return any(f" {wanted} " in text for text in texts)
