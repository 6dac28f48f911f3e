"""Marks in a text of tokens: a tag is one id where the vocabulary has it, else its letters. Law 7 holds both ways.

What a model or a page writes in letters never becomes a mark that is an id, and no such mark arises from encoding it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from thinktwice.render import Render

_FIRST = 0xF0000
"""Marks that are ids stand for themselves in a text as characters of a plane for private use."""


@dataclass(frozen=True)
class Surface:
    """Text with marks ↔ ids of one model."""

    render: Render
    marks: tuple[str, ...] = ()
    """The tags of a grammar, as they are spelled."""
    control: bool | None = False
    """Whether they are tokens: True (an error where the vocabulary lacks one), False, or None: those it has."""

    @cached_property
    def ids(self) -> dict[str, int]:
        """The marks that are tokens."""
        if self.control is False:
            return {}
        tokenizer = self.render.tokenizer
        known = tokenizer.get_vocab() if self.control is None else ()
        return {mark: self.render.control_id(mark) for mark in self.marks if self.control or mark in known}

    @cached_property
    def _signs(self) -> dict[int, str]:
        return {token_id: chr(_FIRST + self.marks.index(mark)) for mark, token_id in self.ids.items()}

    def sign(self, mark: str) -> str:
        """Return what stands for a mark in a text: its letters, or a character that nothing else has."""
        return self._signs[self.ids[mark]] if mark in self.ids else mark

    def encode(self, text: str) -> tuple[int, ...]:
        """Encode what is not ours: a question, a thought, a page. It never becomes a mark."""
        for mark in self.ids:  # some tokenizers make tokens of a tag's letters even in plain text: part them
            text = text.replace(mark, f"{mark[:1]}\0{mark[1:]}")
        return tuple(i for part in text.split("\0") if part for i in self.render.encode(part))

    def spell(self, *parts: str) -> tuple[int, ...]:
        """Encode parts in order; one that is a mark becomes its id where it has one, the rest is encoded together."""
        ids: list[int] = []
        text = ""
        for part in parts:
            if part in self.ids:
                ids += [*self.encode(text), self.ids[part]]
                text = ""
            else:
                text += part
        return (*ids, *self.encode(text))

    @cached_property
    def _impostors(self) -> dict[int, str]:
        """What looks like a sign in a text and is none."""
        return {_FIRST + number: "\ufffd" for number in range(len(self.marks))}

    def text(self, token_ids: Sequence[int]) -> str:
        """Decode ids, with a sign for each mark that is an id."""
        signs = self._signs
        if not signs:
            return self.render.text(token_ids)
        text, start = "", 0
        for index in [*(i for i, token_id in enumerate(token_ids) if token_id in signs), len(token_ids)]:
            if index > start:
                text += self.render.text(token_ids[start:index]).translate(self._impostors)
            text += signs[token_ids[index]] if index < len(token_ids) else ""
            start = index + 1
        return text

    def index(self, token_ids: Sequence[int], text: str, offset: int) -> int:
        """Return which id spells the character at an offset of their text; the number of ids when none does."""
        signs = self._signs
        if signs:  # beside a sign that is easily said
            known = set(signs.values())
            for place, after in ((offset, 0), (offset - 1, 1)):
                if 0 <= place < len(text) and text[place] in known:
                    number = sum(c in known for c in text[:place])
                    return [i for i, token_id in enumerate(token_ids) if token_id in signs][number] + after
        return bisect_right(range(len(token_ids)), offset, key=lambda i: len(self.text(token_ids[: i + 1])))

    def holding(self, character: str) -> frozenset[int]:
        """Return the ids whose text holds a character."""
        return frozenset(i for i in range(len(self.render.tokenizer)) if character in self.render.text((i,)))
