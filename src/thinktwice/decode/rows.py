"""The rows of a batch while they are being written: visible text, raw log and bans, as arrays with one entry a row."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from thinktwice.types import Completion, Fate, Rewind, RowView, StopReason

Ints = NDArray[np.int64]
LogitsRule = Callable[[Sequence[RowView], Any], Any]
"""`(rows, logits_BV) -> logits_BV`, as in `engines.base`; the decoder passes `Rows`."""

FATES: Final[tuple[Fate, ...]] = ("kept", "deleted", "control", "rejected", "inserted")
KEPT, DELETED, CONTROL, REJECTED, INSERTED = range(5)


class Batch:
    """Up to `capacity` rows, dense: rows 0..n-1 are being written. All arrays have one entry (or line) a row."""

    def __init__(self, capacity: int, length: int = 256) -> None:
        self.n = 0
        self.number = np.zeros(capacity, np.int64)
        """Which prompt the row belongs to."""
        self.key = np.zeros(capacity, np.uint64)
        """Names the row's random stream."""
        self.prompt_length = np.zeros(capacity, np.int64)
        self.ids = np.zeros((capacity, length), np.int64)
        """The visible text."""
        self.length = np.zeros(capacity, np.int64)
        """How much of `ids` is visible."""
        self.fed = np.zeros(capacity, np.int64)
        """How many visible tokens the cache holds, at most `length - 1` between steps."""
        self.sampled = np.zeros(capacity, np.int64)
        self.edits = np.zeros(capacity, np.int64)
        self.log_index = np.zeros((capacity, length), np.int64)
        """Where in the log each visible token stands."""
        self.log_ids = np.zeros((capacity, length), np.int64)
        """Everything written after the prompt, whatever became of it."""
        self.log_fates = np.zeros((capacity, length), np.int8)
        self.log_logprobs = np.zeros((capacity, length), np.float64)
        self.log_length = np.zeros(capacity, np.int64)
        self.bans: list[dict[int, set[int]]] = [{} for _ in range(capacity)]
        """Banned ids by depth, valid while the text below that depth stands."""
        self.rewinds: list[list[tuple[int, Rewind]]] = [[] for _ in range(capacity)]
        """What was taken back, each with the length of the log at that moment."""
        self.insertions: list[list[tuple[int, int]]] = [[] for _ in range(capacity)]
        """Where visible insertions begin and end, in order."""
        self.waits: list[Future[tuple[int, ...]] | None] = [None] * capacity
        """What rows that draw nothing are waiting for."""
        self.waiting = 0
        """How many rows wait."""

    def admit(self, number: int, key: int, prompt: Sequence[int]) -> int:
        """Start a row; return its place."""
        row, self.n = self.n, self.n + 1
        self._reserve(row, len(prompt) + 1)
        self.number[row], self.key[row] = number, key & 0xFFFFFFFFFFFFFFFF
        self.ids[row, : len(prompt)] = prompt
        self.prompt_length[row] = self.length[row] = len(prompt)
        self.fed[row] = self.sampled[row] = self.edits[row] = self.log_length[row] = 0
        self.bans[row], self.rewinds[row], self.insertions[row], self.waits[row] = {}, [], [], None
        return row

    def write(self, rows: Ints, ids: Ints, logprobs: NDArray[np.float64]) -> None:
        """Append one drawn token to the visible text of each of `rows`."""
        length, log_length = self.length[rows], self.log_length[rows]
        if rows.size:
            self._reserve(0, max(int(length.max()), int(log_length.max())) + 1)
        self.ids[rows, length] = ids
        self.log_index[rows, length] = log_length
        self.log_ids[rows, log_length] = ids
        self.log_fates[rows, log_length] = KEPT
        self.log_logprobs[rows, log_length] = logprobs
        self.length[rows] += 1
        self.log_length[rows] += 1
        self.sampled[rows] += 1

    def reject(self, row: int, token_id: int, logprob: float) -> None:
        """Log a token that was drawn and thrown away."""
        self._log(row, token_id, REJECTED, logprob)
        self.sampled[row] += 1

    def wait(self, row: int, result: "Future[tuple[int, ...]]") -> None:
        """Let a row draw nothing until its result is there."""
        self.waits[row] = result
        self.waiting += 1

    def resume(self, row: int) -> None:
        """Let a row go on."""
        self.waits[row] = None
        self.waiting -= 1

    def waits_now(self) -> NDArray[np.bool_]:
        """Return which rows wait."""
        return np.fromiter((wait is not None for wait in self.waits[: self.n]), np.bool_, self.n)

    def insert(self, row: int, ids: Sequence[int]) -> None:
        """Append tokens that were not drawn."""
        start = int(self.length[row])
        if ids:
            self.insertions[row].append((start, start + len(ids)))
        else:  # a rejected token's row draws again, from its last token
            self.fed[row] = min(int(self.fed[row]), start - 1)
        for token_id in ids:
            self._reserve(row, int(self.length[row]) + 1)
            self.ids[row, self.length[row]] = token_id
            self.log_index[row, self.length[row]] = self.log_length[row]
            self.length[row] += 1
            self._log(row, token_id, INSERTED, 0.0)

    def rewind(self, row: int, count: int, ban: Sequence[int], watched: frozenset[int]) -> list[int]:
        """Delete the last `count` visible tokens, never into the prompt, and ban ids there; return what was deleted."""
        end = int(self.length[row])
        start = max(int(self.prompt_length[row]), end - count)
        deleted: list[int] = self.ids[row, start:end].tolist()
        for token_id, place in zip(deleted, self.log_index[row, start:end].tolist(), strict=True):
            self.log_fates[row, place] = CONTROL if token_id in watched else DELETED
        self.length[row] = start
        self.fed[row] = min(int(self.fed[row]), start - 1)  # the last kept token is fed again: its logits are gone
        self.edits[row] += bool(deleted)
        self.insertions[row] = [(first, min(last, start)) for first, last in self.insertions[row] if first < start]
        bans = self.bans[row]
        for depth in [depth for depth in bans if depth > start]:
            del bans[depth]
        if ban:
            bans.setdefault(start, set()).update(ban)
        if deleted or ban:
            self.rewinds[row].append((int(self.log_length[row]), Rewind(len(deleted), tuple(ban))))
        return deleted

    def visible(self, row: int) -> list[int]:
        """Return the visible ids of a row, prompt included."""
        ids: list[int] = self.ids[row, : self.length[row]].tolist()
        return ids

    def view(self, row: int) -> RowView:
        """Return what controls and rules may know of a row."""
        return RowView(
            self.visible(row),
            int(self.prompt_length[row]),
            int(self.edits[row]),
            int(self.sampled[row]),
            self.insertions[row][-1][1] if self.insertions[row] else 0,
        )

    def complete(self, row: int, stop: StopReason, error: str | None = None) -> Completion:
        """Return what a row wrote."""
        end = int(self.log_length[row])
        return Completion(
            token_ids=tuple(self.log_ids[row, :end].tolist()),
            fates=tuple(FATES[fate] for fate in self.log_fates[row, :end].tolist()),
            logprobs=tuple(self.log_logprobs[row, :end].tolist()),
            stop=stop,
            error=error,
            rewinds=tuple(self.rewinds[row]),
        )

    def remove(self, row: int) -> int:
        """End a row; return the place of the row (the last) that took its place."""
        self.n -= 1
        last = self.n
        if row != last:
            for array in (
                self.number, self.key, self.prompt_length, self.ids, self.length, self.fed, self.sampled, self.edits,
                self.log_index, self.log_ids, self.log_fates, self.log_logprobs, self.log_length,
            ):  # fmt: skip
                array[row] = array[last]
            self.bans[row], self.rewinds[row] = self.bans[last], self.rewinds[last]
            self.insertions[row], self.waits[row] = self.insertions[last], self.waits[last]
        return last

    def _log(self, row: int, token_id: int, fate: int, logprob: float) -> None:
        place = int(self.log_length[row])
        self._reserve(row, place + 1)
        self.log_ids[row, place] = token_id
        self.log_fates[row, place] = fate
        self.log_logprobs[row, place] = logprob
        self.log_length[row] += 1

    def _reserve(self, row: int, length: int) -> None:
        """Make room for texts and logs of `length` tokens."""
        have = self.ids.shape[1]
        if length > have:
            extra = ((0, 0), (0, max(length, 2 * have) - have))
            for name in ("ids", "log_index", "log_ids", "log_fates", "log_logprobs"):
                setattr(self, name, np.pad(getattr(self, name), extra))


