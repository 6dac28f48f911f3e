"""Decoding, defined: one row, pure Python, nothing clever. The batched loop is tested against it."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future

from thinktwice.decode.stops import ToText, ends_with_stop
from thinktwice.types import (
    Append,
    Completion,
    Control,
    Edit,
    Fate,
    Rewind,
    RowView,
    Sampling,
    Stop,
    StopReason,
    Wait,
)

Propose = Callable[[RowView, frozenset[int]], tuple[int, float] | str | None]
"""`(row, banned) -> (token id, logprob)`; None when there is no more to say, a sentence when no token can be drawn."""


def replay(
    propose: Propose,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    controls: Sequence[Control] = (),
    eos_ids: Collection[int] = (),
    max_length: int | None = None,
    to_text: ToText | None = None,
) -> Completion:
    """Write one row from proposals. Law: fates, bans, budgets and stops are those of `decode.loop.decode`."""
    visible = list(prompt)
    places: list[int] = []  # where in the log each visible token after the prompt stands
    log: list[tuple[int, float]] = []
    fates: list[Fate] = []
    bans: dict[int, set[int]] = {}
    edits = sampled = 0
    stop: StopReason | None = "budget" if sampling.max_new_tokens <= 0 else None
    rewinds: list[tuple[int, Rewind]] = []
    insertions: list[tuple[int, int]] = []
    error: str | None = None
    if max_length is not None and len(prompt) >= max_length:
        stop = "length"

    def view() -> RowView:
        return RowView(tuple(visible), len(prompt), edits, sampled, insertions[-1][1] if insertions else 0)

    def ask(drawn: int) -> tuple[Edit | None, frozenset[int]]:
        for control in controls:
            if not control.watch or drawn in control.watch or visible[-1] in control.watch:
                edit = control.edit(view(), drawn)
                if edit is not None:
                    return edit, control.watch
        return None, frozenset()

    def write(token_id: int, logprob: float, fate: Fate) -> None:
        if fate != "rejected":
            visible.append(token_id)
            places.append(len(log))
        log.append((token_id, logprob))
        fates.append(fate)

    def rewind(edit: Rewind, watched: frozenset[int]) -> None:
        nonlocal edits
        count = min(edit.n, len(visible) - len(prompt))
        for _ in range(count):
            fates[places.pop()] = "control" if visible.pop() in watched else "deleted"
        edits += count > 0
        insertions[:] = [(first, min(last, len(visible))) for first, last in insertions if first < len(visible)]
        for depth in [depth for depth in bans if depth > len(visible)]:
            del bans[depth]
        bans.setdefault(len(visible), set()).update(edit.ban)
        if count or edit.ban:
            rewinds.append((len(log), Rewind(count, edit.ban)))

    def settle() -> None:
        edit, watched = ask(-1)  # cut: nothing was drawn and nothing will be
        if isinstance(edit, Rewind):
            rewind(edit, watched)

    while stop is None:
        proposal = propose(view(), frozenset(bans.get(len(visible), ())))
        if isinstance(proposal, str):
            stop, error = "error", proposal
            break
        if proposal is None:
            stop = "done"
            settle()
            break
        drawn, logprob = proposal
        edit, watched = ask(drawn)
        sampled += 1
        write(drawn, logprob, "rejected" if isinstance(edit, Rewind | Append | Wait) and edit.reject else "kept")
        if isinstance(edit, Rewind):
            rewind(edit, watched)
        if isinstance(edit, Stop):
            stop = "done"
        elif edit is None and drawn in eos_ids:
            stop = "done"
            break
        elif edit is None and to_text and ends_with_stop(visible[len(prompt) :], sampling.stop, to_text):
            stop = "done"
        elif sampled >= sampling.max_new_tokens:
            stop = "budget"
        elif max_length is not None and len(visible) >= max_length:
            stop = "length"
        elif isinstance(edit, Append | Wait):
            inserted = edit.token_ids if isinstance(edit, Append) else result_of(edit.result)
            if isinstance(inserted, str):
                stop, error = "error", inserted
                break
            if max_length is not None and len(visible) + len(inserted) >= max_length:
                stop = "length"
            else:
                insertions += [(len(visible), len(visible) + len(inserted))] if inserted else []
                for token_id in inserted:
                    write(token_id, 0.0, "inserted")
        if stop is not None:
            settle()
    return Completion(
        token_ids=tuple(token_id for token_id, _ in log),
        fates=tuple(fates),
        logprobs=tuple(logprob for _, logprob in log),
        stop=stop or "done",
        error=error,
        rewinds=tuple(rewinds),
    )


def result_of(result: "Future[tuple[int, ...]]") -> tuple[int, ...] | str:
    """Return what a tool found, waiting for it, or a sentence where it failed."""
    try:
        return tuple(result.result())
    except Exception as error:
        return f"A tool failed: {' '.join(f'{type(error).__name__}: {error}'.split())}"
