"""What is done about a search that leads nowhere. Law: an option of decoding, so that the same weights run without it.

A guard lifts a trained model and its control alike, so an arm with one stands beside the same weights (`weights:`)
without.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thinktwice.errors import ConfigError
from thinktwice.methods.react.episode import Turn
from thinktwice.methods.react.loops import ADJACENT, CLASSES, LATER, NEAR, STALE, repeated, stale

Mode = Literal["observe", "warn", "ban", "stop"]

WARNINGS = {
    ADJACENT: "You have just searched for this.",
    LATER: "You have searched for this before.",
    NEAR: "You have searched for nearly this before.",
    STALE: "You have seen all of this before.",
}
"""What an observation says first, in mode "warn"."""


@dataclass(frozen=True)
class Guard:
    """A rule about searches that repeat."""

    mode: Mode = "observe"
    """observe: nothing. warn: the observation says so. ban: the search is not carried out; it is taken back to the
    query's first token, which is banned there. stop: after its observation the answer is asked for."""
    classes: tuple[str, ...] = (ADJACENT, LATER)
    """Which searches it is about (`loops.CLASSES`). A ban is decided before anything is found, so not by "nothing new".
    """
    most: int = 8
    """Searches of one episode that are taken back; one more is carried out, with a warning."""

    def __post_init__(self) -> None:
        if self.mode not in ("observe", "warn", "ban", "stop"):
            raise ConfigError(f"guard mode {self.mode!r} is none of observe, warn, ban, stop.")
        unknown = [name for name in self.classes if name not in CLASSES]
        if unknown:
            raise ConfigError(f"guard classes: {unknown[0]!r} is none of {', '.join(CLASSES)}.")
        if self.mode == "ban" and STALE in self.classes:
            raise ConfigError(f"a ban cannot know what a search will find; leave out {STALE!r} or use mode=warn.")

    def before(self, turns: Sequence[Turn], query: str) -> str:
        """Return the class of a search that is not yet carried out, where this guard is about it."""
        found = repeated(turns, query)
        return found if found in self.classes else ""

    def after(self, turns: Sequence[Turn], sources: Sequence[str]) -> str:
        """Return "nothing new" where that is what a search found, and this guard is about it."""
        return STALE if STALE in self.classes and stale(turns, sources) else ""
