"""The retraction algebra on plain ints: what survives, what was deleted by what, and what each context was.

A *raw* stream is what a model wrote: ordinary tokens and undo tokens, in order. Two semantics, never mixed:

- `unit="token"`: a run of k undo tokens deletes the k visible tokens before it. A run is *atomic*: while it is being
  written the doomed tokens and the undo tokens stay in the context, and all vanish together at the first other token.
  (Were each undo applied at once, the model could not tell going back from going forward: the "Markov trap".)
- `unit="step"`: one undo token deletes back to the beginning of the current step, at once. A step begins at the floor
  and after every token in `step_ends`; standing exactly at a beginning, it deletes the step before.

Nothing below `floor` (the prompt length) is ever deleted; an undo token with nothing to delete is a no-op.

    >>> resolve([7, 8, 9, 0, 0, 5], undo_id=0, floor=1).kept_ids
    (7, 5)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thinktwice.errors import DataError
from thinktwice.types import Completion, Example, Fate

Unit = Literal["token", "step"]
RawFate = Literal["kept", "deleted", "undo", "noop"]
Context = Literal["rewind", "keep"]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What one raw token did."""

    index: int
    """Its raw index."""
    fate: RawFate
    """kept (so far), undo or noop."""
    deleted: tuple[int, ...]
    """Raw indices that it deleted, in the order they were written; empty unless `fate` is "undo"."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The fate of every raw token. All tuples except `kept` have one entry for each raw token."""

    ids: tuple[int, ...]
    """The raw stream."""
    fates: tuple[RawFate, ...]
    """kept; deleted; undo (it deleted something); noop (an undo token with nothing to delete)."""
    deleted_by: tuple[int, ...]
    """Raw index of the undo token that deleted this token, -1 for tokens that were not deleted."""
    kept: tuple[int, ...]
    """Raw indices of what survives."""
    sources: tuple[int, ...]
    """Raw index of the last visible token when this token was written under rewinding (so the one whose logits it was
    drawn from), -1 at the start."""
    positions: tuple[int, ...]
    """Logical positions under rewinding: the number of tokens visible when this one was written."""
    dead_from: tuple[int, ...]
    """Attention layout under rewinding: index of the first token written without this one in its context; the stream's
    length means "never". Token i sees token j iff `j <= i < dead_from[j]`."""

    @property
    def kept_ids(self) -> tuple[int, ...]:
        """The ids that survive."""
        return tuple(self.ids[index] for index in self.kept)

    @property
    def loss_mask(self) -> tuple[bool, ...]:
        """Whether a token is worth imitating: False for errors (deleted tokens) and no-ops, True for all others."""
        return tuple(fate in ("kept", "undo") for fate in self.fates)

    def visible(self, index: int) -> tuple[int, ...]:
        """Return the raw indices in the context of raw token `index` under rewinding, itself included."""
        return tuple(j for j in range(index + 1) if index < self.dead_from[j])


