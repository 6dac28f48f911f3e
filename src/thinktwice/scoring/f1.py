"""HotpotQA's answer scores: exact match, and F1, precision and recall of words. Law: as the official script counts.

Source: `hotpot_evaluate_v1.py` (Yang et al. 2018). Words are compared as `exact.normalise` leaves them; "yes", "no" and
"noanswer" are right or wrong as a whole, so that "no" earns nothing for "no one".
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from thinktwice.scoring.exact import normalise
from thinktwice.types import Score

_WHOLE = ("yes", "no", "noanswer")
_STATED = re.compile(
    r"The answer is(?!:?[ \t]*<answer>):?[ \t]*(?P<sentence>[^\n]*)"
    r"|(?:^|(?<=\n))Answer:[ \t]*(?P<line>[^\n]*)"
    r"|<answer>(?P<tagged>(?:(?!<answer>).)*?)(?:</answer>|\Z)"
    r"|\[action: Answer, action_input: (?P<araft>[^\n]*)"
    r"|finish\[(?P<finish>[^\n]*)"
    r'|"name":\s*"(?:answer|finish)",\s*"arguments":\s*\{\s*"\w+":\s*"(?P<call>(?:[^"\\]|\\.)*)',
    re.DOTALL,
)
"""The surfaces on which an answer may be stated; brackets and tags are its frame, not part of it."""


@dataclass(frozen=True, slots=True)
class Match:
    """How well what was found fits what was wanted: all four in [0, 1]."""

    em: float
    """1 when both are the same."""
    f1: float
    precision: float
    recall: float


NONE = Match(0.0, 0.0, 0.0, 0.0)


def match(prediction: str, reference: str) -> Match:
    """Compare an answer with the reference, word by word.

    Law: pure. Two empty answers match exactly and share no word, as in the official script: EM 1, F1 0.

    Example:
        >>> match("Cabo Saint Lucas", "Cabo San Lucas").f1
        0.6666666666666666
    """
    found, wanted = normalise(prediction), normalise(reference)
    em = float(found == wanted)
    if found != wanted and (found in _WHOLE or wanted in _WHOLE):
        return NONE
    here, there = Counter(found.split()), Counter(wanted.split())
    return _overlap(em, (here & there).total(), here.total(), there.total())


def supporting(found: Iterable[str], wanted: Iterable[str]) -> Match:
    """Compare the titles that were found with those that support the answer, as sets."""
    here, there = set(found), set(wanted)
    return _overlap(float(here == there), len(here & there), len(here), len(there))


def joint(answer: Match, support: Match) -> Match:
    """Return HotpotQA's joint measure: right answer *and* right support, precision and recall multiplied."""
    precision, recall = answer.precision * support.precision, answer.recall * support.recall
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Match(answer.em * support.em, f1, precision, recall)


def stated(reply: str) -> str | None:
    """Return the answer that a reply states last, on whatever surface; a reply of one line is its own answer.

    Known are "The answer is: …", a line "Answer: …", `<answer>…</answer>`, Araft's `[action: Answer, action_input: …]`,
    ReAct's `finish[…]`, and a tool call named "answer" or "finish". None when there is no such thing, or nothing in it,
    or when all that was written is another action.
    """
    last = None
    for last in _STATED.finditer(reply):  # noqa: B007  only the last one counts
        pass
    if last is None:
        text = reply.strip()
        acts = "\n" in text or "<" in text or text.startswith(("Thought:", "Action:"))
        return text if text and not acts else None
    assert last.lastgroup is not None
    text = last[last.lastgroup].strip()
    if last.lastgroup in ("araft", "finish"):
        text = text.removesuffix("]").strip()
    if last.lastgroup == "call":
        text = re.sub(r"\\(.)", r"\1", text)
    return text or None


def score(answer: str | None, reference: str) -> Score:
    """Judge an answer: its F1 is the value, and `why` names all four measures. Law: pure; no answer is worth 0."""
    if answer is None:
        return Score(0.0, None, "no answer was stated")
    m = match(answer, reference)
    why = f"EM {m.em:.0f}, F1 {m.f1:.2f} (precision {m.precision:.2f}, recall {m.recall:.2f})"
    return Score(m.f1, answer, why if m.em else f"{why}; expected {reference!r}")


def _overlap(em: float, shared: int, found: int, wanted: int) -> Match:
    if not shared:
        return Match(em, 0.0, 0.0, 0.0)
    precision, recall = shared / found, shared / wanted
    return Match(em, 2 * precision * recall / (precision + recall), precision, recall)
