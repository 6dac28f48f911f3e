r"""The steps of worked solutions: one a line, each with its label. Law: a step and its label come and go together.

Public code splits at ". " (which tears "U.S. Navy" and LaTeX apart) and drops a label it does not know while it keeps
the step, so that every later label stands one step too early. Here text is split by its structure, and a step that has
no text takes its label with it.
"""

import re
from collections import Counter
from collections.abc import Sequence

from thinktwice.errors import DataError

MEMORY, REASON = "memory", "reason"
LABELS = {
    **dict.fromkeys(("rag", "memory", "fact", "factual", "factual knowledge", "knowledge"), MEMORY),
    **dict.fromkeys(("reason", "reasoning"), REASON),
}
"""What annotators write -> what it means."""
ANSWER_LINE = "The answer is: {answer}"

_TAG = re.compile(r"\s*(\[[^\[\]\n]{1,40}\](?:\s*(?:and|or|,|/|&)?\s*\[[^\[\]\n]{1,40}\]){0,3})\s*:")
_MATHS = re.compile(
    r"(?P<escaped>\\[$\\])|(?P<open>\\\[|\\\(|\\begin\{\w+\*?\}|\[asy\])|(?P<close>\\\]|\\\)|\\end\{\w+\*?\}|\[/asy\])"
    r"|(?P<dollar>\$\$?)|(?P<up>[({\[])|(?P<down>[)}\]])|(?P<end>[.!?]['\"”’]?(?=\s))|(?P<line>\n\s*)"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|(?:[A-Za-z]{1,2}\.)+[A-Za-z]{1,2}|Mr|Mrs|Ms|Dr|St|Jr|Sr|Prof|Rs|No|Nos|vs|cf|etc|approx|ca"
    r"|resp|Fig|Eq|Inc|Ltd|Co|sq|ft|hr|hrs|min|sec)$"
)


def one_line(text: str) -> str:
    """Return text without line breaks and runs of white space."""
    return " ".join(text.split())


def solution(steps: Sequence[str], answer: str) -> str | None:
    """Return a worked solution, its last line the answer's; None without steps."""
    return "\n".join([*steps, ANSWER_LINE.format(answer=one_line(answer))]) if steps else None


def labelled(raw: object, counts: Counter[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read `["[rag]: ...", "[reason]: ...", ...]`: (steps, their labels).

    A step without text is left out with its label. A step of both kinds is memory: it brings a fact in, and the data's
    own cleaning takes every label but `reason` for one. Both are counted in `counts`. Steps without any tag have no
    labels.

    Raises:
        DataError: no list of texts, a label that is neither of the two, or a tag on some steps only.
    """
    if raw is None:
        return (), ()
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not all(isinstance(step, str) for step in raw):
        raise DataError("'cot_steps' is no list of texts")
    steps: list[str] = []
    labels: list[str | None] = []
    for number, step in enumerate(raw, 1):
        tag = _TAG.match(step)
        text = one_line(step[tag.end() :] if tag else step)
        if not text:
            counts["steps without text left out"] += 1
            continue
        steps.append(text)
        labels.append(_label(tag.group(1), number, counts) if tag else None)
    if None not in labels:
        return tuple(steps), tuple(label for label in labels if label is not None)
    if any(labels):
        raise DataError(f"step {labels.index(None) + 1} has no label, others have")
    return tuple(steps), ()


def _label(tag: str, number: int, counts: Counter[str]) -> str:
    names = re.findall(r"\[([^\[\]]*)\]", tag)
    kinds = {LABELS.get(name.strip().casefold()) for name in names}
    if None in kinds:
        raise DataError(f"step {number} is labelled {tag}, which is neither memory (rag) nor reason")
    if len(kinds) > 1:
        counts["steps of both kinds taken for memory"] += 1
        return MEMORY
    return REASON if kinds == {REASON} else MEMORY


def sentences(text: str, *, latex: bool = False) -> tuple[str, ...]:
    r"""Split a rationale into steps: at line breaks and at the ends of sentences, never inside brackets or maths.

    A full stop ends a sentence when white space and then no small letter follow, and it is not an abbreviation's
    ("U.S.", "e.g.", "Rs."): two sentences in one step do less harm than half of one.

    Args:
        text: the rationale.
        latex: `$...$`, `\[...\]`, environments and `[asy]` are maths; a single line break is a space, as in LaTeX.
            Otherwise `$` is money, and every line break ends a step.
    """
    cuts, depth, brackets, dollars = [0], 0, 0, False
    for found in _MATHS.finditer(text):
        kind, place = found.lastgroup, found.end()
        if kind == "dollar" and latex:
            dollars = not dollars
        elif kind == "open" and latex:
            depth += 1
        elif kind in ("up", "down"):
            brackets = max(0, brackets + (1 if kind == "up" else -1))
        elif kind == "line" and not (depth or dollars) and (not latex or found.group().count("\n") > 1):
            brackets = 0
            cuts.append(place)
        elif kind == "end" and not (depth or dollars or brackets) and _ends(text, found.start(), place):
            cuts.append(place)
        if kind == "close" and latex:
            depth = max(0, depth - 1)
        closed = kind == "close" or (kind == "dollar" and not dollars)
        if latex and closed and not (depth or brackets) and text[place : place + 1].isspace():
            inside = text[max(0, place - 40) : place].rstrip("$])\\ ")
            cuts += [place] if inside.endswith(".") and _ends(text, place, place) else []  # "... = 2.$ Then"
    parts = [one_line(text[start:end]) for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    return tuple(part for part in parts if part)


def _ends(text: str, stop: int, place: int) -> bool:
    following = text[place : place + 80].lstrip()
    goes_on = not following or following[0].islower()
    return not goes_on and not (stop < place and _ABBREVIATION.search(text[max(0, stop - 12) : stop]))
