r"""Answers in LaTeX or plain text to exact values: numbers, expressions, equations, sets, tuples, intervals, matrices.

A parser of its own for a small language: nothing a model wrote is ever evaluated as code. What it does not know (a
diagram's name, a sentence, more than `MAX_LENGTH` characters) is `None`, and is compared as text by `math`.
"""

import re
from collections.abc import Hashable, Sequence
from fractions import Fraction
from math import factorial

from thinktwice.scoring import algebra
from thinktwice.scoring.algebra import Unworkable, Value
from thinktwice.scoring.answers import Answer, Group
from thinktwice.scoring.typography import clean

MAX_LENGTH = 400
MAX_DEPTH = 20

_WORDS = re.compile(r"[A-Za-z .,'-]*[A-Za-z]{3}[A-Za-z .,'-]*")
_TOKEN = re.compile(
    r"\s*(?:(?P<begin>\\begin\s*\{[a-z]*matrix\})|(?P<end>\\end\s*\{[a-z]*matrix\})|(?P<row>\\\\)|(?P<command>\\[A-Za-z]+)"
    r"|(?P<grouped>[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?![\d,]))|(?P<number>\d+(?:\.\d*)?|\.\d+)"
    r"|(?P<word>sqrt|pi|infty|infinity)(?![A-Za-z])|(?P<letter>[A-Za-z])|(?P<mark>[-+*/^_(){}\[\]⟨⟩|,;=<>!&]))"
)
_FUNCTIONS = frozenset(
    (r"\sin", r"\cos", r"\tan", r"\cot", r"\sec", r"\csc", r"\arcsin", r"\arccos", r"\arctan", r"\ln", r"\log", r"\exp")
)
_RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    r"\lt": "<",
    r"\gt": ">",
    r"\le": "<=",
    r"\ge": ">=",
    r"\neq": "!=",
    r"\ne": "!=",
}
_STARTS = frozenset({"number", "grouped", "letter", "word", "command", "begin"})


def read(text: str) -> Answer | None:
    """Return what an answer says, or None where it is not of this language."""
    if len(text) > MAX_LENGTH:
        return None
    text = clean(text)
    if _WORDS.fullmatch(text):  # a name is no product of its letters
        return None
    try:
        if r"\pm" in text:  # both signs, one answer each
            both = [_Parser(text.replace(r"\pm", sign)).whole() for sign in ("+", "-")]
            return _listed([i for a in both for i in (a.items if isinstance(a, Group) and a.kind == "list" else [a])])
        return _Parser(text).whole()
    except Unworkable:
        return None


def _listed(items: Sequence[Answer]) -> Answer:
    return items[0] if len(items) == 1 else Group("list", tuple(items))


