"""Stop strings, tested on the visible text alone."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ToText = Callable[[Sequence[int]], str]
"""Decodes token ids."""


def to_text_of(tokenizer: Any) -> ToText:
    """Return a tokenizer's decoder: special tokens left out, spaces as they are."""

    def to_text(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return to_text


_UNKNOWN, _NEVER, _PERHAPS = 0, 1, 2


class StopStrings:
    """Finds out whether the token just written completed a stop string.

    A text is decoded only where the new token could end a stop string, which is remembered for each token id; most
    tokens cannot, so a stop string costs next to nothing.
    """

    def __init__(self, strings: Sequence[str], to_text: ToText, vocabulary: int) -> None:
        self._strings, self._to_text = tuple(strings), to_text
        self._endings = {string[-1] for string in strings} | {"�"}  # a part of a character may complete it
        self._suspects = np.zeros(vocabulary, dtype=np.int8)

    def suspects(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each id whether it could end a stop string."""
        kinds = self._suspects[ids]
        if not kinds.all():
            for token_id in ids[kinds == _UNKNOWN].tolist():
                # Twice, since decoders drop the space before a first token.
                text = self._to_text([token_id, token_id])
                self._suspects[token_id] = _NEVER if self._endings.isdisjoint(text) else _PERHAPS
            kinds = self._suspects[ids]
        perhaps: NDArray[np.bool_] = kinds == _PERHAPS
        return perhaps

    def completed(self, ids: Sequence[int]) -> bool:
        """Return whether the last of `ids`, a text without its prompt, completed a stop string.

        What stood there before (an inserted observation, say) does not count, only a string the last token ends.
        """
        return ends_with_stop(ids, self._strings, self._to_text)


def ends_with_stop(ids: Sequence[int], strings: Sequence[str], to_text: ToText) -> bool:
    """Return whether a stop string occurs in the text of `ids` that reaches into its last token."""
    before, text = to_text(ids[:-1]).rstrip("�"), to_text(ids)
    return any(text.find(string, max(0, len(before) - len(string) + 1)) >= 0 for string in strings)