class Rows(Sequence[RowView]):
    """Some rows of a batch, as a rule sees them: views made on demand, and the facts rules need most as arrays."""

    def __init__(self, batch: Batch, rows: Ints) -> None:
        self._batch, self._rows = batch, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> RowView: ...
    @overload
    def __getitem__(self, index: slice) -> "Rows": ...
    def __getitem__(self, index: int | slice) -> "RowView | Rows":
        if isinstance(index, slice):
            return Rows(self._batch, self._rows[index])
        return self._batch.view(int(self._rows[index]))

    @property
    def last_ids(self) -> Ints:
        """The last visible id of each row."""
        last: Ints = self._batch.ids[self._rows, self._batch.length[self._rows] - 1]
        return last

    @property
    def lengths(self) -> Ints:
        """The number of visible tokens after the prompt."""
        lengths: Ints = self._batch.length[self._rows] - self._batch.prompt_length[self._rows]
        return lengths

    @property
    def drawn(self) -> Ints:
        """The number of visible tokens drawn since the prompt or the last insertion."""
        insertions = self._batch.insertions
        ends = np.fromiter((insertions[row][-1][1] if insertions[row] else 0 for row in self._rows), np.int64)
        drawn: Ints = self._batch.length[self._rows] - np.maximum(self._batch.prompt_length[self._rows], ends)
        return drawn

    @property
    def edits(self) -> Ints:
        """The number of rewinds so far."""
        return self._batch.edits[self._rows]


def last_ids(rows: Sequence[RowView]) -> Ints:
    """Return the last visible id of each row."""
    return rows.last_ids if isinstance(rows, Rows) else np.array([row.token_ids[-1] for row in rows])


def lengths(rows: Sequence[RowView]) -> Ints:
    """Return each row's number of visible tokens after its prompt."""
    return rows.lengths if isinstance(rows, Rows) else np.array([len(r.token_ids) - r.prompt_length for r in rows])


def edits(rows: Sequence[RowView]) -> Ints:
    """Return each row's number of rewinds so far."""
    return rows.edits if isinstance(rows, Rows) else np.array([row.edits for row in rows])
