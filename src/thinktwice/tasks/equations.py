r"""The equations that a text states, read exactly. Law: own parser, bounded; no `eval` on text that a model wrote.

Read as equations: `16 - 3 = 13`, `<<16-3=13>>`, `$1,200 x 2 = $2,400`, `3 eggs + 4 eggs = 7 eggs`, `20% of 50 = 10`,
`2 + 3 = 5 + 4 = 9`. The right side may be the left rounded or cut at the last digit it writes (`10/3 = 3.33`). What
cannot be read, or could be meant in two ways, is not judged.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from thinktwice.scoring import numeric

MOST_CHARACTERS = 2000
"""A longer line is not read."""
MOST_TOKENS = 80
"""A longer expression is not read."""
_LARGEST = 10**15
_MOST_POWER = 12
_MOST_WORDS = 4
"""Words of one unit: `15 eggs in the box + ...`."""

_ANNOTATION = re.compile(r"<<([^<>\n]*)>>")
_OPERATORS = frozenset(("+", "-", "*", "/", "^", "**"))
_EQUALS = re.compile(r"(?<![<>!=:~])=(?![=<>])")
_TOKEN = re.compile(
    r"""
    (?P<clock>\d+:\d+)
    | (?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+)
    | (?P<percent>%)
    | (?P<operator>\*\*|[-+*/^()])
    | (?P<word>[A-Za-z][A-Za-z'’]*)
    | (?P<space>[\s$€£¥]+)
    | (?P<other>.)
    """,
    re.VERBOSE,
)
_SPELLED = (
    (re.compile(r"\\(?:times|cdot)\b|×|·"), "*"),
    (re.compile(r"\\div\b|÷"), "/"),
    (re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+"), ""),  # the bullet or number of a list
    (re.compile(r"[–—]"), "-"),
    (re.compile(r"\*\*([$]?[\d.,]+%?)\*\*"), r"\1"),  # **bold**
    (re.compile(r"(?<=[\d)%])\s*[xX]\s*(?=[\d(.$])"), "*"),
    (re.compile(r"(?<=[\d)%])\s+times\s+(?=[\d(.$])"), " * "),
    (re.compile(r"(?<=\d)%\s+of\s+(?=[\d(.$])"), "% * "),
    (re.compile(r"(?<=\d)/(\d+)\s+of\s+(?=[\d(.$])"), r"/\1 * "),
    (re.compile(r"[\[{]"), "("),
    (re.compile(r"[\]}]"), ")"),
)
# fmt: off
_JOINS = frozenset((
    "and", "so", "is", "are", "was", "were", "then", "which", "because", "since", "with", "for", "if", "when", "but",
    "to", "from", "of", "has", "have", "had", "as", "therefore",
))
# fmt: on
"""Words that join clauses: what stands before them is another sentence, not a unit."""
_MEASURES = re.compile(
    r"hours?|minutes?|mins?|seconds?|days?|weeks?|months?|years?|feet|foot|ft|inch(?:es)?|yards?|miles?|meters?|km|cm|mm|"
    r"kg|kilograms?|grams?|pounds?|lbs?|ounces?|oz|gallons?|quarts?|pints?|cups?|liters?|ml|dozens?|pairs?|"
    r"dollars?|cents?|penn(?:y|ies)|nickels?|dimes?|quarters?|thousand|million|billion|hundred|half|am|pm",
    re.IGNORECASE,
)


class _Unreadable(Exception):  # noqa: N818  control flow inside this file
    """The tokens are no expression."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Equation:
    """One stated equality. A `%` is read both ways (20 % is 20 or 1/5), so each side has several readings."""

    lefts: tuple[Fraction, ...]
    rights: tuple[Fraction, ...]
    """The first is the leading number as written."""
    written: str
    """The right side's leading number as it stands."""
    parts: tuple[Fraction, ...]
    """Every number written or computed on the left."""
    judged: bool
    """False where percents or several units of measure leave open what is meant."""
    operators: int
    """Operators on the left."""
    open: bool
    """The text ends within the right side: more of it may follow."""

    @property
    def holds(self) -> bool:
        """Whether some readings are equal, or the left rounded or cut at the last digit written is the right."""
        if not set(self.lefts).isdisjoint(self.rights):
            return True
        unit = Fraction(1, 10 ** len(self.written.partition(".")[2]))
        return any((left / unit).denominator != 1 and abs(left - self.rights[0]) < unit for left in self.lefts)

    @property
    def is_false(self) -> bool:
        """Whether it is certainly wrong, whatever may follow."""
        if self.holds or not self.judged:
            return False
        if not self.open:
            return True
        return self.operators == 1 and not any(numeric.write(left).startswith(self.written) for left in self.lefts)

    @property
    def value(self) -> Fraction:
        """The number it arrives at."""
        return self.rights[0]


def equations(line: str) -> list[Equation]:
    """Return the equations that one line states, those in calculator marks first; what cannot be read is left out."""
    if len(line) > MOST_CHARACTERS:
        return []
    marks = [found for mark in _ANNOTATION.findall(line) for found in _read(mark, ends=True)]
    plain, writing_a_mark, _ = _ANNOTATION.sub("", line).partition("<<")
    return [*marks, *_read(plain.removesuffix("\n"), ends="\n" in line or bool(writing_a_mark))]


def _read(text: str, *, ends: bool) -> Iterator[Equation]:
    """Yield the equations of a text; `ends` says that nothing more follows it."""
    text = numeric.normalise(text)
    for pattern, replacement in _SPELLED:
        text = pattern.sub(replacement, text)
    sides = [[_Token(str(m.lastgroup), m.group()) for m in _TOKEN.finditer(side)] for side in _EQUALS.split(text)]
    for index in range(len(sides) - 1):
        try:
            yield _equation(sides[index], sides[index + 1], ends=ends or index + 2 < len(sides))
        except _Unreadable:
            continue


def _equation(before: Sequence[_Token], after: Sequence[_Token], *, ends: bool) -> Equation:
    left, left_units = _ending(before)
    right, right_units, whole = _beginning(after)
    operators = sum(token.text in _OPERATORS for token in left)
    if not operators:
        raise _Unreadable
    first = next(index for index, token in enumerate(right) if token.kind == "number")
    lefts, rights, parts = [], [_evaluate(right[: first + 1], Fraction(1))[0]], []
    for percent in (Fraction(1, 100), Fraction(1)):
        value, on_the_way = _evaluate(left, percent)
        lefts.append(value)
        parts += on_the_way
        for length in (first + 2, len(right)):  # 20% or 5 + 4
            try:
                rights.append(_evaluate(right[:length], percent)[0])
            except _Unreadable:
                continue
    additive = any(token.text in ("+", "-") for token in left)
    units = {m.group().lower().rstrip("s") for w in (*left_units, *right_units) if (m := _MEASURES.fullmatch(w))}
    unclear = {"cent", "dollar"} <= units or (additive and len(units) > 1)
    unclear |= sum(token.text == "/" for token in left) > 1  # 60 / 3/4 is often meant as 60 / (3/4)
    return Equation(
        lefts=tuple(dict.fromkeys(lefts)),
        rights=tuple(dict.fromkeys(rights)),
        written=right[first].text.replace(",", ""),
        parts=tuple(dict.fromkeys(parts)),
        judged=not unclear and not (additive and any(token.kind == "percent" for token in left)),
        operators=operators,
        open=whole and not ends,
    )


def _ending(tokens: Sequence[_Token]) -> tuple[list[_Token], list[str]]:
    """Return the longest expression that a text ends with, and the unit words in it."""
    found: list[_Token] = []
    units: list[str] = []
    words: list[str] = []
    stopped = len(tokens)
    for index in reversed(range(len(tokens))):
        token = tokens[index]
        if token.kind == "space":
            units += ["dollar"] if "$" in token.text else []
        elif token.kind == "word":
            # Between two numbers words are a sentence; before an operator or the end they are a unit.
            if token.text.lower() in _JOINS or (found and (found[0].kind == "number" or found[0].text == "(")):
                stopped = index
                break
            words.append(token.text)
        elif token.text == "/" and words:
            continue  # miles/hour
        elif token.kind not in ("number", "operator", "percent"):
            stopped = index
            break
        else:
            if words and (token.text in _OPERATORS or any(len(word) == 1 for word in words)):
                raise _Unreadable  # an operator on a word, or a variable: 2 y + 3
            units, words = units + words, []
            found.insert(0, token)
        if len(found) > MOST_TOKENS or len(words) > _MOST_WORDS:
            raise _Unreadable
    if words and found and found[0].text in _OPERATORS:
        raise _Unreadable  # B + 24, "for the kids + 5"
    if stopped < len(tokens):
        # What cuts the expression off must not be part of it: "his" in "25 pupils + his 1 teacher = 26".
        before = next((t for t in reversed(tokens[:stopped]) if t.kind not in ("space", "word")), None)
        words_between = tokens[stopped].kind == "word"
        if tokens[stopped].kind == "clock" or tokens[stopped].text.lower() == "x":
            raise _Unreadable
        if words_between and before is not None and before.text in _OPERATORS:
            raise _Unreadable
    return found, units


def _beginning(tokens: Sequence[_Token]) -> tuple[list[_Token], list[str], bool]:
    """Return the longest expression a text begins with, its unit words, and whether it is the whole text so far."""
    found: list[_Token] = []
    units: list[str] = []
    words = 0
    for token in tokens:
        if token.kind == "space":
            units += ["dollar"] if "$" in token.text else []
            continue
        if token.kind == "clock" or len(found) > MOST_TOKENS:
            raise _Unreadable
        if token.kind == "word" and found:
            if len(token.text) == 1 and token.text.lower() != "a":
                raise _Unreadable  # a variable
            words += 1
            units.append(token.text)
            if words > _MOST_WORDS or token.text.lower() in _JOINS:
                break
            continue
        if token.kind not in ("number", "operator", "percent") or (words and token.kind == "number"):
            break
        words = 0
        found.append(token)
    if not any(token.kind == "number" for token in found):
        raise _Unreadable
    # "13." may go on as 13.5, and 13 as 130; "13 " may not.
    shown = [token.text for token in tokens]
    whole = "".join(shown).strip("$€£¥ ").rstrip(".") == "".join(t.text for t in found) and not shown[-1].isspace()
    return found, units, whole


def _evaluate(tokens: Sequence[_Token], percent: Fraction) -> tuple[Fraction, list[Fraction]]:
    """Return the value of an expression and every number in or on the way to it."""
    values: list[Fraction] = []
    position = 0

    def peek() -> str:
        return tokens[position].text if position < len(tokens) else ""

    def note(value: Fraction) -> Fraction:
        if abs(value) > _LARGEST or value.denominator > _LARGEST:
            raise _Unreadable
        values.append(value)
        return value

    def atom(depth: int) -> Fraction:
        nonlocal position
        if position >= len(tokens) or depth > 20:
            raise _Unreadable
        token = tokens[position]
        position += 1
        if token.text in ("-", "+"):
            value = atom(depth + 1)
            return note(-value) if token.text == "-" else value
        if token.text == "(":
            value = total(depth + 1)
            if peek() != ")":
                raise _Unreadable
            position += 1
        elif token.kind == "number" and len(token.text) <= 20:
            value = note(Fraction(token.text.replace(",", "")))
        else:
            raise _Unreadable
        if position < len(tokens) and tokens[position].kind == "percent":
            position += 1
            value = note(value * percent)
        if peek() in ("^", "**"):
            position += 1
            power = atom(depth + 1)
            if power.denominator != 1 or not 0 <= power <= _MOST_POWER:
                raise _Unreadable
            value = note(value ** int(power))
        return value

    def product(depth: int) -> Fraction:
        nonlocal position
        value = atom(depth)
        while peek() in ("*", "/") or peek() == "(":
            sign = peek()
            position += sign != "("  # 2(3 + 4)
            other = atom(depth)
            if sign == "/" and not other:
                raise _Unreadable
            value = note(value / other if sign == "/" else value * other)
        return value

    def total(depth: int) -> Fraction:
        nonlocal position
        value = product(depth)
        while peek() in ("+", "-"):
            sign = peek()
            position += 1
            other = product(depth)
            value = note(value + other if sign == "+" else value - other)
        return value

    result = total(0)
    if position != len(tokens):
        raise _Unreadable
    return result, values
