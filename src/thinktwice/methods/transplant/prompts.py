"""Items -> choices: what arguer and chooser read, and which rows go where. Law: moved rows are the same ids in both.

The arguer reads the question as a solver does, then the candidate: where the candidate was sampled from this model, its
states are those of the moment in which it was written. The chooser reads the question, every candidate and the request
for a verdict. A candidate is encoded once (or comes as the ids it was sampled as), and its ids stand in both texts
between pieces that are encoded apart, so no vocabulary is added and no span has to be searched for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from thinktwice.errors import ConfigError, DataError, ModelError
from thinktwice.methods.transplant import masking
from thinktwice.methods.transplant.data import Item, last_step_start
from thinktwice.methods.transplant.masking import Masking
from thinktwice.render import Render
from thinktwice.types import Choice, ControlToken, Move

CANDIDATE_TOKENS = (
    ControlToken("<first>", "The first of the candidates shown is the right one.", ("first", "one")),
    ControlToken("<second>", "The second of the candidates shown is the right one.", ("second", "two")),
)
"""Identifiers for models whose vocabulary has none: add them to the base, and ask with `by_token(...)`."""


@dataclass(frozen=True, slots=True)
class Wording:
    """The words around what the chooser reads."""

    question: str = "{question}\n\n"
    """Before the candidates."""
    candidate: str = "Solution {name}:"
    """Before each candidate; the token that opens a solution for the arguer follows."""
    between: str = "\n\n"
    """Between two candidates."""
    argument: str = "\n\nSomebody says of them: {argument}"
    """After the candidates, where there is an argument."""
    ask: str = "\n\nExactly one of these solutions is right. Reply with its number alone."
    answers: tuple[tuple[str, str], ...] = (("", "{name}"), ("Solution", " {name}"), ("solution_", "{name}"))
    """How the reply begins, and how an identifier goes on from there. The first one is taken with which every
    identifier is one token of the model."""
    names: tuple[str, ...] = ("1", "2", "3", "4", "5", "6", "7", "8", "9")
    """What the candidates are called, by slot; of a pointwise wording, what stands for right and for wrong."""
    pointwise: bool = False
    """One candidate at a time."""
    tokens: tuple[str, ...] = ()
    """Control tokens that stand for the names, both before a candidate and as its identifier."""


PAIRWISE = Wording()
"""Two candidates or more (best-of-N), called by number."""
POINTWISE = Wording(
    candidate="Solution:",
    argument="\n\nSomebody says of it: {argument}",
    ask="\n\nIs this solution right? Reply with Yes or No alone.",
    answers=(("", "{name}"), ("The solution is right:", " {name}")),
    names=("Yes", "No"),
    pointwise=True,
)
"""One candidate, yes or no (GenRM's form; Zhang et al. 2024, arXiv 2408.15240)."""
BARE = Wording("{question}\n", " {name}", "\n", "\n{argument}", "", (("####", " {name}"),))
"""Nothing but what the nano bases have read: numbers, line breaks, the mark of an answer."""
BARE_POINTWISE = replace(BARE, question="{question}", candidate="", names=("1", "0"), pointwise=True)
"""The one candidate stands where a solver writes it: what the verifier reads is what the arguer reads."""

WORDINGS = {"pairwise": PAIRWISE, "pointwise": POINTWISE, "bare": BARE, "bare_pointwise": BARE_POINTWISE}


def by_token(wording: Wording, tokens: Sequence[ControlToken] = CANDIDATE_TOKENS) -> Wording:
    """Return a wording whose identifiers are control tokens of the model."""
    return replace(wording, tokens=tuple(token.token for token in tokens))


def render_choice(
    item: Item,
    order: Sequence[int],
    render: Render,
    *,
    rows: str = "content",
    question_for_arguer: bool = True,
    argument: Masking = "none",
    wording: Wording = PAIRWISE,
) -> Choice:
    """Render one item with candidate order[s] in slot s.

    `argued` holds the texts of the candidates shown in the item's own order, so that both orders have the same ones.

    Args:
        item: a question and its candidates.
        order: which candidates are shown, and where; one index for a pointwise wording.
        render: of the model that reads.
        rows: which rows of a candidate move, half-open: "content" its tokens [s, e); "shifted" the rows that predict
            them [s-1, e-1) (the seed's); "last_step" those of its last step; "truncated:25" its tokens less the last
            25 % of them, which nobody reads; "none" moves nothing.
        question_for_arguer: whether the arguer reads the question.
        argument: how the item's argument is shown to the chooser (`masking.place`).
        wording: the words around it all.

    Raises:
        ConfigError: no such rule, or an order that does not fit.
        DataError: an empty candidate.
        ModelError: an identifier is not one token.
    """
    rule, cut = _rule(rows)
    order = tuple(order)
    if len(set(order)) < len(order) or not all(0 <= index < len(item.candidates) for index in order) or not order:
        raise ConfigError(f"order={order} is none of {len(item.candidates)} candidates, each at most once.")
    if wording.pointwise != (len(order) == 1):
        raise ConfigError(
            f"this wording asks about {'one candidate' if wording.pointwise else 'several'}, not {len(order)}."
        )
    prompt = render.question(item.question if question_for_arguer else "")
    opening = _opening(render, prompt)
    if rule == "shifted" and opening != prompt[-1:]:
        raise ModelError(
            "rows=shifted also moves the row before a candidate, but this model's prompt ends in a special token that "
            "cannot stand in the chooser's text; use rows=content, or set model.template."
        )
    spans = {index: _span(item, index, render, cut) for index in sorted(order)}
    first, options = identifiers(render, wording, 2 if wording.pointwise else len(order))
    before, after = _frame(render)
    ids = [*before, *render.encode(wording.question.replace("{question}", item.question))]
    starts: dict[int, int] = {}
    for slot, index in enumerate(order):
        ids += render.encode(wording.between) if slot and wording.between else ()
        ids += _heading(render, wording, slot)
        ids += opening
        starts[index] = len(ids)
        ids += spans[index]
    said = masking.place(item.argument, order, argument, item.argued_for, len(item.candidates))
    closing = (wording.argument.replace("{argument}", said) if said else "") + wording.ask
    ids += [*(render.encode(closing) if closing else ()), *after, *first]
    moves = []
    for source, (index, span) in enumerate(spans.items()):
        skip, n = _moved(rule, span, render)
        if n:
            moves.append(Move(source, len(prompt) + skip, starts[index] + skip, n))
    argued = tuple((*prompt, *span) for span in spans.values()) if moves else ()
    choice = Choice(argued, tuple(ids), tuple(moves), options, _right(item, order, wording), item.id)
    check_moves(choice)
    return choice


def identifiers(render: Render, wording: Wording, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (ids that the reply begins with, the identifier of each slot). Law: one token each, all different.

    Raises:
        ModelError: the model's vocabulary splits them, whatever the beginning.
    """
    if wording.tokens:
        if len(wording.tokens) < count:
            raise ConfigError(f"{count} candidates, but control tokens for {len(wording.tokens)}.")
        return (), tuple(render.control_id(token) for token in wording.tokens[:count])
    if len(wording.names) < count:
        raise ConfigError(f"{count} candidates, but names for {len(wording.names)} only; give the wording more names.")
    for prefix, form in wording.answers:
        first = render.encode(prefix) if prefix else ()
        wholes = [render.encode(prefix + form.replace("{name}", name)) for name in wording.names[:count]]
        last = {whole[-1] for whole in wholes}
        if all(whole[:-1] == first for whole in wholes) and len(last) == count and last.isdisjoint(render.special_ids):
            return first, tuple(whole[-1] for whole in wholes)
    raise ModelError(
        f"this model's vocabulary has no single tokens for {', '.join(wording.names[:count])}; give the wording other "
        "names, or add control tokens to the model and ask with by_token()."
    )


def check_moves(choice: Choice) -> None:
    """Refuse a choice whose moved rows spell other ids in the chooser's text than in the arguer's.

    Raises:
        DataError: naming the move; choices that move another text's states on purpose (`same_text` False) pass.
    """
    for move in choice.moves if choice.same_text else ():
        there = choice.argued[move.source][move.start : move.start + move.n]
        here = choice.token_ids[move.to : move.to + move.n]
        if there != here or len(there) != move.n:
            raise DataError(
                f"{choice.problem_id}: rows {move.to} to {move.to + move.n} are not the ids that were argued."
            )


def check_rows(rows: str) -> None:
    """Refuse a rule for rows that there is not.

    Raises:
        ConfigError: naming the rules that there are.
    """
    _rule(rows)


def _rule(rows: str) -> tuple[str, float]:
    """Return the rule and the share of a candidate that is cut off its end."""
    rule, _, percent = rows.partition(":")
    if rule == "truncated":
        try:
            share = float(percent) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            raise ConfigError(f"rows={rows!r}: write the per cent that are cut off the end, such as truncated:25.")
        return "content", share
    if rows not in ("content", "shifted", "last_step", "none"):
        raise ConfigError(f"rows={rows!r} is no rule. Known: content, shifted, last_step, truncated:PERCENT, none.")
    return rule, 0.0


def _span(item: Item, index: int, render: Render, cut: float) -> tuple[int, ...]:
    candidate = item.candidates[index]
    ids = candidate.token_ids or render.encode(candidate.text)
    if not ids:
        raise DataError(f"item {item.id!r}: candidate {index + 1} is empty; nothing of it could be moved.")
    return tuple(ids[: max(1, round(len(ids) * (1 - cut)))])


def _moved(rule: str, span: Sequence[int], render: Render) -> tuple[int, int]:
    """Return (rows from the span's start to the first that moves, how many move)."""
    if rule == "none":
        return 0, 0
    if rule == "shifted":
        return -1, len(span)
    if rule == "content":
        return 0, len(span)
    start = last_step_start(render.text(span))
    low, high = 0, len(span) - 1
    while low < high:  # the first row whose token reaches past the place where the last step begins
        middle = (low + high) // 2
        low, high = (low, middle) if len(render.text(span[: middle + 1])) > start else (middle + 1, high)
    return low, len(span) - low


def _opening(render: Render, prompt: Sequence[int]) -> tuple[int, ...]:
    """Return the ids right before a candidate in the chooser's text: the one right before it in the arguer's."""
    last = tuple(prompt[-1:])
    return render.encode("\n") if not last or last[0] in render.special_ids else last


def _frame(render: Render) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what the model's template puts before and after a question."""
    mark = -1  # no token has this id
    whole = render.compose(((mark,),))
    place = whole.index(mark)
    return whole[:place], whole[place + 1 :]


def _heading(render: Render, wording: Wording, slot: int) -> tuple[int, ...]:
    if wording.tokens and not wording.pointwise:
        return (render.control_id(wording.tokens[slot]),)
    text = wording.candidate.replace("{name}", "" if wording.pointwise else wording.names[slot])
    return render.encode(text) if text else ()


def _right(item: Item, order: Sequence[int], wording: Wording) -> int | None:
    if wording.pointwise:
        return 0 if item.candidates[order[0]].right else 1
    found = [slot for slot, index in enumerate(order) if item.candidates[index].right]
    return found[0] if len(found) == 1 else None
