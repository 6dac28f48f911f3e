"""What was learned, seen and taken back, for the eye. Law 2: what is learned is visible.

Pure functions from examples, traces and decoding events to `Piece`s, and from pieces to Rich text (green = learned or
written, grey = seen, red struck through = retracted; in episodes blue = called, cyan = observed), or to plain text for
eyes and pipes without colour, where `[-...-]` is retracted and `{+...+}` is learned.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from rich.text import Text

from thinktwice.types import Example, Pair, StepKind, Trace

Mark = Literal["learned", "written", "seen", "retracted", "undo", "action", "observation", "answer"]
Decode = Callable[[Sequence[int]], str]

STYLES: dict[Mark, str] = {
    "learned": "green",
    "written": "green",
    "seen": "bright_black",
    "retracted": "red strike",
    "undo": "red",
    "action": "blue",
    "observation": "cyan",
    "answer": "bold green",
}
UNDO_SIGN = "↶"
"""Stands for a run of control tokens that took text back."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text with one mark."""

    text: str
    mark: Mark
    """learned: its prediction counts in training. written: a model wrote it, and it stands. seen: given to the model.
    retracted: taken back. undo: the control tokens that took it back. action, observation, answer: of an episode, what
    was called, what came of it, and what was concluded; each begins on a line of its own."""


def trace_pieces(trace: Trace) -> list[Piece]:
    """Return a trace in the order it was written, what was retracted included.

    The token whose drawing ended a run of undo tokens is left out: it was thrown away before it entered the text.
    """
    pieces: list[Piece] = []
    kinds = {step.kind for step in trace.steps if step.kept}
    episode = "action" in kinds or {"observation", "answer"} <= kinds
    last: StepKind = "text"
    for step in trace.steps:
        if step.kind == "text" and not step.kept and step.rewind is not None:
            continue
        if not step.kept:
            mark: Mark = "undo" if step.kind == "undo" else "retracted"
        elif episode and (step.kind == "action" or step.kind == "observation" or step.kind == "answer"):
            mark = step.kind
        else:
            mark = "written" if step.sampled else "seen"
        if episode and step.kept:
            if step.kind != last and pieces and not pieces[-1].text.endswith("\n"):
                pieces.append(Piece("\n", "seen"))
            last = step.kind
        pieces.append(Piece(step.text, mark))
    return pieces


def learned_tokens(example: Example) -> list[bool]:
    """Say of each token whether it is learned.

    It is, when the token it was written after (the last one it sees, itself excepted) predicts it with a weight.
    """
    dead_from = example.dead_from or (len(example.token_ids),) * len(example.token_ids)
    learned: list[bool] = []
    alive: list[int] = []
    for place, token_id in enumerate(example.token_ids):
        while alive and dead_from[alive[-1]] <= place:
            alive.pop()
        learned.append(bool(alive) and example.weights[alive[-1]] > 0 and example.targets[alive[-1]] == token_id)
        alive.append(place)
    return learned


def example_marks(example: Example) -> list[Mark]:
    """Return the mark of each token; one that later ones no longer see is retracted, whether or not it was learned."""
    length = len(example.token_ids)
    dead_from = example.dead_from or (length,) * length
    return [
        "retracted" if dead < length else "learned" if learned else "seen"
        for dead, learned in zip(dead_from, learned_tokens(example), strict=True)
    ]


def example_pieces(example: Example, decode: Decode) -> list[Piece]:
    """Return a training example as the trainer sees it, token for token."""
    return _spelled(zip(example.token_ids, example_marks(example), strict=True), decode)


def pair_pieces(pair: Pair, decode: Decode) -> list[Piece]:
    """Return a pair as the trainer sees it: the shared context, then chosen (learned), then rejected (retracted).

    What is only seen on either side, an observation, stays as it is.
    """
    end = pair.context_length
    sides = []
    for side, mark in ((pair.chosen, "learned"), (pair.rejected, "retracted")):
        marks: list[Mark] = [mark if learned else "seen" for learned in learned_tokens(side)]  # type: ignore[misc]
        sides.append(_spelled(zip(side.token_ids[end:], marks[end:], strict=True), decode))
    context = _spelled(((token_id, "seen") for token_id in pair.chosen.token_ids[:end]), decode)
    return _one_below_the_other(context, *sides)


def texts_pieces(prompt: str, chosen: str, rejected: str) -> list[Piece]:
    """Return a pair of texts in the same look."""
    return _one_below_the_other([Piece(prompt, "seen")], [Piece(chosen, "learned")], [Piece(rejected, "retracted")])


def _one_below_the_other(*parts: Sequence[Piece]) -> list[Piece]:
    """Join parts so that each begins on a line of its own."""
    joined: list[Piece] = []
    for part in parts:
        if joined and part and not joined[-1].text.endswith("\n"):
            joined.append(Piece("\n", "seen"))
        joined += part
    return joined


