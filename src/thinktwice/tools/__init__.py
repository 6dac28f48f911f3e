"""Tools that a model may call while it answers. Law: a call is pure; the same corpus and words give the same result."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """What a search found, or what was opened."""

    title: str
    text: str
    score: float = 0.0
    """How well it fits the query; higher is better, and only the order means something."""
    via: str = ""
    """The redirect that led here; empty where none did."""
    choices: tuple[str, ...] = ()
    """Titles that an ambiguous one may mean; empty for an ordinary page."""


class Retriever(Protocol):
    """Searches one corpus. Law: nothing found is an empty tuple or None, never an exception."""

    @property
    def corpus(self) -> str:
        """Hash of what is searched: the same documents give the same one."""
        ...

    def search(self, query: str, k: int = 3) -> tuple[Passage, ...]:
        """Return the k passages that fit best, the best first."""
        ...

    def open(self, title: str) -> Passage | None:
        """Return the page of a title or of a redirect to it; None when there is none."""
        ...
