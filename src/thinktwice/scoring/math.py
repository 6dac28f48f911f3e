r"""Answers of the MATH dataset: which expression a reply states, and whether it equals the reference exactly.

Equality is of exact values (`answers`, `latex`): `\frac{2}{4}`, `0.5` and `1/2` are one answer, `0.333` and `1/3` are
two; `\sqrt{12}` is `2\sqrt{3}`, `(x+1)^2` is `x^2+2x+1`, `\{2, 1\}` is `1, 2`, `(1, 2)` is not `(2, 1)`. Units, `x =`,
percent and degree signs, dollars and LaTeX's spacing are ignored, as the field does. What is none of this is compared
as text. There is no tolerance, and nothing that a model wrote is evaluated.
"""

import re
from fractions import Fraction

from thinktwice.scoring import latex
from thinktwice.scoring.algebra import Unworkable, Value
from thinktwice.scoring.answers import same
from thinktwice.scoring.typography import clean
from thinktwice.types import Score

_MARKER = re.compile(
    r"####|\b(?:final[ ])?answer[ ]is\b[ ]{0,3}:?|\b(?:final[ ])?answer[ ]{0,3}:|\\boxed|\\fbox", re.IGNORECASE
)
_NAME = re.compile(r"[A-Za-z][A-Za-z .,'-]*[A-Za-z]{2}")
_MATHS = re.compile(r"(\$\$?|\\\(|\\\[)(.+?)(\$\$?|\\\)|\\\])")
MAX_EXPRESSION = 2000
"""Characters that a statement may take up; an answer is far shorter, a hostile one far longer."""
MAX_MARKERS = 20
"""A reply whose last so many statements say nothing has no answer."""


def boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{...}` of `text`, braces balanced; None where there is none."""
    start = max(text.rfind(r"\boxed"), text.rfind(r"\fbox"))
    if start < 0:
        return None
    return _balanced(text, start + len(r"\boxed" if text.startswith(r"\boxed", start) else r"\fbox"))


def _balanced(text: str, start: int) -> str | None:
    while text[start : start + 1] == " ":
        start += 1
    if text[start : start + 1] != "{":  # \boxed 5
        return text[start : start + 40].split("$")[0].split("\n")[0].strip() or None
    depth = 0
    for place in range(start, min(len(text), start + MAX_EXPRESSION)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start + 1 : place].strip()
    return None


def stated(reply: str) -> str | None:
    r"""Return the expression of the last statement in `reply`: `The answer is: X`, `\boxed{X}` or `#### X`."""
    for marker in list(_MARKER.finditer(reply))[: -MAX_MARKERS - 1 : -1]:
        if marker.group().startswith("\\"):
            found = _balanced(reply, marker.end())
        else:
            line = reply[marker.end() : marker.end() + MAX_EXPRESSION].split("\n", 1)[0].strip(" *_`:")
            inner = boxed(line)
            maths = _MATHS.match(line)
            if "\\boxed" in line or "\\fbox" in line:
                found = inner
            elif maths and not re.match(r"\s*[,\\]", line[maths.end() :]):  # "$5$. I hope it is correct."
                found = maths.group(2)
            else:
                found = line
        if found:
            return found.strip().removesuffix(".").strip() or None
    return None


def plain(expression: str) -> str:
    """Return an expression as text comparison sees it: typography and spaces apart, and the case of words."""
    text = clean(expression[:MAX_EXPRESSION])
    return "".join((text.casefold() if _NAME.fullmatch(text) else text).split())


def rational(expression: str) -> Fraction | None:
    """Return the rational number that an expression is, if it is one."""
    value = latex.read(expression)
    return value.rational if isinstance(value, Value) else None


def equal(one: str, other: str) -> bool:
    r"""Say whether two expressions are the same answer.

    Example:
        >>> equal(r"\frac{\sqrt{12}}{4}", "sqrt(3)/2")
        True
    """
    if plain(one) == plain(other):
        return True
    a, b = latex.read(one), latex.read(other)
    if a is None or b is None:
        return False
    try:
        return same(a, b)
    except Unworkable:
        return False


def score(reply: str, reference: str) -> Score:
    r"""Judge a reply by the expression it states: 1.0 when it equals the reference exactly, else 0.0. Law: pure.

    Example:
        >>> score("so x is one half.\nThe answer is: 0.5", r"\frac{1}{2}").value
        1.0
    """
    found = stated(reply)
    if found is None:
        return Score(0.0, None, rf"no answer found (`The answer is: X` or \boxed{{X}}); expected {reference}")
    if equal(found, reference):
        return Score(1.0, found, f"stated {found}")
    return Score(0.0, found, f"stated {found}; expected {reference}")
