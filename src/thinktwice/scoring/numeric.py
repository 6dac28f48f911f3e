r"""Numeric answers: which number a reply states, and whether it is the reference exactly.

Equality is equality of rationals (`fractions.Fraction`): no tolerance, no rounding, no `eval`, no symbolic parser on
text that a model wrote. `1,234`, `$1234.00`, `1234 dollars` and `2468/2` are one answer; `0.33` and `1/3` are two.

Two ways to find the answer, as in lm-evaluation-harness's GSM8K:

* strict: the last statement of an answer. A statement is `#### N` (GSM8K), a line `A: N` (GSM8K's published 6B
  solutions), `the answer is N` / `Answer: N`, or `\boxed{N}`. A reply without one has no answer.
* flexible: the last number in the reply, wherever it stands.

A reference of several numbers, written `14; 24`, asks for all of them in any order (SimulEq's equation systems).
"""

import re
from fractions import Fraction

from thinktwice.errors import DataError
from thinktwice.types import Score

MAX_DIGITS = 100
"""A longer number is no number here: nobody needs it, and turning digits into an integer costs their square."""
MAX_STATEMENT = 400
"""The number must begin and end within this many characters of its marker, on its line."""

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{2,3}){0,30},[0-9]{3}(?![0-9])|[0-9]+)"
_NUMBER = re.compile(
    rf"""
    (?:(?<![0-9A-Za-z.)])(?P<sign>[+-]))?            # a sign, not the hyphen of 10-5
    [$€£¥]?(?:(?<=[$€£¥])(?P<inner_sign>[+-]))?      # $5, -$5, $-5
    (?:
      \\[dt]?frac\{{(?P<top>-?[0-9]+)\}}\{{(?P<bottom>[0-9]+)\}}
      | (?<![0-9.])(?P<whole>[0-9]+)[ ](?P<over>[0-9]+)/(?P<under>[0-9]+)(?![0-9/.])          # 1 1/2
      | (?<![0-9.])(?P<digits>{_DIGITS})?(?P<decimals>(?(digits)\.[0-9]+|\.[0-9]+))?
        (?:[eE](?P<exponent>[+-]?[0-9]{{1,2}})(?![0-9A-Za-z]))?
        (?(digits)|(?(decimals)|(?!)))                                                       # not empty
        (?:/(?P<divisor>[0-9]+(?:\.[0-9]+)?)(?![0-9/]))?
    )
    [ ]?(?P<scale>thousand|million|billion|trillion)?
    """,
    re.VERBOSE,
)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MARKER = re.compile(
    r"####|^[ \t]*A:|\b(?:final[ ])?answer(?:[ ]is)?[ ]*[:=]|\banswer[ ]is\b|\\boxed\{", re.IGNORECASE | re.MULTILINE
)
_LEAD = re.compile(r"(?:[^\w\n.+$€£¥\\-]|\$(?=\\)|\\[(\[]|\\boxed\{|\\text\{|[A-Za-z]\w{0,15} {0,3}= {0,3})*")
_CALCULATION = re.compile(r"[^\S\n]*(?:\\times|\\div|\\cdot|[-+*/^x×÷=])[^\S\n]*[($€£¥]{0,3}-?\.?[0-9]")
_SEPARATOR = re.compile(
    r"[^\S\n]*(?:,|;|&|\bor\b|\band\b|\bto\b|[-–])(?:[^\S\n]|\bor\b|\band\b|[A-Za-z]\w? *=)*(?=[-+$.0-9])"
)
_PLAIN = str.maketrans({"−": "-", "﹣": "-", "－": "-", "⁄": "/", "\u00a0": " ", "\u202f": " ", "\u2009": " "})


def normalise(text: str) -> str:
    """Return `text` with one minus sign, one fraction slash, one space, and LaTeX's digit grouping made plain."""
    return text.translate(_PLAIN).replace("{,}", ",").replace("\\,", "").replace("\\!", "").replace("\\$", "$")


def _value(match: re.Match[str]) -> Fraction | None:
    """Return the number a match of `_NUMBER` writes; None past `MAX_DIGITS`, and for a division by zero."""
    part = match.groupdict()
    if len(match.group()) > MAX_DIGITS:
        return None
    if part["top"] is not None:
        above, below = Fraction(part["top"]), Fraction(part["bottom"])
    elif part["whole"] is not None:
        above, below = (
            Fraction(part["whole"]) * Fraction(part["under"]) + Fraction(part["over"]),
            Fraction(part["under"]),
        )
    else:
        digits = (part["digits"] or "0").replace(",", "") + (part["decimals"] or "")
        above = Fraction(digits + (f"e{part['exponent']}" if part["exponent"] else ""))
        below = Fraction(part["divisor"] or 1)
    if below == 0:
        return None
    value = above / below * _SCALES.get(part["scale"] or "", 1)
    return -value if "-" in (part["sign"], part["inner_sign"]) else value


