"""Where each token's text lies in a step's text. Law: the cuts add up to the text, or there are none."""

from collections.abc import Mapping, Sequence
from typing import Any

from thinktwice.show import Decode

BROKEN = "\ufffd"
"""What a decoder writes for bytes that are not (yet) a character."""
WINDOW = 8
"""Tokens before a step that its first token is decoded with; a character has at most four."""


class Speller:
    """Cuts the steps of traces into their tokens' texts; remembers what it decoded."""

    def __init__(self, decode: Decode):
        self._decode = decode
        self._single: dict[int, str] = {}
        self._windows: dict[tuple[int, ...], str] = {}
        self._lengths: dict[str, int] = {"": 0}

    def name(self, token_id: int) -> str:
        """Return the text of one token by itself."""
        found = self._single.get(token_id)
        if found is None:
            found = self._single[token_id] = self._decode((token_id,))
        return found

    def cuts(self, steps: Sequence[Mapping[str, Any]]) -> list[list[int] | None]:
        """Return, for each step, the length of each token's text in UTF-16 code units (JavaScript's); None: unknown.

        A character of several tokens belongs to the one that completes it, across steps too; the others have length 0,
        and so has an end token, which is no part of the text.
        """
        found: list[list[int] | None] = []
        kept: list[int] = []
        for step in steps:
            ids, text = step["token_ids"], step["text"]
            pieces = self._fit([self.name(i) for i in ids], text)
            if pieces is None:
                pieces = self._fit(self._spell(kept[-WINDOW:] if step["kept"] else [], ids), text)
            if step["kept"]:
                kept += ids
            found.append(pieces)
        return found

    def _spell(self, before: Sequence[int], ids: Sequence[int]) -> list[str]:
        """Decode token by token, each in the light of those right before it."""
        window = [*before, *ids]
        start, read = 0, len(before)
        pieces = []
        for end in range(read + 1, len(window) + 1):
            old, new = self._text(window[start:read]), self._text(window[start:end])
            if read == len(before):
                old = old.rstrip(BROKEN)  # half a character, which these tokens may complete
            if new.endswith(BROKEN) or len(new) <= len(old):
                pieces.append("")
                continue
            pieces.append(new[len(old) :])
            start, read = read, end
        return pieces

    def _text(self, ids: Sequence[int]) -> str:
        key = tuple(ids)
        found = self._windows.get(key)
        if found is None:
            found = self._windows[key] = self._decode(key) if key else ""
        return found

    def _fit(self, pieces: Sequence[str], text: str) -> list[int] | None:
        lengths: list[int] = []
        at = 0
        for piece in pieces:
            if at == len(text):
                piece = ""  # the end token: its name is no part of the text
            elif not text.startswith(piece, at):
                return None
            at += len(piece)
            lengths.append(self._length(piece))
        rest = text[at:]
        if rest and (not lengths or rest.strip(BROKEN)):
            return None
        if rest:
            lengths[-1] += len(rest)  # a character that was never completed
        return lengths

    def _length(self, piece: str) -> int:
        found = self._lengths.get(piece)
        if found is None:
            found = self._lengths[piece] = len(piece.encode("utf-16-le", "surrogatepass")) // 2
        return found
