"""Decoding, defined: one row, pure Python, nothing clever. The batched loop is tested against it."""

from collections.abc import Callable, Collection, Sequence

from thinktwice.decode.stops import ToText, ends_with_stop
from thinktwice.types import Append, Completion, Control, Edit, Fate, Rewind, RowView, Sampling, Stop, StopReason

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
    error: str | None = None
    if max_length is not None and len(prompt) >= max_length:
        stop = "length"

    def view() -> RowView:
        return RowView(tuple(visible), len(prompt), edits, sampled)

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
        write(drawn, logprob, "rejected" if isinstance(edit, Rewind) and edit.reject else "kept")
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
        elif max_length is not None and len(visible) + _inserted(edit) >= max_length:
            stop = "length"
        elif isinstance(edit, Append):
            for token_id in edit.token_ids:
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


def _inserted(edit: Edit | None) -> int:
    return len(edit.token_ids) if isinstance(edit, Append) else 0