class Transcript:
    """A reply while it is being written: fold decoding events in, read the pieces at any time."""

    def __init__(self) -> None:
        self._tokens: list[tuple[int, Mark]] = []
        self._visible: list[int] = []
        """Places of the tokens that stand, in order."""

    def on(self, kind: str, token_ids: Sequence[int], *, control_ids: frozenset[int] = frozenset()) -> None:
        """Take in one event of the decoder.

        Args:
            kind: "written", "inserted" or "deleted"; others ("rejected", "stopped") change nothing that is visible.
            token_ids: the ids concerned; of a deletion, the ids removed from the end of the visible text, in order.
            control_ids: ids that are shown as one undo sign instead of text.
        """
        if kind in ("written", "inserted"):
            mark: Mark = "written" if kind == "written" else "seen"
            self._visible += range(len(self._tokens), len(self._tokens) + len(token_ids))
            self._tokens += [(token_id, "undo" if token_id in control_ids else mark) for token_id in token_ids]
        elif kind == "deleted":
            stand = max(0, len(self._visible) - len(token_ids))
            for place in self._visible[stand:]:
                token_id, mark = self._tokens[place]
                undoes = mark == "undo" or token_id in control_ids
                self._tokens[place] = (token_id, "undo" if undoes else "retracted")
            del self._visible[stand:]

    def pieces(self, decode: Decode) -> list[Piece]:
        """Return what has been written so far."""
        return _spelled(self._tokens, decode)


def _spelled(tokens: Iterable[tuple[int, Mark]], decode: Decode) -> list[Piece]:
    """Decode runs of one mark; what stands is cut from the decoded whole, so that a character of several tokens, even
    one that a retraction splits, stays whole and goes to the run that completes it.
    """
    runs = [(mark, [token_id for token_id, _ in run]) for mark, run in groupby(tokens, key=lambda pair: pair[1])]
    last = max((i for i, (mark, _) in enumerate(runs) if mark not in ("retracted", "undo")), default=-1)
    pieces, kept, spelled = [], list[int](), 0
    for i, (mark, ids) in enumerate(runs):
        if mark in ("retracted", "undo"):
            pieces.append(Piece(decode(ids), mark))
            continue
        kept += ids
        whole = decode(kept)
        if i != last:
            whole = whole.rstrip("\ufffd")  # an unfinished character
        pieces.append(Piece(whole[spelled:], mark))
        spelled = len(whole)
    return pieces


def laid_out(pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces ready for the eye: printable, and a retracted line's break after what took it back.

    So what replaces a retracted line stands below it.
    """
    done: list[Piece] = []
    for i, piece in enumerate(pieces):
        text = UNDO_SIGN if piece.mark == "undo" else printable(piece.text)
        if piece.mark == "retracted" and text.endswith("\n"):
            done.append(Piece(text[:-1], "retracted"))
            if i + 1 < len(pieces) and pieces[i + 1].mark == "undo":
                continue  # the break follows the undo sign
            done.append(Piece("\n", "seen"))
            continue
        done.append(Piece(text, piece.mark))
        if piece.mark == "undo" and i and pieces[i - 1].mark == "retracted" and pieces[i - 1].text.endswith("\n"):
            done.append(Piece("\n", "seen"))
    return done


def to_rich(pieces: Sequence[Piece]) -> Text:
    """Return the pieces in colour. Text a model wrote is never read as markup, nor as terminal commands."""
    text = Text()
    for piece in laid_out(pieces):
        text.append(piece.text, style=STYLES[piece.mark])
    return text


def to_plain(pieces: Sequence[Piece]) -> str:
    """Return the pieces without colour: `[-retracted-]`, `{+learned+}`."""
    frames: dict[Mark, str] = {"retracted": "[-{}-]", "learned": "{{+{}+}}", "undo": ""}
    return "".join(frames.get(piece.mark, "{}").format(piece.text) for piece in laid_out(pieces))


def printable(text: str) -> str:
    """Return text with everything but line breaks and tabs spelled out that would change how other text is shown.

    A model may write terminal escape sequences, which could rewrite the screen; marks that reverse the direction of
    writing, which could show an answer backwards; and half characters, which no terminal takes.
    """
    return text.translate(_SPELLED)


_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Unicode's bidirectional marks, embeddings, overrides and isolates."""
_BREAKS = (0x2028, 0x2029)
_SURROGATES = range(0xD800, 0xE000)
_SPELLED = {
    code: chr(code).encode("unicode_escape").decode()
    for code in (*_CONTROLS, *_DIRECTIONS, *_BREAKS, *_SURROGATES)
    if chr(code) not in "\n\t"
}