class Resolver:
    """Resolves a raw stream token by token. Law: after any number of pushes it agrees with `resolve` on the prefix."""

    def __init__(
        self, undo_id: int, *, floor: int = 0, unit: Unit = "token", step_ends: frozenset[int] = frozenset()
    ) -> None:
        if undo_id in step_ends:
            raise DataError(f"The undo token {undo_id} cannot also end a step; remove it from step_ends.")
        if floor < 0:
            raise DataError(f"floor is a prompt length and cannot be negative, got {floor}.")
        self._undo_id, self._floor, self._unit, self._step_ends = undo_id, floor, unit, step_ends
        self._ids: list[int] = []
        self._fates: list[RawFate] = []
        self._deleted_by: list[int] = []
        self._sources: list[int] = []
        self._positions: list[int] = []
        self._dead_from: list[int | None] = []
        self._kept: list[int] = []  # raw indices that survive so far
        self._doomed: list[int] = []  # in context, but gone at the next token (at the next non-undo one in a run)

    @property
    def kept_ids(self) -> tuple[int, ...]:
        """The ids that survive so far."""
        return tuple(self._ids[index] for index in self._kept)

    def push(self, token_id: int) -> Pushed:
        """Take the next raw token and say what it did."""
        index = len(self._ids)
        undo = token_id == self._undo_id and index >= self._floor  # in a prompt it is a token like any other
        if self._doomed and not (undo and self._unit == "token"):
            for j in self._doomed:
                self._dead_from[j] = index
            self._doomed.clear()
        # Inside a run the context is what survives, then the doomed tokens, then the run itself: the last one written.
        source = self._doomed[-1] if self._doomed else self._kept[-1] if self._kept else -1
        deleted = self._delete() if undo else []
        fate: RawFate = "kept" if not undo else "undo" if deleted else "noop"
        self._ids.append(token_id)
        self._fates.append(fate)
        self._deleted_by.append(-1)
        self._sources.append(source)
        self._positions.append(self._positions[source] + 1 if source >= 0 else 0)
        self._dead_from.append(None)
        for j in deleted:
            self._fates[j] = "deleted"
            self._deleted_by[j] = index
        if undo:
            self._doomed += [*deleted, index]
        else:
            self._kept.append(index)
        return Pushed(index, fate, tuple(deleted))

    def resolution(self) -> Resolution:
        """Return the resolution of everything pushed so far."""
        return Resolution(
            ids=tuple(self._ids),
            fates=tuple(self._fates),
            deleted_by=tuple(self._deleted_by),
            kept=tuple(self._kept),
            sources=tuple(self._sources),
            positions=tuple(self._positions),
            dead_from=tuple(len(self._ids) if dead is None else dead for dead in self._dead_from),
        )

    def _delete(self) -> list[int]:
        """Remove from the kept stack what one undo token deletes now; return the raw indices."""
        end = start = len(self._kept)
        if start > self._floor:
            start -= 1
            if self._unit == "step":
                while start > self._floor and self._ids[self._kept[start - 1]] not in self._step_ends:
                    start -= 1
        deleted = self._kept[start:end]
        del self._kept[start:]
        return deleted


def resolve(
    ids: Iterable[int],
    undo_id: int,
    *,
    floor: int = 0,
    unit: Unit = "token",
    step_ends: frozenset[int] = frozenset(),
) -> Resolution:
    """Resolve a raw stream. Law: nothing below `floor` is deleted, and nothing above it keeps an undo token.

    `ids` starts with the prompt when `floor` is not zero; inside the prompt an undo id is a token like any other.
    """
    resolver = Resolver(undo_id, floor=floor, unit=unit, step_ends=step_ends)
    for token_id in ids:
        resolver.push(token_id)
    return resolver.resolution()


def inject(
    clean_ids: Sequence[int],
    errors: Iterable[tuple[int, Sequence[int]]],
    undo_id: int,
    *,
    floor: int = 0,
    unit: Unit = "token",
    step_ends: frozenset[int] = frozenset(),
) -> tuple[int, ...]:
    """Write errors into a clean stream, each with its retraction. Law: `resolve(inject(x)).kept_ids == x`.

    An error `(position, ids)` is written after `clean_ids[:position]`; errors come sorted by position, several may
    share one. With `unit="token"` as many undo tokens follow; with `unit="step"` one follows, and what the step held
    before the error is written again.

    Raises:
        DataError: where the algebra could not take exactly the error back: an undo token in the text or the error, an
            empty error, an unsorted or foreign position, a step that ends inside an error.
    """
    _check_clean(clean_ids, undo_id, floor)
    raw = list(clean_ids[:floor])
    written, last = floor, floor
    for position, error in errors:
        if not last <= position <= len(clean_ids):
            raise DataError(
                f"An error at position {position} is out of place: positions run from {floor} to {len(clean_ids)}, "
                f"in ascending order (the one before was {last})."
            )
        if not error or undo_id in error:
            raise DataError(f"The error at position {position} is empty or contains the undo token {undo_id}.")
        if unit == "step" and any(token in step_ends for token in error[:-1]):
            raise DataError(f"The error at position {position} ends a step before its last token; inject it in parts.")
        last = position
        raw += [*clean_ids[written:position], *error]
        if unit == "token":
            raw += [undo_id] * len(error)
            written = position
        else:
            raw.append(undo_id)
            written = position
            while written > floor and clean_ids[written - 1] not in step_ends:
                written -= 1
    return (*raw, *clean_ids[written:])


def _check_clean(clean_ids: Sequence[int], undo_id: int, floor: int) -> None:
    if not 0 <= floor <= len(clean_ids):
        raise DataError(f"floor {floor} is outside the {len(clean_ids)} clean tokens; it is the prompt's length.")
    if undo_id in clean_ids[floor:]:
        raise DataError(f"The clean text contains the undo token {undo_id}; only an error may be followed by it.")


