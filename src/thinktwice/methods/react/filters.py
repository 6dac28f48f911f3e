"""Which episodes are worth learning from. Law: counts in = kept + every reason; each reason can be switched off.

A right answer alone keeps lucky episodes: in FireAct's 500 trajectories of GPT-4, 13 % of the answers stand in no
observation. So an episode must also show where its answer comes from, must not loop, and must parse.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from thinktwice.errors import ConfigError
from thinktwice.methods.react.episode import ANSWER, Episode
from thinktwice.methods.react.loops import ADJACENT, LATER, NEAR, classify
from thinktwice.scoring.exact import normalise
from thinktwice.types import Problem

REPEATED = (ADJACENT, LATER, NEAR)
"""The kinds of loops that the filter knows; a search that merely found nothing new is none."""


@dataclass(frozen=True)
class Filters:
    """What an episode must be to be kept."""

    f1_threshold: float = 1.0
    """The F1 its answer must reach; above 0."""
    grounded: bool = True
    """Its answer stands in an observation, or, for yes and no, every page that supports the answer was read."""
    no_loop: bool = True
    """It never asked for the same again."""
    clean: bool = True
    """Every action could be read and carried out, and the answer was not forced."""
    per_question: int = 1
    """Episodes kept of one question, the shortest first, none twice; 0: all."""

    def __post_init__(self) -> None:
        if not 0 < self.f1_threshold <= 1:
            raise ConfigError(f"f1_threshold={self.f1_threshold} must be above 0 and at most 1.")
        if self.per_question < 0:
            raise ConfigError(f"per_question={self.per_question} must be 0 (all) or more.")

    def reason(self, problem: Problem, episode: Episode, f1: float) -> str:
        """Return why an episode is not kept, the first reason of a fixed order; empty when it passes."""
        checks = (
            (episode.answer is None, "no answer"),
            (f1 < self.f1_threshold, "wrong answer"),
            (self.clean and not is_clean(episode), "not clean"),
            (self.no_loop and any(kind in REPEATED for kind in classify(episode)), "loop"),
            (self.grounded and not is_grounded(problem, episode), "not grounded"),
        )
        return next((reason for failed, reason in checks if failed), "")


def is_clean(episode: Episode) -> bool:
    """Say whether every action was carried out and the answer given freely."""
    return not episode.forced and not any(turn.error for turn in episode.turns)


def is_grounded(problem: Problem, episode: Episode) -> bool:
    """Say whether the episode saw what it answers.

    Yes and no are grounded where every page that supports the answer was read, if the dataset says which those are;
    where it does not, where anything was read at all.
    """
    if episode.answer is None:
        return False
    answer = normalise(episode.answer)
    if answer in ("yes", "no"):
        return set(problem.support) <= set(episode.sources) and bool(episode.sources)
    seen = [f" {normalise(turn.observation)} " for turn in episode.turns if turn.tool != ANSWER]
    return bool(answer) and any(f" {answer} " in text for text in seen)


@dataclass(frozen=True)
class Selection:
    """What was kept, and where the rest went."""

    kept: tuple[int, ...]
    """Indices of the episodes that were kept, in order."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason -> episodes."""
    reasons: tuple[str, ...] = ()
    """Of every episode, why it was dropped; empty where it was kept."""


LONGER, TWICE = "another sample is shorter", "another sample says the same"


def select(problem_ids: Sequence[str], episodes: Sequence[Episode], reasons: Sequence[str], limit: int) -> Selection:
    """Take the shortest of the episodes that passed, at most `limit` a question (0: all), and none twice."""
    found = list(reasons)
    by_problem: dict[str, list[int]] = {}
    for index, (name, reason) in enumerate(zip(problem_ids, reasons, strict=True)):
        if not reason:
            by_problem.setdefault(name, []).append(index)
    for members in by_problem.values():
        told: set[tuple[tuple[str, str], ...]] = set()
        for index in sorted(members, key=lambda i: (len(episodes[i].turns), _tokens(episodes[i]), i)):
            actions = tuple((turn.tool, turn.argument) for turn in episodes[index].turns)
            if actions in told:
                found[index] = TWICE
            elif limit and len(told) >= limit:
                found[index] = LONGER
            told.add(actions)
    dropped = Counter(reason for reason in found if reason)
    kept = tuple(index for index, reason in enumerate(found) if not reason)
    return Selection(kept, dict(dropped.most_common()), tuple(found))


def _tokens(episode: Episode) -> int:
    return sum(turn.tokens for turn in episode.turns)
