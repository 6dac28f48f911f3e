"""The one decoding loop: a batch of texts, edited while they are written.

Each step feeds every row one token and draws the next where the row has read all its text. Controls may answer a
drawn token with an edit; a rewind only moves the row's length back (see `cache`), an insertion lengthens the text and
is read like anything else. Rows that end leave the batch and new prompts take their places. A row that waits for a tool
keeps its place and draws nothing: its last token is read again, which writes the same keys and values.

Laws: a row's tokens do not depend on the rows beside it; the budget counts every token drawn, deleted and rejected
ones included; rules, bans and stop strings know the visible text alone; where nothing fires, greedy output is that of
`model.generate`.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from thinktwice.decode.cache import SlotCache, check_editable, context_length, feed, vocabulary_size
from thinktwice.decode.reference import result_of
from thinktwice.decode.rows import Batch, Ints, LogitsRule, Rows
from thinktwice.decode.sample import draw, uniforms
from thinktwice.decode.stops import StopStrings, ToText
from thinktwice.errors import ConfigError
from thinktwice.types import Append, Completion, Control, Edit, Rewind, Sampling, Stop, StopReason, Wait

EventKind = Literal["written", "inserted", "rejected", "deleted", "banned", "stopped"]

CUT = -1
"""What a control is asked with when a row ends without an end token: nothing was drawn."""
READ_AT_ONCE = 16
"""An insertion at least this long is read in one forward of its own, a shorter one token by token with the batch."""
PREFILL_TOKENS = 32768
"""Prompt tokens read in one forward, which bounds the memory of activations."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a row, for those who watch it being written."""

    row: int
    """Index of the prompt in the call."""
    kind: EventKind
    token_ids: tuple[int, ...] = ()
    """The tokens written, inserted or rejected; for "deleted" those removed from the end of the visible text, for
    "banned" those that cannot be drawn next."""
    logprob: float | None = None
    """Natural-log probability of the token drawn, when `kind` is "written" or "rejected"."""
    stop: StopReason | None = None
    """Why the row ended, when `kind` is "stopped"."""


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    controls: Sequence[Control] = (),
    rules: Sequence[LogitsRule] = (),
    keys: Sequence[int] | None = None,
    batch_size: int = 64,
    eos_ids: Sequence[int] | None = None,
    suppress: Sequence[int] = (),
    max_length: int | None = None,
    to_text: ToText | None = None,
    listener: Callable[[Event], None] | None = None,
) -> list[Completion]:
    """Complete every prompt. Law: order and length are preserved; a row that fails is data, not a crash.

    Args:
        model: A causal language model whose context can be edited (`check_editable`).
        prompts: Token ids, any lengths.
        sampling: How tokens are drawn; row r draws from a stream seeded by (`sampling.seed`, `keys[r]`).
        controls: Asked in order after a token they watch; the first edit wins.
        rules: Applied in order to the logits of the rows that draw.
        keys: Names of the random streams; default: the index.
        batch_size: Rows decoded together.
        eos_ids: Ids that end a row; default: the model's generation config.
        suppress: Ids that are never drawn.
        max_length: Longest visible text, prompt included; default: what the model was built for.
        to_text: Decodes ids; needed for stop strings only.
        listener: Told of every event, row by row, in the order things happen.

    Raises:
        ModelError: if the model's context cannot be edited.
        ConfigError: for impossible sampling, stop strings without `to_text`, keys that do not match the prompts.
    """
    decoder = Decoder(
        model,
        sampling,
        controls=controls,
        rules=rules,
        batch_size=min(batch_size, max(1, len(prompts))),
        eos_ids=eos_ids,
        suppress=suppress,
        max_length=max_length,
        to_text=to_text,
        listener=listener,
    )
    if keys is not None and len(keys) != len(prompts):
        raise ConfigError(f"{len(keys)} keys for {len(prompts)} prompts; give one key a prompt, or none.")
    for index, prompt in enumerate(prompts):
        decoder.add(prompt, key=index if keys is None else keys[index])
    training = model.training
    model.train(False)
    try:
        while decoder.step():
            pass
    finally:
        model.train(training)
    return [decoder.completions[index] for index in range(len(prompts))]


