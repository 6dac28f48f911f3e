"""What a nano base needs of the world that it is made for."""

from collections.abc import Iterator
from typing import Protocol

from thinktwice.render import Render
from thinktwice.types import Example


class World(Protocol):
    """The language of a world and an endless text in it. Law: the same seed gives the same text."""

    @property
    def name(self) -> str:
        """What the text is made from, in words: it identifies a training's data."""
        ...

    @property
    def rows(self) -> int:
        """Rows of the embedding: a multiple of 32 that leaves room for control tokens."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """Every phrase that is one token, in the order of their ids."""
        ...

    @property
    def pattern(self) -> str:
        """A regular expression that cuts text into those phrases; what is none of them is cut by character."""
        ...

    def examples(self, render: Render, seed: int) -> Iterator[Example]:
        """Yield training examples for ever."""
        ...
