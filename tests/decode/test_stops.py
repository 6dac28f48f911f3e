"""Stop strings: which tokens can end one, and what counts as ending one."""

import numpy as np
import pytest

from thinktwice.decode.stops import StopStrings, ends_with_stop

PIECES = ["", "a", "b", " c", "st", "op", "Q:", "é", "\n"]
BYTES = {20: b"\xc3", 21: b"\xa9"}  # the two halves of é


def to_text(ids):
    text = b"".join(BYTES.get(i) or PIECES[i].encode() for i in ids).decode(errors="replace")
    return text.removeprefix(" ")  # as decoders do with the space before a first token


def test_only_tokens_that_could_end_a_stop_string_are_suspects():
    stops = StopStrings(("stop", " c"), to_text, 32)
    ids = np.array([0, 1, 2, 3, 4, 5, 6, 20])
    assert stops.suspects(ids).tolist() == [False, False, False, True, False, True, False, True]
    assert stops.suspects(ids[::-1]).tolist()[::-1] == stops.suspects(ids).tolist()


@pytest.mark.parametrize(
    ("ids", "stop", "found"),
    [
        ([1, 4, 5], "stop", True),
        ([4, 5, 1], "stop", False),  # ended earlier: not by this token
        ([4, 5, 1, 4, 5], "stop", True),
        ([1, 20, 21], "é", True),  # completed by half a character
        ([1, 20], "é", False),
        ([7], "é", True),
        ([1, 3], "a c", True),
        ([6], ":", True),  # inside the last token
        ([6, 0], ":", False),
        ([8, 8], "\n\n", True),
    ],
)
def test_a_stop_string_counts_when_the_last_token_reaches_into_it(ids, stop, found):
    assert ends_with_stop(ids, (stop,), to_text) is found
    assert StopStrings((stop,), to_text, 32).completed(ids) is found
    assert not found or StopStrings((stop,), to_text, 32).suspects(np.array(ids[-1:])).all()