class Decoder:
    """The loop's state; `decode` is the usual way in. The model must be in evaluation mode."""

    def __init__(
        self,
        model: PreTrainedModel,
        sampling: Sampling,
        *,
        controls: Sequence[Control] = (),
        rules: Sequence[LogitsRule] = (),
        batch_size: int = 64,
        eos_ids: Sequence[int] | None = None,
        suppress: Sequence[int] = (),
        max_length: int | None = None,
        to_text: ToText | None = None,
        listener: Callable[[Event], None] | None = None,
    ) -> None:
        self.completions: dict[int, Completion] = {}
        """What ended so far, by index of the prompt."""
        self._model, self._sampling, self._listener = model, sampling, listener
        self._controls, self._rules = tuple(controls), tuple(rules)
        self._layers = check_editable(model, max_length)
        self._limit = max_length or context_length(model) or 2**31
        self._vocabulary = vocabulary_size(model)
        self._eos = self._table(eos_ids_of(model.generation_config) if eos_ids is None else eos_ids)
        self._watched = self._table({token_id for control in controls for token_id in control.watch})
        self._always = any(not control.watch for control in controls) or listener is not None
        self._suppress = torch.tensor(sorted(set(suppress)), dtype=torch.long, device=model.device)
        if sampling.temperature < 0 or not 0 < sampling.top_p <= 1 or sampling.top_k < 0:
            raise ConfigError(
                f"Cannot sample with temperature={sampling.temperature}, top_p={sampling.top_p}, "
                f"top_k={sampling.top_k}; temperature and top_k are 0 or more, top_p is above 0 and at most 1."
            )
        if sampling.stop and to_text is None:
            raise ConfigError("Stop strings are looked for in the text; pass to_text (the tokenizer's decode).")
        self._stops = StopStrings(sampling.stop, to_text, self._vocabulary) if sampling.stop and to_text else None
        self._waiting: deque[tuple[int, int, Sequence[int]]] = deque()
        self._added = 0
        self._capacity = batch_size
        self._batch: Batch | None = None
        self._cache: SlotCache | None = None

    def add(self, prompt: Sequence[int], *, key: int) -> int:
        """Queue a prompt; return its index. One that cannot be decoded ends at once, with the reason."""
        index, self._added = self._added, self._added + 1
        error: str | None = None
        if not prompt:
            error = "The prompt is empty; start it with at least one token."
        elif not 0 <= min(prompt) <= max(prompt) < self._vocabulary:
            error = f"The prompt contains an id outside the model's vocabulary of {self._vocabulary}."
        elif len(prompt) > self._limit:
            error = f"The prompt has {len(prompt)} tokens, more than the context of {self._limit}."
        if error is not None:
            self._finish(index, Completion((), (), (), "error", error))
        elif len(prompt) == self._limit:
            self._finish(index, Completion((), (), (), "length"))
        elif self._sampling.max_new_tokens <= 0:
            self._finish(index, Completion((), (), (), "budget"))
        else:
            self._waiting.append((index, key, prompt))
        return index

    @torch.inference_mode()
    def step(self) -> bool:
        """Draw one token in every row that has read its text; return whether anything is left to do."""
        batch, cache = self._admit()
        if batch.waiting:
            self._resume(batch, cache)
        if not batch.n:
            return bool(self._waiting)
        self._read_insertions(batch, cache)
        if batch.waiting:  # they have read their last token, perhaps, and read it again
            batch.fed[: batch.n] = np.minimum(batch.fed[: batch.n], batch.length[: batch.n] - 1)
        every = np.arange(batch.n)
        slots_B1 = self._tensor(batch.fed[: batch.n, None])
        ids_B1 = self._tensor(batch.ids[every, batch.fed[: batch.n]][:, None])
        span = int(batch.fed[: batch.n].max()) + 1
        cache.trim(span)
        logits_BV = feed(self._model, cache, slice(0, batch.n), ids_B1, slots_B1, span)
        batch.fed[: batch.n] += 1
        ready = batch.fed[: batch.n] == batch.length[: batch.n]
        rows = (ready & ~batch.waits_now() if batch.waiting else ready).nonzero()[0]
        if not len(rows):
            return True
        if len(rows) < batch.n:
            logits_BV = logits_BV[self._tensor(rows)]
        ids, logprobs = self._draw(batch, rows, logits_BV)
        wake = self._wake(batch, rows, ids, logprobs)
        quiet = ~wake
        batch.write(rows[quiet], ids[quiet], logprobs[quiet])
        woken = zip(rows[wake].tolist(), ids[wake].tolist(), logprobs[wake].tolist(), strict=True)
        ended = [row for row, token_id, logprob in woken if self._react(batch, row, token_id, logprob)]
        for row in reversed(ended):
            cache.move(batch.remove(row), row)
        return bool(batch.n or self._waiting)

    def _admit(self) -> tuple[Batch, SlotCache]:
        """Fill free places with waiting prompts, some at a time, and read those prompts up to their last token."""
        if self._batch is None or self._cache is None:
            self._batch = Batch(self._capacity)
            self._cache = SlotCache(self._layers, self._capacity, self._model.device)
        batch, cache, free = self._batch, self._cache, self._capacity - self._batch.n
        idle = batch.waiting == batch.n  # nobody would be kept from drawing
        if self._waiting and free and (idle or free >= max(1, self._capacity // 8)):
            first = batch.n
            for _ in range(min(free, len(self._waiting))):
                batch.admit(*self._waiting.popleft())
            while first < batch.n:
                longest = int(batch.length[first : batch.n].max()) - 1
                last = min(batch.n, first + max(1, PREFILL_TOKENS // max(1, longest)))
                if longest:  # what stands right of a shorter prompt is written again before it can be seen
                    slots_1T = torch.arange(longest, device=self._model.device)[None]
                    ids_RT = self._tensor(batch.ids[first:last, :longest])
                    feed(self._model, cache, slice(first, last), ids_RT, slots_1T, longest)
                batch.fed[first:last] = batch.length[first:last] - 1
                first = last
        return batch, cache

    def _resume(self, batch: Batch, cache: SlotCache) -> None:
        """Insert what tools have found; where every row waits, sleep until one of them has."""
        if batch.waiting == batch.n:
            answered = threading.Event()  # `futures.wait` would sleep through one that is cancelled
            for result in batch.waits[: batch.n]:
                if result is not None:
                    result.add_done_callback(lambda _: answered.set())
            answered.wait()
        ended = []
        for row, result in enumerate(batch.waits[: batch.n]):
            if result is not None and result.done():
                batch.resume(row)
                found = result_of(result)
                if isinstance(found, str):
                    self._finish(int(batch.number[row]), batch.complete(row, "error", found))
                    ended.append(row)
                elif batch.length[row] + len(found) >= self._limit:
                    self._end(batch, row, "length")
                    ended.append(row)
                else:
                    batch.insert(row, found)
                    self._tell(batch, row, "inserted", found)
        for row in reversed(ended):
            cache.move(batch.remove(row), row)

    def _read_insertions(self, batch: Batch, cache: SlotCache) -> None:
        """Read long insertions up to their last token, those of all rows together."""
        left = batch.length[: batch.n] - batch.fed[: batch.n] - 1
        long = (left >= READ_AT_ONCE).nonzero()[0]
        while len(long):
            rows = long[: max(1, PREFILL_TOKENS // int(left[long].max()))]
            ends = batch.length[rows, None] - 1
            # A shorter one reads its last token again and again, which writes the same keys and values there.
            slots_RT = np.minimum(batch.fed[rows, None] + np.arange(int(left[rows].max())), ends - 1)
            ids_RT = self._tensor(batch.ids[rows[:, None], slots_RT])
            where = self._tensor(rows) if len(rows) > 1 else slice(int(rows[0]), int(rows[0]) + 1)
            feed(self._model, cache, where, ids_RT, self._tensor(slots_RT), int(ends.max()))
            batch.fed[rows] = ends[:, 0]
            long = long[len(rows) :]

    def _draw(self, batch: Batch, rows: Ints, logits_BV: Tensor) -> tuple[Ints, NDArray[np.float64]]:
        """Apply rules, suppressed ids and bans, and draw."""
        if self._rules:
            views = Rows(batch, rows)
            for rule in self._rules:
                logits_BV = rule(views, logits_BV)
        if len(self._suppress):
            logits_BV.index_fill_(1, self._suppress, float("-inf"))
        banned = [
            (place, token_id)
            for place, row in enumerate(rows.tolist())
            if (bans := batch.bans[row])
            for token_id in bans.get(int(batch.length[row]), ())
        ]
        if banned:
            places, ids = zip(*banned, strict=True)
            logits_BV[list(places), list(ids)] = float("-inf")
        greedy = self._sampling.temperature == 0
        random = None if greedy else uniforms(self._sampling.seed, batch.key[rows], batch.sampled[rows])
        ids_B, logprobs_B = draw(logits_BV, self._sampling, random)
        return ids_B.cpu().numpy(), logprobs_B.double().cpu().numpy()

    def _wake(self, batch: Batch, rows: Ints, ids: Ints, logprobs: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows need more than their token written down."""
        if self._always:
            return np.ones(len(rows), dtype=np.bool_)
        lengths = batch.length[rows]
        wake: NDArray[np.bool_] = self._eos[ids] | ~np.isfinite(logprobs) | (lengths + 1 >= self._limit)
        wake |= batch.sampled[rows] + 1 >= self._sampling.max_new_tokens
        if self._controls:
            wake |= self._watched[ids] | self._watched[batch.ids[rows, lengths - 1]]
        if self._stops is not None:
            wake |= self._stops.suspects(ids)
        return wake

    def _react(self, batch: Batch, row: int, drawn: int, logprob: float) -> bool:
        """Write down one drawn token with all its consequences; return whether the row ended."""
        if not np.isfinite(logprob):
            return self._fail(batch, row)
        control, edit = self._ask(batch, row, drawn)
        if isinstance(edit, Rewind | Append | Wait) and edit.reject:
            batch.reject(row, drawn, logprob)
            self._tell(batch, row, "rejected", (drawn,), logprob)
        else:
            batch.write(np.array([row]), np.array([drawn]), np.array([logprob]))
            self._tell(batch, row, "written", (drawn,), logprob)
        if isinstance(edit, Rewind) and control is not None:
            self._rewind(batch, row, edit, control)
        stop: StopReason | None = None
        if isinstance(edit, Stop) or (edit is None and (self._eos[drawn] or self._stopped(batch, row))):
            stop = "done"
        elif batch.sampled[row] >= self._sampling.max_new_tokens:
            stop = "budget"
        elif batch.length[row] + (len(edit.token_ids) if isinstance(edit, Append) else 0) >= self._limit:
            stop = "length"
        elif isinstance(edit, Append):
            batch.insert(row, edit.token_ids)
            self._tell(batch, row, "inserted", edit.token_ids)
        elif isinstance(edit, Wait):
            batch.wait(row, edit.result)
        if stop is None:
            return False
        self._end(batch, row, stop, settle=edit is not None or not self._eos[drawn])
        return True

    def _end(self, batch: Batch, row: int, stop: StopReason, *, settle: bool = True) -> None:
        """End a row; one that was cut asks its controls to settle what is still open."""
        if settle:
            control, edit = self._ask(batch, row, CUT)
            if isinstance(edit, Rewind) and control is not None:
                self._rewind(batch, row, edit, control)
        self._finish(int(batch.number[row]), batch.complete(row, stop))

    def _ask(self, batch: Batch, row: int, drawn: int) -> tuple[Control | None, Edit | None]:
        """Return the first edit that a control answers, and the control."""
        last = int(batch.ids[row, batch.length[row] - 1])
        view = None
        for control in self._controls:
            if not control.watch or drawn in control.watch or last in control.watch:
                view = view or batch.view(row)
                if (edit := control.edit(view, drawn)) is not None:
                    return control, edit
        return None, None

    def _rewind(self, batch: Batch, row: int, edit: Rewind, control: Control) -> None:
        deleted = batch.rewind(row, edit.n, edit.ban, control.watch)
        if deleted:
            self._tell(batch, row, "deleted", deleted)
        if edit.ban:
            self._tell(batch, row, "banned", edit.ban)

    def _stopped(self, batch: Batch, row: int) -> bool:
        """Return whether the token just written completed a stop string."""
        if self._stops is None or not self._stops.suspects(batch.ids[row, batch.length[row] - 1 :][:1])[0]:
            return False
        return self._stops.completed(batch.visible(row)[int(batch.prompt_length[row]) :])

    def _fail(self, batch: Batch, row: int) -> bool:
        """End a row in which no token could be drawn."""
        assert self._cache is not None
        self._cache.clear(row)
        error = (
            f"No token could be drawn at depth {int(batch.length[row])}: the model's logits are not finite, or every "
            "id is banned or suppressed there."
        )
        self._finish(int(batch.number[row]), batch.complete(row, "error", error))
        return True

    def _finish(self, index: int, completion: Completion) -> None:
        self.completions[index] = completion
        if self._listener is not None:
            self._listener(Event(index, "stopped", stop=completion.stop))

    def _tell(
        self, batch: Batch, row: int, kind: EventKind, token_ids: Sequence[int], logprob: float | None = None
    ) -> None:
        if self._listener is not None:
            self._listener(Event(int(batch.number[row]), kind, tuple(token_ids), logprob))

    def _table(self, ids: Sequence[int] | set[int]) -> NDArray[np.bool_]:
        """Return a table over the vocabulary that is True at `ids`."""
        table = np.zeros(self._vocabulary, dtype=np.bool_)
        table[[token_id for token_id in ids if 0 <= token_id < self._vocabulary]] = True
        return table

    def _tensor(self, array: Ints) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._model.device)


def eos_ids_of(config: GenerationConfig | None) -> list[int]:
    """Return the ids that end a text, as a generation config has them: one, several or none."""
    eos = config.eos_token_id if config is not None else None
    return [] if eos is None else [int(eos)] if isinstance(eos, int) else [int(token_id) for token_id in eos]