class _Parser:
    """Recursive descent over the tokens of one answer."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.next = self.depth = 0
        open_brackets, position = 0, 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None or found.lastgroup is None:
                raise Unworkable(f"{text[position]!r} is unknown here")
            kind, said, position = found.lastgroup, found.group(found.lastgroup), found.end()
            if kind == "grouped" and open_brackets:  # within brackets, 1,234 is a pair
                digits = re.compile(r"\d+").match(said)
                assert digits is not None
                position -= len(said) - digits.end()
                kind, said = "number", digits.group()
            open_brackets += (said in ("(", "[", "⟨")) - (said in (")", "]", "⟩"))
            self.tokens.append((kind, said))

    # -- reading tokens ------------------------------------------------------------------------------------------------

    @property
    def said(self) -> str:
        return self.tokens[self.next][1] if self.next < len(self.tokens) else ""

    @property
    def kind(self) -> str:
        return self.tokens[self.next][0] if self.next < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        said = self.said
        if not said or (expected and said not in expected):
            raise Unworkable(f"{said!r} stands where {expected} should")
        self.next += 1
        return said

    # -- the grammar, from the whole to the parts ----------------------------------------------------------------------

    def whole(self) -> Answer:
        items = self.items()
        if self.said or not items:
            raise Unworkable("text after the answer")
        return _listed(items)

    def items(self) -> list[Answer]:
        found = [self.union()]
        while self.said in (",", ";"):
            self.take()
            found.append(self.union())
        return found

    def union(self) -> Answer:
        parts = [self.relation()]
        while self.said == r"\cup":
            self.take()
            parts.append(self.relation())
        return parts[0] if len(parts) == 1 else Group("union", tuple(parts))

    def relation(self) -> Answer:
        sides, signs = [self.sum()], list[str]()
        while self.said in _RELATIONS:
            signs.append(_RELATIONS[self.take()])
            sides.append(self.sum())
        if signs and all(sign in (">", ">=") for sign in signs):
            signs, sides = [sign.replace(">", "<") for sign in signs[::-1]], sides[::-1]
        return Group(" ".join(signs), tuple(sides)) if signs else sides[0]

    def sum(self) -> Answer:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unworkable("too deep")
        total = self.product()
        while self.said in ("+", "-"):
            negative = self.take() == "-"
            term = _number(self.product())
            total = algebra.add(_number(total), algebra.negate(term) if negative else term)
        self.depth -= 1
        return total

    def product(self) -> Answer:
        result = self.signed()
        while True:
            if self.said in ("*", r"\times", r"\cdot"):
                self.take()
                result = algebra.multiply(_number(result), _number(self.signed()))
            elif self.said == "/":
                self.take()
                result = algebra.divide(_number(result), _number(self.signed()))
            elif self.said and self.said not in _RELATIONS and (self._starts() and self.said != r"\cup"):
                result = algebra.multiply(_number(result), _number(self.powered()))
            else:
                return result

    def _starts(self) -> bool:
        return self.kind in _STARTS or self.said in ("(", "[", "{")

    def signed(self) -> Answer:
        negative = False
        for _ in range(MAX_DEPTH):
            if self.said not in ("+", "-"):
                break
            negative ^= self.take() == "-"
        value = self.powered()
        return algebra.negate(_number(value)) if negative else value

    def powered(self) -> Answer:
        base = self.atom()
        while self.said in ("^", "!"):
            if self.take() == "!":
                n = _number(base).rational
                if n is None or n.denominator != 1 or not 0 <= n <= algebra.MAX_POWER:
                    raise Unworkable("no factorial")
                base = algebra.number(factorial(int(n)))
            else:
                base = algebra.power(_number(base), _number(self.argument(sign=True)))
        return base

    def argument(self, *, sign: bool = False) -> Answer:
        r"""Read `{...}`, or one token as LaTeX does: `\frac12`, `x^2`."""
        if self.said == "{":
            self.take()
            value = self.sum()
            self.take("}")
            return value
        if sign and self.said == "-":
            self.take()
            return algebra.negate(_number(self.atom()))
        if self.kind == "number" and not sign and len(self.said) > 1:
            first, rest = self.said[0], self.said[1:]
            self.tokens[self.next] = ("number", rest)
            return algebra.number(Fraction(first)) if first != "." else self._fail()
        return self.atom()

    def _fail(self) -> Answer:
        raise Unworkable(f"{self.said!r} has no value")

    def atom(self) -> Answer:
        kind, said = self.kind, self.take()
        if kind in ("number", "grouped"):
            return self.figure(said)
        if kind in ("letter", "word"):
            return self.command("\\" + said) if kind == "word" else self.named(said)
        if kind == "command":
            return self.command(said)
        if kind == "begin":
            return self.matrix()
        if said == "{":
            value = self.union()
            self.take("}")
            return value
        if said == "⟨":
            items = [] if self.said == "⟩" else self.items()
            self.take("⟩")
            return Group("set", tuple(items))
        if said in ("(", "["):
            items = self.items()
            closed = self.take(")", "]")
            if len(items) == 1 and said + closed in ("()", "[]"):
                return items[0]
            return Group(said + closed, tuple(items))
        if said == "|":
            inner = _number(self.sum())
            self.take("|")
            size = inner.rational
            return algebra.opaque("abs", inner.key) if size is None else algebra.number(abs(size))
        return self._fail()

    def figure(self, said: str) -> Answer:
        """Read a number, with what may follow it: a repeating part, a base, the fraction of a mixed number."""
        value = Fraction(said.replace(",", ""))
        if self.said == r"\overline" and "." in said:
            self.take()
            self.take("{")
            digits = self.take()
            self.take("}")
            if not digits.isdigit():
                raise Unworkable("no repeating digits")
            places = len(said.partition(".")[2])
            return algebra.number(value + Fraction(int(digits), (10 ** len(digits) - 1) * 10**places))
        if self.said == "_":
            self.take()
            return algebra.opaque("base", said, _number(self.argument()).key)
        if self.said == r"\frac" and value.denominator == 1:
            part = _number(self.atom()).rational
            if part is None or not 0 < part < 1:
                raise Unworkable("a number before a fraction")
            return algebra.number(value + part)
        return algebra.number(value)

    def named(self, name: str) -> Answer:
        if self.said == "_":
            self.take()
            index = _number(self.argument())
            plain = index.rational
            return algebra.opaque("index", name, index.key) if plain is None else algebra.symbol(f"{name}_{plain}")
        return algebra.symbol(name)

    def command(self, said: str) -> Answer:
        if said == r"\frac":
            top = _number(self.argument())
            return algebra.divide(top, _number(self.argument()))
        if said == r"\binom":
            n, k = (_number(self.argument()).rational for _ in range(2))
            if n is None or k is None or n.denominator * k.denominator != 1 or not 0 <= k <= n <= algebra.MAX_POWER:
                raise Unworkable("no binomial coefficient")
            return algebra.number(Fraction(factorial(int(n)), factorial(int(k)) * factorial(int(n - k))))
        if said == r"\sqrt":
            index = Fraction(2)
            if self.said == "[":
                self.take()
                index = _number(self.sum()).rational or Fraction(0)
                self.take("]")
            if index.denominator != 1 or index < 2:
                raise Unworkable("no such root")
            return algebra.power(_number(self.argument()), algebra.number(1 / index))
        if said in _FUNCTIONS:
            marks: list[Hashable] = [said]
            while self.said in ("^", "_"):
                marks += [self.take(), _number(self.argument(sign=True)).key]
            return algebra.opaque(*marks, _number(self.powered()).key)
        if said in (r"\infty", r"\infinity"):
            return algebra.symbol("infinity")
        if re.fullmatch(
            r"\\(?:pi|alpha|beta|gamma|theta|phi|varphi|omega|lambda|mu|rho|sigma|tau|delta|epsilon)", said
        ):
            return self.named(said[1:])
        if said == r"\emptyset":
            return Group("set", ())
        raise Unworkable(f"{said} is unknown here")

    def matrix(self) -> Answer:
        rows: list[list[Answer]] = [[]]
        while self.kind != "end":
            rows[-1].append(self.sum())
            if self.said == "&":
                self.take()
            elif self.kind == "row":
                self.take()
                rows.append([])
            elif self.kind != "end":
                raise Unworkable("an open matrix")
        self.take()
        return Group("matrix", tuple(Group("row", tuple(row)) for row in rows if row))


def _number(value: Answer) -> Value:
    if isinstance(value, Group):
        raise Unworkable("arithmetic on a set, tuple or equation")
    return value