def number(text: str) -> Fraction | None:
    """Return the number that `text` is, units apart ("$1,234.50", "50 %", "3 apples"); None when it is not one."""
    plain = normalise(text).strip().rstrip(".")
    match = _NUMBER.match(plain)
    return None if match is None or re.search(r"[0-9=]", plain[match.end() :]) else _value(match)


def write(value: Fraction) -> str:
    """Return a number as this project writes answers: an integer, a finite decimal, or `numerator/denominator`."""
    rest = value.denominator
    twos = fives = 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places == 0:
        return str(value)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return ("-" if value < 0 else "") + digits[:-places] + "." + digits[-places:]


def _statement(text: str, start: int, count: int) -> list[Fraction] | None:
    """Return the numbers stated right after a marker that ends at `start`; None when there is no number there.

    `5 + 3 = 8` states 8; `5 + 3` states nothing; `5 or 6` states two numbers, so it equals no single one. Where
    `count` > 1 numbers are asked for, they may stand anywhere on the line ("14 cartons and 24 boxes").
    """
    line = text[start : start + MAX_STATEMENT].split("\n", 1)[0]
    found: list[Fraction] = []
    position = _lead(line, 0)
    while (match := _NUMBER.match(line, position)) is not None:
        if _CALCULATION.match(line, match.end()):
            result = line.rfind("=") + 1
            match = _NUMBER.match(line, _lead(line, result)) if result > match.end() else None
            value = None if match is None or _CALCULATION.match(line, match.end()) else _value(match)
            return None if value is None else [value]
        value = _value(match)
        if value is None:
            return None
        found.append(value)
        separator = _SEPARATOR.match(line, match.end())
        position = separator.end() if separator else len(line)
    if not found or len(found) == count or count == 1:
        return found or None
    values = [_value(match) for match in _NUMBER.finditer(line)]
    return None if None in values else [value for value in values if value is not None]


def _lead(line: str, position: int) -> int:
    """Return where the number begins: after emphasis, brackets, LaTeX delimiters and `x =`."""
    match = _LEAD.match(line, position)
    return match.end() if match else position


def stated(reply: str, count: int = 1) -> list[Fraction] | None:
    """Return the numbers of the last statement of an answer in `reply` (strict extraction); None without one.

    A marker that no number follows ("the answer is simple") is no statement; the one before it counts.
    """
    text = normalise(reply)
    for marker in reversed(list(_MARKER.finditer(text))):
        found = _statement(text, marker.end(), count)
        if found is not None:
            return found
    return None


def last(reply: str, count: int = 1) -> list[Fraction] | None:
    """Return the last `count` numbers of `reply` in order (flexible extraction); None when it has fewer."""
    matches = list(_NUMBER.finditer(normalise(reply)))[-count:]
    values = [_value(match) for match in matches]
    return [value for value in values if value is not None] if len(values) == count and None not in values else None


def references(reference: str) -> list[Fraction]:
    """Return the different numbers a reference asks for: one, or several separated by `;`.

    Raises:
        DataError: the reference is not made of numbers; a loader must have quarantined such a row.
    """
    values = [number(part) for part in reference.split(";")]
    if None in values:
        raise DataError(f"The reference answer {reference!r} is not a number; quarantine such a row when it is read.")
    return list(dict.fromkeys(value for value in values if value is not None))


def score(reply: str, reference: str, *, strict: bool = True) -> Score:
    r"""Judge a reply by its stated answer: 1.0 when it equals the reference exactly, else 0.0. Law: pure, no tolerance.

    Args:
        reply: the visible text of a reply.
        reference: one number, or several separated by `;` (any order, all needed).
        strict: take the last *stated* answer; False takes the last number in the reply.

    Raises:
        DataError: the reference is not a number.

    Example:
        >>> score("6 * 3 = 18\n#### 18 apples", "18").value
        1.0
    """
    expected = references(reference)
    found = stated(reply, len(expected)) if strict else last(reply, len(expected))
    wanted = "; ".join(write(value) for value in expected)
    if found is None:
        looked_for = "no answer is stated (`#### N`)" if strict else f"fewer than {len(expected)} numbers in the reply"
        return Score(0.0, None, f"{looked_for}; expected {wanted}")
    answer = "; ".join(write(value) for value in found)
    if set(found) == set(expected):
        return Score(1.0, answer, f"stated {answer}")
    return Score(0.0, answer, f"stated {answer}; expected {wanted}")