def example(
    ids: Sequence[int],
    undo_id: int,
    *,
    floor: int,
    context: Context,
    unit: Unit = "token",
    step_ends: frozenset[int] = frozenset(),
    mask_errors: bool = True,
    problem_id: str = "",
) -> Example:
    """Turn a prompt and its raw reply into training tokens. Law: every context is one that decoding will show.

    `keep`: plain causal; each token predicts the next raw one.
    `rewind`: trunk and error branches in one sequence. A token predicts what was last written after it: the last kept
    token before an error predicts what follows once the error is gone, never the error; the last doomed token predicts
    the undo token. With `unit="token"` the last undo token of a run predicts what follows the retraction, which
    teaches the run to end (a decoder rejects that token and draws it again from the clean context).

    Predictions of prompt tokens and of no-ops weigh 0; predictions of doomed tokens too, if `mask_errors`.
    """
    resolution = resolve(ids, undo_id, floor=floor, unit=unit, step_ends=step_ends)
    length = len(ids)
    predicted: list[int] = [index + 1 for index in range(length)] if context == "keep" else [length] * length
    if context == "rewind":
        for index, source in enumerate(resolution.sources):
            if source >= 0:
                predicted[source] = index  # later writings on the same context overwrite earlier ones
        if unit == "token":
            _predict_run_ends(resolution, predicted)
    fates = resolution.fates

    def weight(index: int) -> float:
        learned = floor <= index < length and fates[index] != "noop"
        return float(learned and not (mask_errors and fates[index] == "deleted"))

    return Example(
        token_ids=tuple(ids),
        targets=tuple(ids[index] if index < length else 0 for index in predicted),
        weights=tuple(weight(index) for index in predicted),
        positions=resolution.positions if context == "rewind" else None,
        dead_from=resolution.dead_from if context == "rewind" else None,
        problem_id=problem_id,
    )


def _predict_run_ends(resolution: Resolution, predicted: list[int]) -> None:
    """Let the last undo token of every run predict what the context it falls back to finally predicts."""
    length = len(resolution.ids)
    for index in range(length - 1):
        ends_run = resolution.fates[index] in ("undo", "noop") and resolution.fates[index + 1] not in ("undo", "noop")
        source = resolution.sources[index + 1]
        if ends_run and source >= 0:
            predicted[index] = predicted[source]


def unroll(packed: Example) -> list[Example]:
    """Split trunk and branches into plain causal sequences that teach the same.

    Law: the multiset of (context, target, weight) is equal; what several sequences share is supervised in the first.
    """
    if packed.dead_from is None:
        return [packed]
    # A sequence is complete just before something in it dies; the last one, the trunk, comes first.
    ends = sorted({dead - 1 for dead in packed.dead_from}, reverse=True)
    supervised: set[int] = set()
    sequences: list[Example] = []
    for end in ends:
        indices = [j for j in range(end + 1) if packed.dead_from[j] > end]
        fresh = [j not in supervised and packed.weights[j] != 0 for j in indices]
        if sequences and not any(fresh):
            continue
        supervised.update(indices)
        sequences.append(
            Example(
                token_ids=tuple(packed.token_ids[j] for j in indices),
                targets=tuple(packed.targets[j] for j in indices),
                weights=tuple(packed.weights[j] if new else 0.0 for j, new in zip(indices, fresh, strict=True)),
                problem_id=packed.problem_id,
            )
        )
    return sequences


def settle(
    completion: Completion, undo_id: int, *, unit: Unit = "token", step_ends: frozenset[int] = frozenset()
) -> Completion:
    """Resolve a completion whose undo tokens stayed in the context (`context="keep"`). Law: ids and order stay.

    A no-op undo token becomes "control" too: it belongs to no reply.
    """
    present = [index for index, fate in enumerate(completion.fates) if fate in ("kept", "inserted")]
    resolution = resolve([completion.token_ids[i] for i in present], undo_id, unit=unit, step_ends=step_ends)
    fates: list[Fate] = list(completion.fates)
    for index, fate in zip(present, resolution.fates, strict=True):
        if fate == "deleted":
            fates[index] = "deleted"
        elif fate in ("undo", "noop"):
            fates[index] = "control"
    return replace(completion, fates=tuple(fates))
